"""The factor of the learning rate that a schedule returns, checked."""

from __future__ import annotations

from typing import Any, Callable

import tensorflow.compat.v1 as tf

from ..errors import ConfigError


def factor_of(schedule: Callable[[tf.Tensor], Any], global_step: tf.Tensor) -> tf.Tensor:
    """What a schedule returns for a global step, int64 []: float32 []; raises ConfigError."""
    try:
        found = tf.cast(schedule(global_step), tf.float32)
    except (TypeError, ValueError) as error:
        text = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"model.schedule: {text}; expected a function of the global step, a tensor, that "
            "returns a factor, as those of model/schedules.py; tf.where is its `if`"
        ) from error
    if found.shape.rank != 0:
        raise ConfigError(f"model.schedule: returned {found.shape}, expected a single number")
    return found


def check_factors(schedule: Callable[[tf.Tensor], Any], last_step: int) -> None:
    """Raises ConfigError if the first or last step's factor is negative, or the last one's 0."""
    cpu = tf.ConfigProto(device_count={"GPU": 0})
    with tf.Graph().as_default(), tf.Session(config=cpu) as session:
        steps = tf.constant([0, last_step - 1], tf.int64)
        first, last = session.run([factor_of(schedule, step) for step in tf.unstack(steps)])
    if first < 0 or last < 0:
        raise ConfigError(f"model.schedule: found a factor of {min(first, last)}, expected 0 to 1")
    if not last:
        raise ConfigError(
            f"model.schedule: the learning rate is 0 before the last step, {last_step}; set "
            f"model.schedule.last_step={last_step}, and where a run resumes "
            "trainer.allow_changes=[model.schedule]"
        )
