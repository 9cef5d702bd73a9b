"""The evaluator of a cluster: it follows the checkpoints that the chief writes."""

from __future__ import annotations

import logging
import time
from typing import Any, Iterator

import tensorflow.compat.v1 as tf

from ..errors import RunError
from ..loop.stop import SignalHook
from ..loop.summaries import EventsHook
from ..run.checkpoints import CORRUPT, step_of
from .cluster import looks
from .role import Role

logger = logging.getLogger(__name__)


def restored_steps(
    role: Role, signals: SignalHook, saver: tf.train.Saver, session: tf.Session, done: str
) -> Iterator[int]:
    """Restores each checkpoint that is the newest and not done, to the last; yields its step.

    Raises:
        RunError: the chief stays away, or its newest checkpoint cannot be read.
    """
    warned_of, unread_since = "", None
    for chief_answers in looks([role.cluster.chief], role.wait_secs):
        newest = role.newest_checkpoint()
        if signals.received or (newest == done and not chief_answers and role.is_over()):
            return
        if newest == done:
            unread_since = None
            continue
        try:
            saver.restore(session, newest)
        # It may still be written, or be removed already: the chief keeps only some.
        except CORRUPT as error:
            reason = str(error).partition("\n")[0]
            unread_since = unread_since or time.monotonic()
            if newest != warned_of:
                logger.warning("%s cannot be read yet: %s", newest, reason)
            warned_of = newest
            if time.monotonic() - unread_since > role.wait_secs:
                raise RunError(f"{newest}: unreadable for {role.wait_secs:g} s: {reason}") from None
        else:
            yield step_of(newest)
            done, unread_since = newest, None


def evaluate_restored(session: tf.Session, step: int, evaluate: Any, best: Any) -> None:
    """Lets the two hooks act, as they would after the step that the checkpoint is called by.

    Its global step may be a later one: other workers train while the chief saves.
    """
    if not evaluate.writer:  # the first one
        # Not its own, which would evaluate what is due by the session's step.
        EventsHook.after_create_session(evaluate, session, None)
        best.after_create_session(session, None)
    evaluate.act(session, step, {})
    if evaluate.evaluated == step:  # else a signal came
        context = tf.train.SessionRunContext(None, session)
        best.evaluated(context, step, evaluate.results[best.metric])
