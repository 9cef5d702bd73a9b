"""Ends training at a step."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ...train.hooks.every import EveryHook


class LastStepHook(EveryHook):
    """Asks the session to stop when the global step, after an update, is the last one or beyond.

    tf.train.StopAtStepHook looks at what the step was before the update, and lets another through.

    Args:
        last_step: the global step to end at.
    """

    def __init__(self, last_step: int) -> None:
        super().__init__(always=[last_step])
        self._last_step = last_step

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        """Does nothing: the step is looked at after each run."""

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        super().after_run(run_context, run_values)
        if self.step >= self._last_step and self.is_over(run_context.session):
            run_context.request_stop()

    def is_over(self, session: tf.Session) -> bool:
        """Whether the last step is the end."""
        return True
