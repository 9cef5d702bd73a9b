"""The parts of a batch that replicas share: cut out of it, and joined again."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import tensorflow.compat.v1 as tf

from ..errors import DataError, ModelError
from .measures import Ratio

Nest = Any

ALONE = "or train with trainer.replicas=1, in one process"


class Part(NamedTuple):
    """The rows of a batch that one replica takes; each int, or int32 []."""

    first: Any
    rows: Any  # at least 1, so that nothing divides by 0
    size: Any  # how many of them count: 0 in a batch smaller than the number of replicas
    share: Any  # of the batch, float32 []


def shared_out(batch: Nest, count: int) -> list[tuple[Part, Nest]]:
    """The parts of a batch, as alike in size as possible; numbers are handed to all.

    Raises:
        DataError: no tensor has examples, or some have more than others.
    """
    arrays = [array for array in tf.nest.flatten(batch) if has_rows(array)]
    sizes = [_size(array) for array in arrays]
    known = {size for size in sizes if isinstance(size, int)}
    if len(known) > 1 or not arrays:
        raise DataError(
            f"features and labels: found {sorted(known)} examples in a batch, expected as many in "
            "each, for replicas to share; make what belongs to no example in the model"
        )
    total = known.pop() if known else sizes[0]
    text = "features and labels of a batch differ in their number of examples"
    unknown = [size for size in sizes if isinstance(size, tf.Tensor) and size is not total]
    with tf.control_dependencies(
        [tf.debugging.assert_equal(x, total, message=text) for x in unknown]
    ):
        if not isinstance(total, int) or total < count:
            total = tf.identity(total)
        parts = [_part(number, count, total) for number in range(count)]
        return [(part, rows_of(batch, part)) for part in parts]


def rows_of(batch: Nest, part: Part) -> Nest:
    """The rows of a part of a batch; numbers are handed to all."""
    return tf.nest.map_structure(_taker(part), batch)


def has_rows(value: Any) -> bool:
    return isinstance(value, (tf.Tensor, tf.SparseTensor)) and value.shape.rank != 0


def _size(array: Any) -> Any:
    """int if it is known, else int32 []."""
    if isinstance(array, tf.SparseTensor):
        return tf.cast(array.dense_shape[0], tf.int32)
    return array.shape.as_list()[0] or tf.shape(array)[0]


def _part(number: int, count: int, total: Any) -> Part:
    first = number * total // count
    size = (number + 1) * total // count - first
    share = tf.cast(size, tf.float32) / tf.cast(total, tf.float32)
    if isinstance(total, int):
        return Part(first, size, size, share)
    # A part that counts nothing computes a row that another has, too.
    first = tf.maximum(tf.minimum(first, total - 1), 0)
    return Part(first, tf.maximum(size, 1), size, share)


def _taker(part: Part) -> Callable[[Any], Any]:
    def rows_of_one(value: Any) -> Any:
        if not has_rows(value):
            return value
        if not isinstance(value, tf.SparseTensor):
            return value[part.first : part.first + part.rows]
        shape = value.dense_shape
        first, rows = (tf.reshape(tf.cast(each, tf.int64), [1]) for each in part[:2])
        start = tf.concat([first, tf.zeros_like(shape[1:])], axis=0)
        return tf.sparse.slice(value, start, tf.concat([rows, shape[1:]], axis=0))

    return rows_of_one


def joined(values: Sequence[Any], parts: Sequence[Part]) -> Any:
    """One output of all replicas: [batch, ...], the mean of numbers, or what is no tensor."""
    first = values[0]
    if isinstance(first, tf.SparseTensor):
        return tf.sparse.concat(0, values)
    if not isinstance(first, tf.Tensor):
        return first
    rows, shape = parts[0].rows, first.shape
    if shape.rank and isinstance(rows, int) and shape.as_list()[0] is not None:
        fits = shape.as_list()[0] % rows == 0
    else:
        fits = shape.rank != 0 or first.dtype.is_floating
    if not fits:
        raise ModelError(
            f"{first.name}: found an output {shape} of a part of {rows} examples, expected one row "
            f"or more for each, or the mean of floats, []; return it otherwise, {ALONE}"
        )
    if shape.rank == 0:
        return _mean(values, parts)
    return tf.concat([_counted(value, part) for value, part in zip(values, parts)], axis=0)


def _counted(value: tf.Tensor, part: Part) -> tf.Tensor:
    """The rows of an output that count: all, or none."""
    if part.rows is part.size:
        return value
    return value[: tf.shape(value)[0] * tf.minimum(part.size, 1)]


def joined_loss(losses: Sequence[Any], parts: Sequence[Part]) -> Any:
    """The loss of the batch: of a dict name by name, of a `Ratio` the sums of both."""
    if isinstance(losses[0], dict):
        return {name: joined_loss([loss[name] for loss in losses], parts) for name in losses[0]}
    if not isinstance(losses[0], Ratio):
        return _mean(losses, parts)
    counts = [tf.minimum(part.size, 1) for part in parts]
    sums = [
        [each * tf.cast(count, each.dtype) for each, count in zip(of_all, counts)]
        for of_all in zip(*losses)
    ]
    return Ratio(*map(tf.add_n, sums))


def _mean(values: Sequence[tf.Tensor], parts: Sequence[Part]) -> tf.Tensor:
    """The mean of numbers [], weighted by examples."""
    pairs = zip(values, parts)
    return tf.add_n([value * tf.cast(part.share, value.dtype) for value, part in pairs])
