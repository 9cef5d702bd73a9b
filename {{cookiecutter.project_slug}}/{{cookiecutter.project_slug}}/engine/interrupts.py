"""Signals before and after training: they end the process, which cleans up first.

Training handles signals itself, see train/hooks/signals.py. Here they raise SystemExit in the main
thread. While a graph is built, TensorFlow may drop what is raised (in a finaliser), make another
error of it or crash (its C++ code calls Python); so signals are held then, and always kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any, Iterator

ECHO_SECS = 0.3  # a signal that comes again within is the same: a closed terminal sends two

_received: list[int] = []
_heard = 0.0
_holds = 0


def handle_signals() -> None:
    """SIGTERM, SIGHUP and Ctrl-C end the process with 128 + their number."""
    for number in {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        # SIGHUP is ignored under nohup. A job of a sweep inherits that, too, but heeds SIGTERM.
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _receive)


def leave_if_told() -> None:
    """Raises SystemExit if a signal has come, also if it is held: call it where that is safe."""
    if _received:
        raise SystemExit(128 + _received[0])


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Lets what is inside of the `with` come to its end before a signal counts."""
    global _holds
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
    if not _holds:
        leave_if_told()


def _receive(number: int, frame: Any) -> None:
    global _heard
    before, _heard = _heard, time.monotonic()
    if _received and _heard - before < ECHO_SECS:
        return
    _received.append(number)
    if not _holds:
        leave_if_told()
    if len(_received) > 1:  # a second one counts at once
        os._exit(128 + number)
