"""What a layer knows of the whole batch, where devices or processes have a part of it each."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Sequence

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from .parts import ALONE, Part
from .workers import workers_of

_REPLICAS: list[tuple[Part, list[tf.Operation]]] = []  # that are being built, and what they sum


def sum_over_parts(value: tf.Tensor) -> tf.Tensor:
    """The sum over all replicas and workers of what each computes of its part of the batch.

    Gradients flow through it to all parts. All must ask for the same sums, in the same order.
    """
    if not _REPLICAS:
        return workers_of().total(value)
    part, asked = _REPLICAS[-1]
    if part.rows is not part.size:  # a part that has no rows computes one of another part
        value = value * tf.cast(tf.minimum(part.size, 1), value.dtype)
    given = tf.identity(value)
    asked.append(given.op)
    return given


@contextlib.contextmanager
def summing(part: Part, asked: list[tf.Operation]) -> Iterator[None]:
    """Puts what a replica built inside of the `with` wants to have summed into `asked`."""
    _REPLICAS.append((part, asked))
    try:
        yield
    finally:
        _REPLICAS.pop()


def sum_all(asked: Sequence[Sequence[tf.Operation]]) -> None:
    """Gives each replica the sums that it asked for, once all are built.

    Raises:
        ModelError: they asked for different ones.
    """
    shapes = [[(op.outputs[0].dtype, op.outputs[0].shape.as_list()) for op in ops] for ops in asked]
    if any(each != shapes[0] for each in shapes):
        raise ModelError(
            f"replicas sum different values over the parts of a batch: {shapes}; call the same "
            f"layers for each, {ALONE}"
        )
    for ops in zip(*asked):
        total = workers_of().total(tf.add_n([op.inputs[0] for op in ops]))
        for op in ops:
            op._update_input(0, total)


class BatchNormalization(tf.keras.layers.BatchNormalization):
    """Keras' layer, by the mean and variance of the whole batch while training.

    So weights do not depend on the number of devices and workers. Variables have the same names,
    and results on one device are the same within rounding; it is slower, since all devices wait
    for each other at each one. Masks are not supported.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(fused=False, **arguments)

    def _moments(
        self, x: tf.Tensor, axes: Sequence[int], keep_dims: bool, mask: Any = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if mask is not None:
            raise ModelError(f"{self.name}: found a mask, which it cannot take; leave it out")
        mean, variance = tf.nn.moments(x, axes, keep_dims=keep_dims)
        # In float64, since a difference of squares is taken.
        mean, variance = tf.cast(mean, tf.float64), tf.cast(variance, tf.float64)
        count = tf.cast(tf.size(x), tf.float64) / tf.cast(tf.size(mean), tf.float64)
        sums = tf.stack([count * mean, count * (variance + mean**2), count * tf.ones_like(mean)])
        total, squares, count = tf.unstack(sum_over_parts(sums))
        mean = total / count
        variance = tf.maximum(squares / count - mean**2, 0)  # of equal numbers, rounding is below
        return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)
