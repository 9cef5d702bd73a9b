"""For losses: checked labels; logarithm, division and norm that are finite at 0 and infinity.

So are their gradients.

For float32 and float64; the range of float16 is too small, so cast before.

`tf.where(x > 0, tf.log(x), 0.0)` is not enough: its value is finite, but its gradient at 0 is
NaN, since the branch that is not taken counts as 0 times infinity. So the argument itself is made
safe by a `where` of its own, before the function sees it. NaN stays NaN, so that it is found.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ..errors import ModelError

# 1 / SMALL² is finite in float32, so that Adam, which squares gradients, is safe too.
SMALL = 1e-18
FRACTION = "a label of the batch is no integer"


def safe_log(x: tf.Tensor) -> tf.Tensor:
    """log(x), nats; log(1e-18), with a gradient of 0, where x is below 1e-18."""
    return tf.log(_between(x, SMALL, x.dtype.max))


def safe_divide(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """x / y; 0, with gradients of 0, where y is between -1e-18 and 1e-18.

    An x beyond 1e36 y² (1e36, where y is above 1) counts as that: its gradients would overflow.
    """
    none = tf.abs(y) < SMALL
    divisor = tf.where_v2(none, tf.ones_like(y), y)
    most = tf.stop_gradient(tf.square(_between(divisor, -1.0, 1.0))) / SMALL**2
    quotient = _between(x, -most, most) / divisor
    return tf.where_v2(none & ~tf.is_nan(x), tf.zeros_like(quotient), quotient)


def safe_norm(x: tf.Tensor, axis: Any = None) -> tf.Tensor:
    """The Euclidean norm over `axis`; 0, with a gradient of 0, where it is below 1e-18.

    Numbers beyond ±1e18 count as that: their squares would overflow.
    """
    x = _between(x, -1 / SMALL, 1 / SMALL)
    # Divided by the largest, where that is above 1, since a sum of many squares may overflow, too.
    largest = tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(x), axis, keepdims=True), 1.0))
    total = tf.reduce_sum(tf.square(x / largest), axis)
    none = total < SMALL**2
    norm = tf.sqrt(tf.where_v2(none, tf.ones_like(total), total))
    norm *= tf.reshape(largest, tf.shape(total))
    return tf.where_v2(none, tf.zeros_like(norm), norm)


def _between(x: tf.Tensor, least: Any, most: Any) -> tf.Tensor:
    if x.dtype not in (tf.float32, tf.float64):
        raise ModelError(f"{x.name}: found {x.dtype.name}, expected float32 or float64; cast it")
    x = tf.where_v2(x < least, tf.cast(least, x.dtype), x)
    return tf.where_v2(x > most, tf.cast(most, x.dtype), x)


def class_labels(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Labels of any shape and type as int32 [batch], for a loss over logits [batch, classes].

    Raises:
        ModelError: they are one-hot.
        InvalidArgumentError: in a step, one is not a class (a GPU's loss would be NaN).
    """
    classes = logits.shape.as_list()[-1]
    if labels.shape.rank == 2 and labels.shape.as_list()[1] == classes != 1:
        raise ModelError(
            f"found labels {labels.shape}, expected the number of a class for each example; of "
            "one-hot labels, let convert return tf.argmax(labels, 1)"
        )
    if not (labels.dtype.is_integer or labels.dtype.is_floating or labels.dtype == tf.bool):
        raise ModelError(
            f"found labels of type {labels.dtype.name}, expected the number of a class for each "
            "example; number them in `convert`"
        )
    numbers = tf.reshape(labels, [-1])
    if not labels.dtype.is_floating:
        numbers = tf.cast(numbers, tf.int64)  # else a large one would wrap around
    lowest, highest = tf.reduce_min(numbers), tf.reduce_max(numbers)
    text = f"a label value of the batch is outside the valid range of [0, {classes}), found"
    valid = tf.reduce_all((numbers >= 0) & (numbers < classes))  # no NaN is
    checks = [tf.debugging.Assert(valid, [text, lowest, "to", highest])]
    if labels.dtype.is_floating:
        with tf.control_dependencies(checks):
            whole = tf.reduce_all(tf.equal(tf.floor(numbers), numbers))
            checks.append(tf.debugging.Assert(whole, [FRACTION]))
    with tf.control_dependencies(checks):
        return tf.cast(numbers, tf.int32)
