"""Saves all variables on exact multiples of the global step, and at the end."""

from __future__ import annotations

import os
from typing import Any

import tensorflow.compat.v1 as tf

from .every import EveryHook


class CheckpointHook(EveryHook):
    """Writes checkpoints; also when training ends or is asked to stop, so that nothing is lost.

    Args:
        prefix: path of the checkpoints; the step is appended.
        saver: writes them; default the Scaffold's.
        every_n_steps, every_n_secs: see `EveryHook`.
    """

    def __init__(
        self,
        prefix: str,
        saver: tf.train.Saver | None = None,
        every_n_steps: int = 0,
        every_n_secs: float = 0.0,
    ) -> None:
        super().__init__(every_n_steps, every_n_secs)
        self.prefix = prefix
        self._saver = saver

    def begin(self) -> None:
        super().begin()
        os.makedirs(os.path.dirname(self.prefix), exist_ok=True)

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        saver = self._saver or tf.train.Scaffold.get_or_default(
            "saver", tf.GraphKeys.SAVERS, tf.train.Saver
        )
        # No meta graph: the code is the model; a graph would not load on the other TensorFlow.
        saver.save(session, self.prefix, global_step=step, write_meta_graph=False)

    def end(self, session: tf.Session) -> None:
        if self.step > self.acted:
            self.act(session, self.step, {})
