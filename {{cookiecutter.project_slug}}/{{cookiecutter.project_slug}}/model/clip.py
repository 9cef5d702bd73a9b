"""Limits to gradients."""

from __future__ import annotations

from typing import List, Tuple, Union

import tensorflow.compat.v1 as tf

from ..errors import ConfigError

Gradient = Union[tf.Tensor, tf.IndexedSlices]
Pairs = List[Tuple[Gradient, tf.Variable]]


def clip_gradients(pairs: Pairs, clip: dict[str, float], squares: list[tf.Tensor]) -> Pairs:
    """Limits gradients by one of value, norm (of each gradient) and global_norm (of all).

    Args:
        pairs: (gradient, variable).
        clip: the limits; 0 is none.
        squares: half the sum of each gradient's squares, float32 [].

    Raises:
        ConfigError: more than one limit is set, or one is unknown or negative.
    """
    limits = {name: limit for name, limit in clip.items() if limit}
    known = {"value", "norm", "global_norm"}
    if len(limits) > 1 or set(clip) - known or any(limit < 0 for limit in limits.values()):
        raise ConfigError(
            f"model.clip: found {dict(clip)}; expected one of value, norm and global_norm above 0, "
            "and 0 for the others"
        )
    if not limits:
        return pairs
    ((kind, limit),) = limits.items()
    gradients = [gradient for gradient, _ in pairs]
    if kind == "value":
        gradients = [_clip_by_value(gradient, limit) for gradient in gradients]
    elif kind == "norm":
        gradients = [tf.clip_by_norm(gradient, limit) for gradient in gradients]
    else:
        norm = tf.sqrt(2 * tf.add_n(squares))
        gradients, _ = tf.clip_by_global_norm(gradients, limit, use_norm=norm)
    return [(gradient, variable) for gradient, (_, variable) in zip(gradients, pairs)]


def _clip_by_value(gradient: Gradient, limit: float) -> Gradient:
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.clip_by_value(gradient.values, -limit, limit)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.clip_by_value(gradient, -limit, limit)
