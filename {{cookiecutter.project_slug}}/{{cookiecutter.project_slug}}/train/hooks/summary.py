"""Writes what TensorBoard shows of training: curves, the settings, the graph."""

from __future__ import annotations

import os
from typing import Any, Collection, Sequence

import tensorflow.compat.v1 as tf

from ...engine.loop.summaries import EventsHook


class SummaryHook(EventsHook):
    """Writes a merged summary and the examples per second; by default also of the first step.

    Args:
        directory: where the event file goes.
        summary_op: string [], the merged summaries of the training step.
        every_n_steps, every_n_secs, always: see `EveryHook`.
        batch_size: examples in a batch.
        first: string [] each, summaries of the first step only.
        settings: path of a YAML file, shown as text; if there is none, nothing is.
    """

    def __init__(
        self,
        directory: str,
        summary_op: tf.Tensor,
        every_n_steps: int = 100,
        every_n_secs: float = 0.0,
        always: Collection[int] = (1,),
        batch_size: int = 1,
        first: Sequence[tf.Tensor] = (),
        settings: str = "",
    ) -> None:
        super().__init__(directory, every_n_steps, every_n_secs, always)
        self.summary_op = summary_op
        self.batch_size = batch_size
        self.first = first
        self.settings = settings

    def fetches(self) -> list[tf.Tensor]:
        return [self.summary_op, *(self.first if self.step == 0 else [])]

    def begin(self) -> None:
        super().begin()
        self._texts = []
        if os.path.exists(self.settings):
            with open(self.settings, encoding="utf-8") as file:
                text = "".join(f"    {line}" for line in file)  # in Markdown, a block of code
            self._texts.append(tf.summary.text("settings", tf.constant(text), collections=[]))

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        if self.step == 0:
            self.writer.add_graph(session.graph)
        # They belong to the next step, so that a restart from here replaces them.
        for text in session.run(self._texts):
            self.writer.add_summary(text, self.step + 1)

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        for summary in values:
            self.writer.add_summary(summary, step)
        self.write_scalars({"examples_per_sec": self.steps_per_sec * self.batch_size}, step)
