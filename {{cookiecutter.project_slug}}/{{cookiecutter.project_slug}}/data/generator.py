"""Records from a Python function: data that a program makes, or that only Python can read."""

from __future__ import annotations

import pydoc
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError, DataError
from ..engine.input.bad_records import valid_labels
from .dataset import Dataset


class Generated(Dataset):
    """What a generator function yields: (features, label), or several arrays and the label.

    It is always streamed. Python is slow, and a checkpoint cannot hold its position: a run that
    resumes starts a new epoch. Features and labels are as stated below.

    Args:
        function: `module.function`; called with train or test at the start of each epoch, it
            yields the same examples each time, and ends.
        dtypes: of what it yields, such as ["float32", "int32"].
        shapes: of what it yields, such as [[28, 28, 1], []].
        classes: the number of different labels.
        others: batch_size, seed and more: see `Dataset`.
    """

    def __init__(
        self, function: str, dtypes: Sequence[str], shapes: Any, classes: int, **others: Any
    ) -> None:
        super().__init__(**others)
        self.function: Any = pydoc.locate(function)
        if not callable(self.function) or len(shapes) != len(dtypes):
            raise ConfigError(
                f"data: found function={function}, dtypes={dtypes}, shapes={shapes}; expected an "
                "existing function, and as many shapes as dtypes"
            )
        try:
            self.dtypes = [np.dtype(dtype) for dtype in dtypes]
        except TypeError as error:
            raise ConfigError(f"data.dtypes={dtypes}: {error}; expected such as float32") from None
        self.shapes = [tuple(shape) for shape in shapes]
        self.name = function
        self.classes = classes

    def bytes_in_memory(self, split: str) -> int | None:
        return None  # unknown until it ends

    def records(self, split: str) -> tf.data.Dataset:
        """Tuples of arrays."""

        def checked() -> Iterator[tuple[np.ndarray, ...]]:
            for number, record in enumerate(self.function(split), 1):
                yield self.checked(number, record)

        return tf.data.Dataset.from_generator(checked, tuple(self.dtypes), tuple(self.shapes))

    def checked(self, number: int, record: Any) -> tuple[np.ndarray, ...]:
        """What was yielded, in the stated dtypes; raises DataError for other dtypes or shapes."""
        arrays = [np.asarray(array) for array in record]
        found = [f"{array.dtype} {array.shape}" for array in arrays]
        expected = [f"{dtype} {shape}" for dtype, shape in zip(self.dtypes, self.shapes)]
        kept = [_kept(array, dtype) for array, dtype in zip(arrays, self.dtypes)]
        if [array.shape for array in arrays] != self.shapes or not all(kept):
            raise DataError(
                f"{self.name}: yielded {', '.join(found)} as example {number}, expected "
                f"{', '.join(expected)}, and integers that these can hold; correct it, or "
                "data.dtypes and data.shapes"
            )
        return tuple(array.astype(dtype) for array, dtype in zip(arrays, self.dtypes))

    def convert(self, *arrays: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Batches of arrays -> all but the last, and the last."""
        *features, labels = arrays
        if labels.dtype.is_integer:
            labels = valid_labels(labels, self.classes)
        return tuple(features) if len(features) > 1 else features[0], labels


def _kept(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether a dtype has the numbers of an array: floats may be rounded."""
    same_kind = np.can_cast(array.dtype, dtype, "same_kind")
    return same_kind and (dtype.kind not in "iu" or bool((array.astype(dtype) == array).all()))


def spirals(split: str) -> Iterator[tuple[np.ndarray, int]]:
    """Points, float [2], on one of two spirals: an example to start from."""
    generator = np.random.RandomState(split == "train")
    for _ in range(1000 if split == "train" else 200):
        label, radius = generator.randint(2), np.sqrt(generator.rand())
        angle = 6 * radius + np.pi * label
        point = radius * np.array([np.cos(angle), np.sin(angle)])
        yield point + generator.normal(0, 0.03, 2), label
