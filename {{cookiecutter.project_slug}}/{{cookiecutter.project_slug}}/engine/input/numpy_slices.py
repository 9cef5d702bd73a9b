"""Records of arrays that a program has in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError


def numpy_slices(arrays: Any) -> tf.data.Dataset:
    """The records of arrays that are in memory, for `records`: one slice of each array is one.

    As `tf.data.Dataset.from_tensor_slices`, but that writes them into the graph, and so into the
    event file of each run.

    Args:
        arrays: NumPy arrays [records, ...], or dicts and tuples of such.

    Raises:
        DataError: they differ in length, or one holds no numbers or text.
    """
    arrays = tf.nest.map_structure(_array, arrays)
    values = tf.nest.flatten(arrays)
    if len({len(array) for array in values}) > 1:
        found = ", ".join(str(array.shape) for array in values)
        raise DataError(f"numpy_slices: found arrays of shapes {found}, expected equal lengths")
    types = [tf.as_dtype(array.dtype) for array in values]
    tensors = tf.py_func(lambda: values, [], types, stateful=False)
    for tensor, array in zip(tensors, values):
        tensor.set_shape(array.shape)
    return tf.data.Dataset.from_tensor_slices(tf.nest.pack_sequence_as(arrays, tensors))


def _array(values: Any) -> np.ndarray:
    """As an array in this machine's byte order; text as UTF-8, which TensorFlow takes for ASCII."""
    array = np.asarray(values)
    if not array.ndim:
        raise DataError(
            f"numpy_slices: found {values!r:.80}, expected arrays [records, ...]; make one of a "
            "list, as by numpy.array"
        )
    if array.dtype.kind == "U":
        return np.char.encode(array, "utf-8").astype(object)
    if not _is_known(array):
        raise DataError(
            f"numpy_slices: found an array of {array.dtype}, expected numbers, bool or text; "
            'convert it, as by astype("float32")'
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_known(array: np.ndarray) -> bool:
    """Whether TensorFlow has the type; in columns of several types there are Python's objects."""
    try:
        tf.as_dtype(array.dtype)
    except TypeError:
        return False
    return array.dtype != object or all(isinstance(each, (str, bytes)) for each in array.flat)
