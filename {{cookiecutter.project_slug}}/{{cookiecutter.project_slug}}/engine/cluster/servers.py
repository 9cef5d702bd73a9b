"""Parameter servers: what they hold, and how long they stay."""

from __future__ import annotations

import contextlib
import time

from ..errors import RunError
from ..loop.signals import SignalHook
from .cluster import POLL_SECS, Task
from .roles import Role

LEAVE_SECS = 30.0  # how long a server that was told to stop waits for a last checkpoint


def serve(role: Role, signals: SignalHook) -> dict[str, float]:
    """Holds variables until the last step is saved and all who train have left.

    Not `Server.join`, which never returns. Nobody need say that training is over: what a dead
    process forgets to say, or says to one that starts too late, the checkpoints show. After a
    signal it waits LEAVE_SECS at most: the chief may want to save.

    Args:
        role: a parameter server's.
        signals: what makes it leave early.

    Returns:
        Nothing, as the results of a `fit`.

    Raises:
        RunError: the chief stays away.
    """
    trainers, over = role.cluster.trainers, 0.0
    with contextlib.closing(signals):
        signals.after_create_session(None, None)
        seen = time.monotonic()
        while True:
            now = time.monotonic()
            there = trainers[0].answers()  # before the look, which then finds its last checkpoint
            seen = now if there else seen
            if not over and (signals.received or (not there and role.is_over())):
                over = now
            limit = LEAVE_SECS if signals.received else role.wait_secs
            if over and (now - over > limit or not any(map(Task.answers, trainers))):
                return {}
            if now - seen > 2 * role.wait_secs:  # the others first say what they miss
                raise RunError(f"{trainers[0]} stayed away for {now - seen:.0f} s; start it")
            time.sleep(POLL_SECS)
