"""Writes the summaries of a training step for TensorBoard."""

from __future__ import annotations

from typing import Collection

import tensorflow.compat.v1 as tf

from .events import EventsHook


class SummaryHook(EventsHook):
    """Writes a merged summary; by default also that of the first step.

    Args:
        directory: where the event file goes.
        summary_op: string [], the merged summaries of the training step.
        every_n_steps, every_n_secs, always: see `EveryHook`.
    """

    def __init__(
        self,
        directory: str,
        summary_op: tf.Tensor,
        every_n_steps: int = 100,
        every_n_secs: float = 0.0,
        always: Collection[int] = (1,),
    ) -> None:
        super().__init__(directory, every_n_steps, every_n_secs, always)
        self.summary_op = summary_op

    def fetches(self) -> tf.Tensor:
        return self.summary_op

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        if self.step == 0:
            self.writer.add_graph(session.graph)

    def act(self, session: tf.Session, step: int, values: bytes) -> None:
        self.writer.add_summary(values, step)
        self.writer.flush()
