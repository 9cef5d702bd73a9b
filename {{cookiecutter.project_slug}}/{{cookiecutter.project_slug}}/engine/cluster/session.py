"""Opens the sessions of those that train, when all that they need is there."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from ..errors import RunError
from ..loop.stop import SignalHook
from .cluster import POLL_SECS, looks
from .role import Role


class ClusterSessionCreator(tf.train.SessionCreator):
    """Opens a session at the start, and again after each failure of another process.

    MonitoredTrainingSession could do it, but looks only every 30 s, and waits forever.

    Args:
        role: the chief's, which initializes or restores the variables, or a worker's.
        scaffold, config: see `tf.train.ChiefSessionCreator`.
        signals: closed while there is no session, where a signal has nothing to save.
    """

    def __init__(
        self, role: Role, scaffold: tf.train.Scaffold, config: tf.ConfigProto, signals: SignalHook
    ) -> None:
        self._role = role
        self._scaffold = scaffold
        self._config = role.filtered(config)
        self._signals = signals

    def create_session(self) -> tf.Session:
        role, scaffold, target = self._role, self._scaffold.finalize(), self._role.server.target
        self._signals.close()
        for all_answer in looks(role.cluster.servers, role.wait_secs):
            if all_answer:
                break
            if self._signals.received:  # in the session that was lost
                raise SystemExit(128 + self._signals.received)
        if role.name == "chief":
            return tf.train.ChiefSessionCreator(
                scaffold, target, self._config, role.checkpoints
            ).create_session()
        manager = tf.train.SessionManager(
            local_init_op=scaffold.local_init_op,
            ready_op=scaffold.ready_op,
            ready_for_local_init_op=scaffold.ready_for_local_init_op,
            recovery_wait_secs=POLL_SECS,
        )
        try:
            return manager.wait_for_session(target, self._config, role.wait_secs)
        except tf.errors.DeadlineExceededError:
            raise RunError(
                f"{role.cluster.chief} has not initialized the variables in "
                f"{role.wait_secs:g} s; start it, or see what it says"
            ) from None
