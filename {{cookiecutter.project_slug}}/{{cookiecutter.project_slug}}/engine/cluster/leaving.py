"""When workers and parameter servers leave: after the chief has saved the last step.

Nobody need say that training is over: what a dead process forgets to say, or says to one that
starts too late, the checkpoints show.
"""

from __future__ import annotations

import contextlib
import logging
import time

import tensorflow.compat.v1 as tf

from ..loop.stop import LastStepHook, SignalHook
from .cluster import POLL_SECS, looks
from .role import Role

logger = logging.getLogger(__name__)

LEAVE_SECS = 30.0  # how long a server that was told to stop waits for a last checkpoint


class SavedLastStepHook(LastStepHook):
    """Ends a worker at the last step, once the chief has saved it, or after a signal.

    A chief that dies before goes back to its newest checkpoint, and needs the workers again.
    """

    def __init__(self, role: Role, signals: SignalHook) -> None:
        super().__init__(role.last_step)
        self._role = role
        self._signals = signals

    def is_over(self, session: tf.Session) -> bool:
        while not (self._role.is_over() or self._signals.received):
            step = int(session.run(self._global_step))
            if step < self._last_step:
                logger.info("the chief went back to step %d", step)
                # The session is created again, with hooks and input at that step.
                raise tf.errors.AbortedError(None, None, "the chief has restored a checkpoint")
            time.sleep(POLL_SECS)
        return True


def serve(role: Role, signals: SignalHook) -> None:
    """Holds variables until the last step is saved and all who train have left.

    Not `Server.join`, which never returns. After a signal it waits LEAVE_SECS at most: the chief
    may want to save.

    Raises:
        RunError: the chief stays away.
    """
    over_since = None
    with contextlib.closing(signals):
        signals.after_create_session(None, None)
        # Twice: the others first say what they miss.
        for chief_answers in looks([role.cluster.chief], 2 * role.wait_secs):
            now = time.monotonic()
            if over_since is None and (signals.received or (not chief_answers and role.is_over())):
                over_since = now
            limit = LEAVE_SECS if signals.received else role.wait_secs
            if over_since is not None and now - over_since > limit:
                return
            if over_since is not None and not any(task.answers() for task in role.cluster.trainers):
                return
