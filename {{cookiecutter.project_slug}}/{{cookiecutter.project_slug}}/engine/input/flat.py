"""Arrays in memory: all records' in one, and of those whose size varies the values and the sizes.

Values: [all values, ...], of each record one of padding and then its own, in the order of its
array. Sizes: int32 [records, n], those of the first n dimensions, the last of which varies.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ..compat import RUNTIME
from ..errors import DataError
from .elements import native


def varying(shape: tf.TensorShape) -> int:
    """The number n of dimensions of a record's array up to the last that varies; 0: none does.

    Raises:
        DataError: it is not known how many there are.
    """
    if shape.rank is None:
        raise DataError(
            "records: found an array of unknown rank, expected it to be known, for padding; call "
            "its set_shape in decode, as after tf.py_func: x.set_shape([None, 3])"
        )
    return max([place for place, size in enumerate(shape.as_list(), 1) if size is None], default=0)


def flattened(array: tf.Tensor, padding: tf.Tensor) -> tuple[Any, ...]:
    """A record's array -> itself, or (values, size) if it varies, in a form to be batched."""
    number = varying(array.shape)
    if not number:
        return (array,)
    size, inner = tf.shape(array)[:number], array.shape.as_list()[number:]
    values = tf.reshape(array, [tf.reduce_prod(size), *inner])
    values = tf.concat([tf.fill([1, *inner], padding), values], 0)
    return tf.RaggedTensor.from_tensor(values[tf.newaxis]), size


def joined(elements: tf.data.Dataset) -> tf.data.Dataset:
    """All elements as one, each array [...] as [elements, ...], for a moment twice in memory.

    Raises:
        DataError: TensorFlow 1.15 does not have the operations for an array's type.
    """
    ops = tf.raw_ops
    wide = {tf.uint32, tf.uint64}.intersection(tf.nest.flatten(tf.data.get_output_types(elements)))
    if wide and RUNTIME == "tf1":
        raise DataError(
            f"records: found {wide.pop().name}, which TensorFlow 1.15 cannot gather; cast it where "
            "it is read, as by tf.cast(x, tf.int64) in decode"
        )

    @native
    def flat(*batch: Any) -> Any:
        arrays = tf.nest.flatten(batch)
        return tuple(x.flat_values if isinstance(x, tf.RaggedTensor) else x for x in arrays)

    @native
    def push(lists: Any, batch: Any) -> Any:
        each = zip(lists, batch)
        return tuple(ops.TensorListPushBack(input_handle=list_, tensor=x) for list_, x in each)

    @native
    def join(_: tf.Tensor) -> Any:
        size = {"element_shape": -1, "max_num_elements": -1}
        lists = tuple(ops.EmptyTensorList(element_dtype=type_, **size) for type_ in types)
        lists = batches.reduce(lists, push)
        arrays = []
        for list_, type_, shape in zip(lists, types, shapes):
            known = shape.as_list() if shape.rank else None
            shape = -1 if known is None else [-1 if size is None else size for size in known]
            array = ops.TensorListConcatV2(
                input_handle=list_, element_dtype=type_, element_shape=shape, leading_dims=[]
            )[0]
            arrays.append(array)
        return tf.nest.pack_sequence_as(structure, arrays)

    # By the thousand: in one step each array would be a tensor until all are there, of 200 bytes.
    structure = tf.data.get_output_types(elements)
    batches = elements.batch(1024).map(flat)
    types, shapes = tf.data.get_output_types(batches), tf.data.get_output_shapes(batches)
    return tf.data.Dataset.from_tensors(0).map(join)


def located(values: Any, size: tf.Tensor | None = None) -> tuple[tf.Tensor, ...]:
    """What `gathered` takes of an array of all records: where the values of each begin, too."""
    if size is None:
        return (values,)
    values_in = 1 + tf.reduce_prod(tf.cast(size, tf.int64), axis=1)
    return values, size, tf.cumsum(values_in, exclusive=True)


def gathered(chosen: tf.Tensor, values: Any, *varies: tf.Tensor) -> tf.Tensor:
    """The arrays of some records, filled up to the largest of them: [batch, ...].

    Args:
        chosen: which records, int32 [batch].
        values, varies: see `located`.
    """
    if not varies:
        return tf.gather(values, chosen)
    size, begin = (tf.gather(each, chosen) for each in varies)
    number = size.shape[1]
    place, inside = tf.zeros_like(chosen), tf.ones_like(chosen, tf.bool)
    for axis in range(number):
        here = tf.reshape(size[:, axis], [-1] + [1] * (axis + 1))
        index = tf.range(tf.reduce_max(here))
        place = tf.expand_dims(place, -1) * here + index
        inside = tf.expand_dims(inside, -1) & (index < here)
    place = tf.cast((place + 1) * tf.cast(inside, tf.int32), tf.int64)
    return tf.gather(values, tf.reshape(begin, [-1] + [1] * number) + place)
