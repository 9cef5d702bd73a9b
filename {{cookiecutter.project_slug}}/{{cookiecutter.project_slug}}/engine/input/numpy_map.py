"""The slow path: any Python for each record, where TensorFlow's own operations do not reach."""

from __future__ import annotations

import traceback
from typing import Any, Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError
from .elements import arguments, native, numbered


def numpy_map(
    records: tf.data.Dataset,
    function: Callable[..., Any],
    dtypes: Sequence[Any],
    shapes: Sequence[Sequence[int | None]],
    parallel_calls: int = 2,
) -> tf.data.Dataset:
    """The records that a Python function makes of records, in the same order.

    Python works on one record at a time, whatever the number of cores: some 8,000 a second,
    where native operations on batches reach 200,000. Use it, in `read` or `records`, for what
    those cannot do.

    Args:
        records: of any structure, such as `tf.data.TextLineDataset(path)`.
        function: takes the NumPy arrays of one record, as `convert` takes those of a batch (text
            is bytes); returns a tuple of arrays, which is one record, a list of such tuples,
            which are several, or None, which skips the record. It must return the same for the
            same record: it is called again in each epoch and after a restart.
        dtypes: of each array of the tuple, such as `[tf.float32, tf.int32]`.
        shapes: of each array, such as `[[28, 28], []]`; None stands for any length.
        parallel_calls: records worked on at a time; helps where the function waits for files.

    Raises:
        DataError: not here, but where records are read: the function raised an error, or what it
            returned is not what was stated; the message names both.
    """
    types = [tf.as_dtype(dtype) for dtype in dtypes]
    stated = [tf.TensorShape(shape) for shape in shapes]
    expected = ", ".join(f"{type_.name} {shape}" for type_, shape in zip(types, stated))
    structure = tf.data.get_output_types(records)
    name = getattr(function, "__qualname__", type(function).__name__)

    def call(number: int, *arrays: Any) -> tuple[np.ndarray, str]:
        """The number-th record -> tensors as bytes, object [examples, arrays]; how many."""
        try:
            returned = function(*arguments(tf.nest.pack_sequence_as(structure, arrays)))
            examples = returned if isinstance(returned, list) else [returned]
            rows = [pack(example) for example in examples if example is not None]
            return np.array(rows, object).reshape(-1, len(types)), str(len(rows))
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[:2][-1].lineno
            problem = f"raised {type(error).__name__} in line {line}: {error}"
            # Since what it returns need not be as many, nor one of each.
            given = f"{name}, given record {number + 1},"
            text = f"{given} {error if isinstance(error, DataError) else problem}"
            return np.zeros([0, len(types)], object), f"DataError: {' '.join(text.split())}"

    def pack(example: Any) -> list[bytes]:
        """A tuple of arrays -> bytes of each: examples that differ in shape fit into one array."""
        found = [np.asarray(array) for array in example] if isinstance(example, tuple) else []
        fits = [
            tf.as_dtype(array.dtype) == type_ and shape.is_compatible_with(array.shape)
            for array, type_, shape in zip(found, types, stated)
        ]
        if len(found) != len(types) or not all(fits):
            text = ", ".join(f"{array.dtype} {array.shape}" for array in found)
            text = f"({text})" if found else f"{example!r:.80}"
            raise DataError(f"returned {text}, expected ({expected})")
        return [tf.make_tensor_proto(*pair).SerializeToString() for pair in zip(found, types)]

    @native
    def map_one(number: tf.Tensor, record: Any) -> tf.Tensor:
        # Not stateful, which it need not be: then the position among the records can be saved.
        inputs = [number, *tf.nest.flatten(record)]
        rows, length = tf.py_func(call, inputs, [tf.string] * 2, stateful=False)
        # Fails with the text of a problem; an exception would bring its stack trace.
        rows = rows[: tf.strings.to_number(length, tf.int32)]
        return tf.ensure_shape(rows, [None, len(types)])

    @native
    def unpack(row: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parsed = zip(tf.unstack(row), types, stated)
        return tuple(tf.ensure_shape(tf.io.parse_tensor(a, t), shape) for a, t, shape in parsed)

    return numbered(records, 0).map(map_one, parallel_calls).unbatch().map(unpack)
