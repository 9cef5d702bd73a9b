"""What is done to gradients before they are applied: deduplicated, checked, clipped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import List, NamedTuple, Tuple, Union

import tensorflow.compat.v1 as tf

from ..errors import ConfigError

Gradient = Union[tf.Tensor, tf.IndexedSlices]
Pairs = List[Tuple[Gradient, tf.Variable]]


class Gradients(NamedTuple):
    """What one batch asks of the variables."""

    pairs: Pairs  # (gradient, variable); with `accumulate` summed over batches
    clipped: Pairs  # what is applied
    finite: tf.Operation  # fails if the loss or one of these is not finite, with its name


def dense_values(gradient: Gradient) -> tf.Tensor:
    """The numbers of a gradient; of a sparse one, those of its rows."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def deduplicated(gradient: Gradient, dense: bool = False) -> Gradient:
    """The same with one row for each index: limits and norms would miss the sum of several."""
    if dense or not isinstance(gradient, tf.IndexedSlices):
        return tf.convert_to_tensor(gradient)
    indices, rows = tf.unique(gradient.indices)
    values = tf.unsorted_segment_sum(gradient.values, rows, tf.size(indices))
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def check_finite(pairs: Pairs, squared: bool) -> list[tf.Tensor]:
    """Checks that name the variable whose gradient is not finite.

    Args:
        squared: whether the optimizer squares them, element by element.
    """
    checks = []
    for gradient, variable in pairs:
        name, values = variable.op.name, dense_values(gradient)
        message = f"the gradient of {name} is not finite"
        checks.append(tf.debugging.check_numerics(values, message))
        if squared:
            message = (
                f"the square of the gradient of {name}, which the optimizer takes, is not finite"
            )
            checks.append(tf.debugging.check_numerics(tf.square(values), message))
    return checks


def clip_gradients(pairs: Pairs, clip: dict[str, float], squares: list[tf.Tensor]) -> Pairs:
    """Limits gradients by one of value, norm (of each gradient) and global_norm (of all).

    Args:
        pairs: (gradient, variable).
        clip: the limits; 0 is none.
        squares: half the sum of each gradient's squares, float32 [].

    Raises:
        ConfigError: more than one limit is set, or one is unknown, negative or not finite.
    """
    given = clip if isinstance(clip, Mapping) else {"": clip}
    limits = {name: limit for name, limit in given.items() if limit}
    unknown = set(given) - {"value", "norm", "global_norm"}
    if len(limits) > 1 or unknown or not all(0 < limit < math.inf for limit in limits.values()):
        raise ConfigError(
            f"model.clip: found {clip}; expected one of value, norm and global_norm above 0, and 0 "
            "for the others, such as {global_norm: 5.0}"
        )
    if not limits:
        return pairs
    ((kind, limit),) = limits.items()
    gradients = [gradient for gradient, _ in pairs]
    if kind == "value":
        gradients = [tf.clip_by_value(gradient, -limit, limit) for gradient in gradients]
    elif kind == "norm":
        gradients = [tf.clip_by_norm(gradient, limit) for gradient in gradients]
    else:
        norm = tf.sqrt(2 * tf.add_n(squares))
        gradients, _ = tf.clip_by_global_norm(gradients, limit, use_norm=norm)
    return [(gradient, variable) for gradient, (_, variable) in zip(gradients, pairs)]
