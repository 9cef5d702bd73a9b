"""Random numbers that belong to an example: the same after a restart, in whatever batch it is."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

xor, right_shift = tf.bitwise.bitwise_xor, tf.bitwise.right_shift


def example_keys(
    seed: int, epoch: Any, ids: tf.Tensor, repeats: tf.Tensor | None = None
) -> tf.Tensor:
    """A key for each example: int64 [batch], below 2**32.

    Args:
        seed: of the dataset.
        epoch: int64 [] or [batch].
        ids: int64 [batch], see `elements`.
        repeats: int32 [batch], how often each came before in its epoch; None: never.
    """
    bits = _mixed(xor(_mixed(_low(seed)), _low(epoch)))
    bits = _mixed(xor(_mixed(xor(bits, _low(right_shift(ids, 32)))), _low(ids)))
    bits = bits if repeats is None else _mixed(xor(bits, _low(repeats)))
    return tf.cast(bits, tf.int64)


def uniform(keys: tf.Tensor, shape: Sequence[int] = (), stream: int = 0) -> tf.Tensor:
    """Numbers in [0, 1) for each example: float32 [batch, *shape].

    Args:
        keys: int64 [batch], as `Dataset.augment` gets them.
        shape: of the numbers of one example.
        stream: another one gives numbers that are independent of this one's.
    """
    bits = _low(keys)
    if not 0 <= stream < 256:  # what is above is not part of the places
        bits = _mixed(xor(bits, _mixed(_low(stream >> 8))))
    first, count = (stream & 255) << 24, int(np.prod(shape, dtype=int))
    places = _mixed(_low(tf.range(first, first + count, dtype=tf.int64)))
    bits = right_shift(_mixed(xor(bits[:, tf.newaxis], places)), 8)
    numbers = tf.cast(tf.bitcast(bits, tf.int32), tf.float32) / 2**24
    return tf.reshape(numbers, [-1, *shape])


def _low(number: Any) -> tf.Tensor:
    """The lowest 32 bits of integers: uint32."""
    return tf.bitcast(tf.cast(tf.cast(number, tf.int64), tf.int32), tf.uint32)


def _mixed(bits: tf.Tensor) -> tf.Tensor:
    """The hash lowbias32: uint32 -> uint32.

    Chris Wellons 2018, https://nullprogram.com/blog/2018/07/31/. TensorFlow 1.15 multiplies no
    uint32; products of int32 have the same bits.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        bits = tf.bitcast(xor(bits, right_shift(bits, shift)), tf.int32) * factor
        bits = tf.bitcast(bits, tf.uint32)
    return xor(bits, right_shift(bits, 16))
