"""Learning-rate schedules: closures that return a function of the global step alone.

`outer(arguments)` returns `factor(global_step)`, by which the learning rate is multiplied. It has
no state, so that a restart resumes as if training had never stopped. Each can start with a linear
warm-up, Goyal et al. 2017, https://arxiv.org/abs/1706.02677. A YAML may name yours by `_target_`.
"""

from __future__ import annotations

import math
from typing import Callable, Sequence

import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError, check_at_least

Schedule = Callable[[tf.Tensor], tf.Tensor]  # global step, int64 [] -> factor, float32 []


def constant(warmup_steps: int = 0) -> Schedule:
    """The learning rate itself, after a linear warm-up of `warmup_steps`."""
    return _after_warmup(warmup_steps, tf.ones_like)


def step(boundaries: Sequence[int], factor: float = 0.1, warmup_steps: int = 0) -> Schedule:
    """Multiplied by `factor` at each of the global steps in `boundaries`, after the warm-up."""
    if boundaries:
        check_at_least(warmup_steps + 1, "model.schedule", boundaries=boundaries)
    _check_factor(factor)

    def decay(steps: tf.Tensor) -> tf.Tensor:
        passed = [tf.cast(steps + warmup_steps >= boundary, tf.float32) for boundary in boundaries]
        return tf.pow(tf.constant(factor, tf.float32), tf.add_n([tf.zeros([]), *passed]))

    return _after_warmup(warmup_steps, decay)


def exponential(every_n_steps: int, factor: float = 0.5, warmup_steps: int = 0) -> Schedule:
    """Decays smoothly, by `factor` in every `every_n_steps` after the warm-up."""
    check_at_least(1, "model.schedule", every_n_steps=every_n_steps)
    _check_factor(factor)
    return _after_warmup(warmup_steps, lambda steps: tf.pow(factor, steps / every_n_steps))


def cosine(last_step: int, end: float = 0.0, warmup_steps: int = 0) -> Schedule:
    """Half a cosine from 1 to `end` at the global step `last_step`, where it stays.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.
    """
    return _until(
        last_step,
        warmup_steps,
        lambda done: end + (1 - end) * 0.5 * (1 + tf.cos(math.pi * done)),
    )


def polynomial(
    last_step: int, end: float = 0.0, power: float = 1.0, warmup_steps: int = 0
) -> Schedule:
    """From 1 to `end` at the global step `last_step`, where it stays; `power` 1 is linear."""
    return _until(last_step, warmup_steps, lambda done: end + (1 - end) * (1 - done) ** power)


def _until(last_step: int, warmup_steps: int, factor: Schedule) -> Schedule:
    """After the warm-up, `factor` of the part of the steps that is done, float32 [], 0–1."""
    check_at_least(warmup_steps + 1, "model.schedule", last_step=last_step)
    steps_after = last_step - warmup_steps
    return _after_warmup(warmup_steps, lambda steps: factor(tf.minimum(steps / steps_after, 1.0)))


def _after_warmup(warmup_steps: int, factor: Schedule) -> Schedule:
    """A linear warm-up, then `factor` of the number of steps since, float32 []."""
    check_at_least(0, "model.schedule", warmup_steps=warmup_steps)

    def warmup_then_factor(global_step: tf.Tensor) -> tf.Tensor:
        steps = tf.cast(global_step, tf.float32)
        # Plus one: the first step, which is global step 0, has to move the weights, too.
        warmup = tf.minimum((steps + 1) / max(warmup_steps, 1), 1.0)
        return warmup * factor(tf.maximum(steps - warmup_steps, 0.0))

    return warmup_then_factor


def _check_factor(factor: float) -> None:
    if not 0 < factor <= 1:
        raise ConfigError(f"model.schedule: found factor={factor}, expected above 0, at most 1")
