"""Ends training: at the last step, or when a signal asks for it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from typing import Any, Callable

import tensorflow.compat.v1 as tf

from ...train.hooks.every import EveryHook

logger = logging.getLogger(__name__)

# A terminal that is closed sends SIGHUP, which Windows does not know.
SIGNALS = {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)}
WARNING = getattr(signal, "SIGUSR1", None)  # Slurm can send it some time before it ends a job

ECHO_SECS = 1.0  # a signal that comes again within is the same: a closed terminal sends two


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


class SignalHook(tf.train.SessionRunHook):
    """Asks the session to stop on one of SIGNALS; a second one acts as if there were no hook.

    So it ends the process at once, or where Python handles it, as in a notebook, it is raised.
    Without a session, signals have that action, too: there is nothing to save. Python calls its
    handlers only after `session.run` returns, which may take long. So a thread, which the signal
    wakes through a socket, runs `stop_op` meanwhile. Let it be the last hook: then a signal cannot
    interrupt what other hooks do at the end.

    Args:
        stop_op: ends a loop that runs in the graph.
        on_sigusr1: "leave": it is one of SIGNALS; or "save", and go on.
        save: called for that.

    Attributes:
        received: number of the signal that stopped training, else None.
    """

    def __init__(
        self,
        stop_op: tf.Operation | None = None,
        on_sigusr1: str = "leave",
        save: Callable[[], None] = lambda: None,
    ) -> None:
        self.received: int | None = None
        self._stop_op = stop_op
        self._saves = on_sigusr1 == "save"
        self._save = save
        self._before: dict[int, Any] = {}  # what handled each signal
        self._second = False  # whether the next signal is a second one
        self._restore = contextlib.ExitStack()

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self.close()
        if threading.current_thread() is not threading.main_thread():
            return  # Python refuses to handle signals elsewhere
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        self._restore.callback(writer.close)
        # Ends the thread, also while a forked child has the socket, too.
        self._restore.callback(writer.shutdown, socket.SHUT_WR)
        for number in filter(None, (*SIGNALS, WARNING)):
            if signal.getsignal(number) != signal.SIG_IGN:  # as SIGHUP is under nohup
                self._before[number] = signal.getsignal(number)
                signal.signal(number, self._receive)
                self._restore.callback(signal.signal, number, self._before[number])
        self._restore.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer.fileno()))
        threading.Thread(target=self._watch, args=(reader, session), daemon=True).start()

    def _leaves(self, number: int) -> bool:
        return number in self._before and not (number == WARNING and self._saves)

    def _receive(self, number: int, frame: Any) -> None:
        if number == WARNING and self._saves:
            self._save()
        elif self._second and callable(self._before[number]):
            self._before[number](number, frame)
        elif not self.received:
            self.received = number
            logger.warning("%s: saving, then leaving", signal.Signals(number).name)

    def _watch(self, reader: socket.socket, session: tf.Session) -> None:
        """Runs in a thread of its own, so that it acts during a step or a save."""
        with reader:
            numbers = (byte[0] for byte in iter(lambda: reader.recv(1), b""))
            signals = filter(self._leaves, numbers)
            if next(signals, None) is None:
                return
            # In another thread: it may wait for a core that a step is using.
            threading.Thread(target=self._stop, args=(session,), daemon=True).start()
            # What came while this thread waited for a core is an echo, too: whoever means it
            # repeats it, and no work is lost.
            time.sleep(ECHO_SECS)
            reader.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                reader.recv(2**16)
            reader.setblocking(True)
            self._second = True
            for number in signals:
                if not callable(self._before[number]):
                    os._exit(128 + number)

    def _stop(self, session: tf.Session) -> None:
        # The session may be closing already: then nothing is left to stop.
        with contextlib.suppress(RuntimeError, tf.errors.OpError):
            if self._stop_op is not None:
                session.run(self._stop_op)

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        if self.received:
            run_context.request_stop()

    def end(self, session: tf.Session) -> None:
        self.close()

    def close(self) -> None:
        """Restores the handlers found at the start."""
        self._restore.close()


def _release_child() -> None:
    """Frees a forked child, as of a pool in a dataset, of handlers, which are the parent's.

    SIGTERM then ends it. What a terminal sends to all of its processes it ignores: the parent
    needs it for the step at work, and ends it afterwards.
    """
    for number in filter(None, (*SIGNALS, WARNING)):
        if isinstance(getattr(signal.getsignal(number), "__self__", None), SignalHook):
            signal.set_wakeup_fd(-1)  # of a socket that is the parent's
            ended = number == signal.SIGTERM
            signal.signal(number, signal.SIG_DFL if ended else signal.SIG_IGN)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_release_child)
