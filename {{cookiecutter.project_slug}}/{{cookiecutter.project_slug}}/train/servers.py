"""Parameter servers: what they hold, and how long they stay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import tensorflow.compat.v1 as tf

from ..errors import RunError
from .cluster import Task
from .hooks import SignalHook

if TYPE_CHECKING:
    from .roles import Role

POLL_SECS = 0.5  # from one look at the others to the next
LEAVE_SECS = 30.0  # how long a server that was told to stop waits for a last checkpoint


def serve(role: Role, signals: SignalHook) -> dict[str, float]:
    """Holds variables until the chief is done and all who train have left.

    Not `Server.join`, which never returns. After a signal it waits LEAVE_SECS at most: the chief
    may want to save.

    Args:
        role: a parameter server's.
        signals: what makes it leave early.

    Returns:
        Nothing, as the results of a `fit`.

    Raises:
        RunError: the chief stays away.
    """
    trainers, told = role.cluster.trainers, 0.0
    with tf.Graph().as_default():
        done = _done_tokens(role.cluster.own).size()
        with tf.Session(role.server.target, config=role.config) as session:
            signals.after_create_session(session, None)
            seen = time.monotonic()
            while True:
                now = time.monotonic()
                if trainers[0].answers():
                    seen = now
                if not told and (signals.received or session.run(done)):
                    told = now
                limit = LEAVE_SECS if signals.received else role.wait_secs
                if told and (now - told > limit or not any(map(Task.answers, trainers))):
                    break
                if now - seen > 2 * role.wait_secs:  # the others first say what they miss
                    raise RunError(f"{trainers[0]} stayed away for {now - seen:.0f} s; start it")
                time.sleep(POLL_SECS)
            signals.close()
    return {}


def dismiss(role: Role) -> None:
    """Tells the parameter servers that the chief needs them no more."""
    for task in filter(Task.answers, role.cluster.servers):
        with tf.Graph().as_default(), role.watched():
            token = _done_tokens(task).enqueue(True)
            with tf.Session(role.server.target, config=role.config) as session:
                session.run(token)


def _done_tokens(server: Task) -> tf.QueueBase:
    """Where the chief says that it is done; whether workers are still there, one sees."""
    with tf.device(f"/job:{server.job}/task:{server.index}"):
        return tf.FIFOQueue(100, tf.bool, shared_name="done")


class LeastBytes:
    """Gives each variable to the parameter server that holds the fewest bytes so far."""

    def __init__(self, servers: int) -> None:
        self._bytes = [0] * servers

    def __call__(self, variable: tf.Operation) -> int:
        server = self._bytes.index(min(self._bytes))
        if "shape" in variable.node_def.attr:  # a lookup table has none
            shape = tf.TensorShape(variable.get_attr("shape"))
            size = tf.as_dtype(variable.get_attr("dtype")).size
            self._bytes[server] += size * (shape.num_elements() or 1)
        return server
