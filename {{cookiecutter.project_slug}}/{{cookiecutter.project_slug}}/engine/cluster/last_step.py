"""Ends the training of a worker when the chief has saved the last step."""

from __future__ import annotations

import logging
import time
from typing import Callable

import tensorflow.compat.v1 as tf

from ..loop.last_step import LastStepHook
from ..loop.signals import SignalHook
from .cluster import POLL_SECS

logger = logging.getLogger(__name__)


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
