"""Logarithm, division and norm that are finite, and whose gradients are, at 0 and at infinity.

`tf.where(x > 0, tf.log(x), 0.0)` is not enough: its value is finite, but its gradient at 0 is
NaN, since the branch that is not taken counts as 0 times infinity. So the argument itself is made
harmless by a `where` of its own, before the function sees it. NaN stays NaN, so that it is found.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

# 1 / SMALL² is finite in float32, so that Adam, which squares gradients, is safe too.
SMALL = 1e-18


def safe_log(x: tf.Tensor) -> tf.Tensor:
    """log(x), nats; log(1e-18), with a gradient of 0, where x is below 1e-18."""
    return tf.log(_between(x, SMALL, x.dtype.max))


def safe_divide(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """x / y; 0, with gradients of 0, where y is between -1e-18 and 1e-18."""
    none = tf.abs(y) < SMALL
    quotient = _between(x, x.dtype.min, x.dtype.max) / tf.where_v2(none, tf.ones_like(y), y)
    return tf.where_v2(none, tf.zeros_like(quotient), quotient)


def safe_norm(x: tf.Tensor, axis: Any = None) -> tf.Tensor:
    """The Euclidean norm over `axis`; 0, with a gradient of 0, where it is below 1e-18.

    Numbers beyond ±1e18 count as that: their squares would overflow.
    """
    total = tf.reduce_sum(tf.square(_between(x, -1 / SMALL, 1 / SMALL)), axis)
    none = total < SMALL**2
    norm = tf.sqrt(tf.where_v2(none, tf.ones_like(total), total))
    return tf.where_v2(none, tf.zeros_like(norm), norm)


def _between(x: tf.Tensor, least: float, most: float) -> tf.Tensor:
    x = tf.where_v2(x < least, tf.constant(least, x.dtype), x)
    return tf.where_v2(x > most, tf.constant(most, x.dtype), x)
