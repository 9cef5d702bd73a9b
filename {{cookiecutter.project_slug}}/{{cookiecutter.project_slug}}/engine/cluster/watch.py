"""Ends a worker in step that waits for one that is gone: nothing else would."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from typing import Any, Callable, Iterator

import tensorflow.compat.v1 as tf

from .cluster import POLL_SECS, Task
from .meeting import Meeting

logger = logging.getLogger(__name__)

LOST = 134  # the exit code, as of a process that aborts: what starts again from 128 does so
GRACE_SECS = 3.0  # in which a worker that is done leaves by itself
RENEW_SECS = 20.0  # TensorFlow's server closes a connection that says nothing after 120
SAVE_SECS = 60.0  # how long saving may take


class Watch:
    """Keeps a connection to each of the others, which closes at once when their process ends.

    On TensorFlow 1.15 a collective that misses a worker never returns; on 2.x it fails after a
    while. Either way all have to start again, since a collective knows its workers from its start.

    Args:
        meeting: of those to watch.
        wait_secs: how long a machine may not be reached before it counts as gone.

    Attributes:
        save: called before the process ends, if the variables are those of a complete step.
        whole: whether they are.
    """

    def __init__(self, meeting: Meeting, wait_secs: float) -> None:
        self._meeting = meeting
        self._wait_secs = wait_secs
        self._others = [i for i in range(len(meeting.tasks)) if i != meeting.index]
        self._connections: dict[int, tuple[socket.socket, float]] = {}
        self._silent_since: dict[int, float] = {}
        self._left = threading.Event()
        self._lost = threading.Event()
        self.waits = False  # whether this process is in a collective
        self.save: Callable[[], None] | None = None
        self.whole = True

    def start(self) -> None:
        """Begins to watch, in a thread."""
        threading.Thread(target=self._run, daemon=True).start()

    def leave(self) -> None:
        """Ends watching: nobody is needed any more."""
        self._left.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for the others."""
        self.waits = True
        try:
            with self.held():
                yield
        finally:
            self.waits = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """An error inside of the `with` that may come of a worker that is gone waits until that is
        known, and this process ended."""
        try:
            yield
        # These are of the step itself, and the same for all.
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError):
            raise
        except tf.errors.OpError:
            self.waits = True
            if self._lost.wait(2 * GRACE_SECS):
                self._left.wait(GRACE_SECS + 2 * SAVE_SECS)
            raise

    def _run(self) -> None:
        gone: list[Task] = []
        while not gone:
            if self._left.wait(POLL_SECS):
                return
            gone = [self._meeting.tasks[index] for index in self._others if self._is_gone(index)]
        self._lost.set()
        since = time.monotonic()
        while not (self.waits and time.monotonic() - since > GRACE_SECS):
            if self._left.wait(POLL_SECS):
                return
        self._end(gone)

    def _end(self, gone: list[Task]) -> None:
        if self.save is not None and self.whole:
            saving = threading.Thread(target=self.save, daemon=True)
            saving.start()
            saving.join(SAVE_SECS)
        names = ", ".join(map(str, gone))
        logger.error(
            "error: %s is gone; all end with code %d, to start again from the newest checkpoint",
            names,
            LOST,
        )
        os._exit(LOST)

    def _is_gone(self, index: int) -> bool:
        connection, since = self._connections.get(index, (None, 0.0))
        if connection and not _is_closed(connection) and time.monotonic() - since < RENEW_SECS:
            return False
        if connection:
            connection.close()
            del self._connections[index]
        host, _, port = self._meeting.tasks[index].address.rpartition(":")
        now = time.monotonic()
        try:
            new = socket.create_connection((host.strip("[]"), int(port)), timeout=1.0)
        except ConnectionRefusedError:  # nothing listens there any more
            return True
        except OSError:  # it may be reached again
            return now - self._silent_since.setdefault(index, now) > self._wait_secs
        new.setblocking(False)
        self._connections[index] = (new, now)
        self._silent_since.pop(index, None)
        return not self._meeting.is_same(index)


def _is_closed(connection: Any) -> bool:
    try:
        while connection.recv(4096):  # what a server says by itself
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
