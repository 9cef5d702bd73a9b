"""Saves all variables on exact multiples of the global step, and at the end."""

from __future__ import annotations

import os
from typing import Any, Collection, Sequence

import tensorflow.compat.v1 as tf

from ...train.hooks.every import EveryHook


class CheckpointHook(EveryHook):
    """Writes checkpoints; also when training ends or is asked to stop, so that nothing is lost.

    Args:
        prefix: path of the checkpoints; the step is appended.
        saver: writes them; default the Scaffold's.
        every_n_steps, every_n_secs, always: see `EveryHook`.
        listeners: called before and after each checkpoint is written.
    """

    def __init__(
        self,
        prefix: str,
        saver: tf.train.Saver | None = None,
        every_n_steps: int = 0,
        every_n_secs: float = 0.0,
        listeners: Sequence[tf.train.CheckpointSaverListener] = (),
        always: Collection[int] = (),
    ) -> None:
        super().__init__(every_n_steps, every_n_secs, always)
        self.prefix = prefix
        self._saver = saver
        self._listeners = listeners

    def begin(self) -> None:
        super().begin()
        os.makedirs(os.path.dirname(self.prefix), exist_ok=True)

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        self.save(session, step)

    def save(self, session: tf.Session, step: int) -> None:
        """Writes a checkpoint now."""
        for listener in self._listeners:
            listener.before_save(session, step)
        saver = self._saver or tf.train.Scaffold.get_or_default(
            "saver", tf.GraphKeys.SAVERS, tf.train.Saver
        )
        # No meta graph: the code is the model; a graph would not load on the other TensorFlow.
        saver.save(session, self.prefix, global_step=step, write_meta_graph=False)
        for listener in self._listeners:
            listener.after_save(session, step)

    def end(self, session: tf.Session) -> None:
        step = int(session.run(self._global_step))
        if step > self.acted:
            self.save(session, step)
