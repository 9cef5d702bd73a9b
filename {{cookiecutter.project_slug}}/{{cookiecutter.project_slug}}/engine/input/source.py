"""What the engine needs of a dataset, so that it need not import one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError

if TYPE_CHECKING:
    from typing import Protocol
else:  # Python 3.7 has none
    Protocol = object


VALIDATION = "validation"  # the name of what `validation_share` takes from the training split


class Source(Protocol):
    """A dataset as the engine sees it; `data.dataset.Dataset` explains each of these."""

    splits: tuple[str, ...]
    training_split: str
    evaluation_split: str
    shard: tuple[int, int]
    padding: Any
    batch_size: int
    seed: int
    memory_fraction: float
    shuffle_buffer: int
    shuffle_mb: int
    parallel_calls: int
    balance: float
    buckets: list[int]
    validation_share: float
    stratify: bool

    def prepare(self) -> None: ...
    def files(self, split: str) -> list[str]: ...
    def read(self, path: tf.Tensor) -> tf.data.Dataset: ...
    def records(self, split: str) -> tf.data.Dataset: ...
    def keep(self, *record: Any) -> tf.Tensor: ...
    def decode(self, *record: Any) -> Any: ...
    def convert(self, *record: Any) -> tuple[Any, Any]: ...
    def augment(self, features: Any, labels: Any, keys: tf.Tensor) -> tuple[Any, Any]: ...
    def label(self, *record: Any) -> tf.Tensor: ...
    def length(self, *record: Any) -> tf.Tensor: ...
    def count(self, split: str) -> int: ...
    def class_counts(self, split: str) -> np.ndarray: ...
    def bytes_in_memory(self, split: str) -> int | None: ...
    def in_memory(self, split: str) -> bool: ...
    def batches(self, split: str) -> tf.data.Dataset: ...
    def describe_bad_record(self, path: str, number: int, problem: str) -> str: ...
    def overrides(self, name: str) -> bool: ...


def splits_of(source: Source) -> tuple[str, ...]:
    """The splits that there are files of, and the one that `validation_share` makes."""
    if not source.validation_share:
        return source.splits
    after = source.splits.index(source.training_split) + 1
    return (*source.splits[:after], VALIDATION, *source.splits[after:])


def split_in_files(source: Source, split: str) -> str:
    """The split whose files hold a split's records."""
    shared = source.validation_share and split == VALIDATION
    return source.training_split if shared else split


#: What a class may say of its records, and what else of it makes them: see `keep_true`.
SAYS = {
    "count": ("records", "read", "keep"),
    "class_counts": ("records", "read", "keep", "decode", "convert", "label"),
    "bytes_in_memory": (),
}


def keep_true(cls: type, base: type) -> None:
    """What `cls` says of its records holds for all of them, and as long as it makes them itself.

    For a part of them, and in a subclass that reads, keeps or converts others, the base's own
    method answers, which looks at the records. Called when `cls` is made.
    """
    for name, makes in SAYS.items():
        if name in vars(cls):
            setattr(cls, name, _true(vars(cls)[name], cls, base, makes))


def _true(method: Callable[..., Any], cls: type, base: type, makes: Sequence[str]) -> Any:
    @functools.wraps(method)
    def says(source: Any, split: str) -> Any:
        classes = type(source).__mro__
        below = classes[: classes.index(cls)]
        if not makes:  # an estimate
            return method(source, split_in_files(source, split))
        shared = source.validation_share and split in (source.training_split, VALIDATION)
        own = any(method.__name__ in vars(each) for each in below)  # says by itself what it adds
        made = any(name in vars(each) for each in below for name in makes)
        other = shared or (made and not own)
        return getattr(base, method.__name__)(source, split) if other else method(source, split)

    return says


def forget(source: Source) -> None:
    """Forgets what was found in the records: between two trainings they may have changed."""
    vars(source).pop("_remembered", None)


def remembered(source: Source, name: str, split: str, find: Callable[..., Any]) -> Any:
    """What `find(source, split)` returned when it was first called under this name."""
    known = vars(source).setdefault("_remembered", {})
    if (name, split) not in known:
        known[name, split] = find(source, split)
    return known[name, split]


def features_and_labels(what: str, found: Any) -> tuple[Any, Any]:
    """What a method returned; raises DataError if that is not (features, labels)."""
    parts, flat = found if isinstance(found, (tuple, list)) else [found], tf.nest.flatten(found)
    if len(parts) != 2 or any(each is None for each in flat):
        names = ", ".join(type(part).__name__ for part in parts)
        raise DataError(f"{what}: found ({names}), expected (features, labels); no labels are ()")
    if any(isinstance(each, tf.RaggedTensor) for each in flat):
        raise DataError(
            f"{what}: found a RaggedTensor, expected tensors of a batch each; return its "
            "to_tensor() or to_sparse(), or let `padding` fill records up"
        )
    if any(isinstance(each, tf.Tensor) and each.shape.rank is None for each in flat):
        raise DataError(
            f"{what}: found a tensor of unknown rank, expected it to be known; call its set_shape, "
            "as after tf.py_func: x.set_shape([None, 3])"
        )
    return parts[0], parts[1]


def check_same_shape(shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises DataError unless the examples of all files are of one shape: file -> shape."""
    (first, expected), *others = shapes.items()
    for path, shape in others:
        if shape != expected:
            raise DataError(
                f"{path}: found examples of shape {shape}, expected {expected} as in {first}; "
                "make them alike"
            )
