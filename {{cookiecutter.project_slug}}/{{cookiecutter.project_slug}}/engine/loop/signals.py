"""SIGTERM, SIGHUP and Ctrl-C end training after the running step, with a checkpoint."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from typing import Any

import tensorflow.compat.v1 as tf

from ..interrupts import ECHO_SECS, leave_if_told

logger = logging.getLogger(__name__)

# A terminal that is closed sends SIGHUP, which Windows does not know.
SIGNALS = (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM))


class SignalHook(tf.train.SessionRunHook):
    """Asks the session to stop on one of SIGNALS; a second one ends the process at once.

    Python calls its handlers only after `session.run` returns, which a loop in the graph may put
    off for long. So a thread, which the signal wakes through a socket, runs `stop_op` meanwhile.
    Let it be the last hook: then a signal cannot interrupt what other hooks do at the end.

    Args:
        stop_op: ends a loop that runs in the graph.

    Attributes:
        received: number of the signal that stopped training, else None.
    """

    def __init__(self, stop_op: tf.Operation | None = None) -> None:
        self.received: int | None = None
        self._stop_op = stop_op
        self._restore = contextlib.ExitStack()

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self.close()
        if threading.current_thread() is not threading.main_thread():
            return  # Python refuses to handle signals elsewhere
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        self._restore.callback(writer.close)  # which ends the thread
        for number in set(SIGNALS):
            if number not in SIGNALS[:2] and signal.getsignal(number) == signal.SIG_IGN:
                continue  # as nohup has it; the others a sweep ignores, and its jobs inherit that
            before = signal.signal(number, self._receive)
            self._restore.callback(signal.signal, number, before)
        self._restore.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer.fileno()))
        threading.Thread(target=self._watch, args=(reader, session), daemon=True).start()
        leave_if_told()  # before the first step

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        logger.warning("%s: saving, then leaving", signal.Signals(number).name)

    def _watch(self, reader: socket.socket, session: tf.Session) -> None:
        """Runs in a thread of its own, so that it acts while a step or a save is under way."""
        with reader:
            numbers = (byte[0] for byte in iter(lambda: reader.recv(1), b""))
            signals = (number for number in numbers if number in SIGNALS)
            first = next(signals, None)
            heard = time.monotonic()
            if first and self._stop_op is not None:
                # The session may be closing already: then nothing is left to stop.
                with contextlib.suppress(RuntimeError, tf.errors.OpError):
                    session.run(self._stop_op)
            # At once it is the same: a scheduler signals every process, and a sweep passes it on.
            second = next((x for x in signals if time.monotonic() - heard > ECHO_SECS), None)
            if second:
                os._exit(128 + second)

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        if self.received:
            run_context.request_stop()

    def end(self, session: tf.Session) -> None:
        self.close()

    def close(self) -> None:
        """Puts back the handlers found at the start."""
        self._restore.close()
