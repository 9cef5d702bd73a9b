"""Updates that happen whole or not at all: gradients clipped, checked, then applied."""

from __future__ import annotations

from typing import List, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from ..errors import ConfigError

Gradient = Union[tf.Tensor, tf.IndexedSlices]
Pairs = List[Tuple[Gradient, tf.Variable]]


def guarded_update(
    optimizer: tf.train.Optimizer,
    pairs: Pairs,
    loss: tf.Tensor,
    clip: dict[str, float],
    updates: Sequence[tf.Operation],
    writes: Sequence[tf.Operation],
    global_step: tf.Variable,
) -> tf.Operation:
    """Applies gradients behind a barrier: no variable is written unless all numbers are finite.

    A check for each gradient alone would let the other variables be written first, and the
    next checkpoint would hold a half-made step. (Adam squares gradients: without clipping, those
    beyond 1e19 still overflow in its own averages.)

    Args:
        optimizer: applies the gradients.
        pairs: (gradient, variable), none of them None.
        loss: float32 [].
        clip: see `clip_gradients`.
        updates: what else belongs to this step, such as BatchNorm's statistics.
        writes: the operations by which the updates write variables; they wait for the barrier.
        global_step: int64 [], raised by one.

    Returns:
        The operation that has written everything. Running it raises InvalidArgumentError, with
        the name of the loss or gradient and "Tensor had NaN" or "Tensor had Inf", before
        anything is written.
    """
    clipped = clip_gradients(pairs, clip)
    checks = [tf.debugging.check_numerics(loss, "the loss is not finite").op]
    # Both: clipping by value hides a NaN, and a norm that overflows makes one.
    for gradient, variable in pairs if clipped is pairs else pairs + clipped:
        values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        message = f"the gradient of {variable.op.name} is not finite"
        checks.append(tf.debugging.check_numerics(values, message).op)
    barrier = tf.group(*checks)
    for operation in [*updates, *writes]:
        # Layers build their updates while they are called, before the barrier can exist.
        operation._add_control_inputs([barrier])
    with tf.control_dependencies([barrier, *updates]):
        return optimizer.apply_gradients(clipped, global_step=global_step)


def clip_gradients(pairs: Pairs, clip: dict[str, float]) -> Pairs:
    """Limits gradients by one of value, norm (of each gradient) and global_norm (of all).

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
        gradients, _ = tf.clip_by_global_norm(gradients, limit)
    return [(gradient, variable) for gradient, (_, variable) in zip(gradients, pairs)]


def _clip_by_value(gradient: Gradient, limit: float) -> Gradient:
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.clip_by_value(gradient.values, -limit, limit)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.clip_by_value(gradient, -limit, limit)
