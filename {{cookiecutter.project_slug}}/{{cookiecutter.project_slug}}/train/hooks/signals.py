"""SIGTERM and Ctrl-C end training after the running step, with a checkpoint."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

import tensorflow.compat.v1 as tf

logger = logging.getLogger(__name__)


class SignalHook(tf.train.SessionRunHook):
    """Asks the session to stop on SIGTERM and SIGINT; a second one ends the process at once.

    Attributes:
        received: number of the signal that stopped training, else None.
    """

    received: int | None = None

    def begin(self) -> None:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        self.restore()
        logger.warning("%s: saving, then leaving", signal.Signals(number).name)

    def restore(self) -> None:
        """Puts back the handlers found at the start."""
        while self._before:
            signal.signal(*self._before.popitem())

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        if self.received:
            run_context.request_stop()

    def end(self, session: tf.Session) -> None:
        self.restore()
