"""Ends training at a step, of one machine or of a cluster."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable

import tensorflow.compat.v1 as tf

from ...train.hooks.every import EveryHook
from ..cluster.cluster import POLL_SECS
from .signals import SignalHook

logger = logging.getLogger(__name__)


class LastStepHook(EveryHook):
    """Asks the session to stop when the global step, after an update, is the last one or beyond.

    In a cluster each worker then goes at most one step too far; tf.train.StopAtStepHook looks at
    what the step was before the update, and lets another step through.

    Args:
        last_step: the global step to end at.
    """

    def __init__(self, last_step: int) -> None:
        super().__init__(always=[last_step])
        self._last_step = last_step

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        """Nothing: the step itself is looked at after each run."""

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        super().after_run(run_context, run_values)
        if self.step >= self._last_step and self.is_over(run_context.session):
            run_context.request_stop()

    def is_over(self, session: tf.Session) -> bool:
        """Whether the last step is the end."""
        return True


class SavedLastStepHook(LastStepHook):
    """For a worker of a cluster, which ends when the chief has saved the last step.

    A chief that dies before goes back to its newest checkpoint, and needs the workers again.

    Args:
        last_step: the global step to end at.
        saved: whether the chief has saved it.
        signals: after one that ends this process there is nothing to wait for.
    """

    def __init__(self, last_step: int, saved: Callable[[], bool], signals: SignalHook) -> None:
        super().__init__(last_step)
        self._saved = saved
        self._signals = signals

    def is_over(self, session: tf.Session) -> bool:
        while not (self._saved() or self._signals.received):
            step = int(session.run(self._global_step))
            if step < self._last_step:
                logger.info("the chief went back to step %d", step)
                # The session begins anew, and so do hooks and the input: at that step.
                raise tf.errors.AbortedError(None, None, "the chief has restored a checkpoint")
            time.sleep(POLL_SECS)
        return True
