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
    keys = _mixed(xor(_mixed(tf.constant(seed, tf.int64)), epoch))
    keys = _mixed(xor(_mixed(xor(keys, right_shift(ids, 32))), ids))
    return keys if repeats is None else _mixed(xor(keys, tf.cast(repeats, tf.int64)))


def uniform(keys: tf.Tensor, shape: Sequence[int] = (), stream: int = 0) -> tf.Tensor:
    """Numbers in [0, 1) for each example: float32 [batch, *shape].

    Args:
        keys: int64 [batch], as `Dataset.augment` gets them.
        shape: of the numbers of one example.
        stream: another one gives numbers that are independent of this one's.
    """
    if not 0 <= stream < 256:  # what is above is not part of the places
        keys = _mixed(xor(keys, _mixed(tf.constant(stream >> 8, tf.int64))))
    first, count = (stream & 255) << 24, int(np.prod(shape, dtype=int))
    places = _mixed(tf.range(first, first + count, dtype=tf.int64))
    bits = _mixed(xor(tf.expand_dims(keys, 1), places))
    numbers = tf.cast(right_shift(bits, 8), tf.float32) / 2**24
    return tf.reshape(numbers, [-1, *shape])


def _mixed(bits: tf.Tensor) -> tf.Tensor:
    """The hash lowbias32 of the lowest 32 bits: int64 -> int64 of 32 bits.

    Chris Wellons 2018, https://nullprogram.com/blog/2018/07/31/. A product of 32 bits and 31 is
    exact in int64; so the second factor is taken less 2**32, which changes nothing modulo 2**32.
    """
    low = tf.constant(0xFFFFFFFF, tf.int64)
    bits = tf.bitwise.bitwise_and(bits, low)
    bits = tf.bitwise.bitwise_and(xor(bits, right_shift(bits, 16)) * 0x7FEB352D, low)
    factor = 0x846CA68B - 2**32
    bits = tf.bitwise.bitwise_and(xor(bits, right_shift(bits, 15)) * factor, low)
    return xor(bits, right_shift(bits, 16))
