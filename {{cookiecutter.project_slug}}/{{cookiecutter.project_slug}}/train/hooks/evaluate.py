"""Evaluates while training, in the same graph and session, with the weights of that moment."""

from __future__ import annotations

import logging
from typing import Any, Callable, Collection

import tensorflow.compat.v1 as tf

from ..evaluation import Evaluation
from ..metrics import append_metrics
from .events import EventsHook

logger = logging.getLogger(__name__)


class EvaluateHook(EventsHook):
    """Runs an `Evaluation`, logs its means, and keeps the newest in `results`.

    Args:
        evaluation: built in the graph that is trained.
        directory: where the event file goes; TensorBoard then shows training and evaluation
            curves on one chart.
        metrics_file: path of the JSON lines.
        every_n_steps, every_n_secs, always: see `EveryHook`.
        if_fails: called with session and step where an evaluation fails, which ends training.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        directory: str,
        metrics_file: str,
        every_n_steps: int = 0,
        every_n_secs: float = 0.0,
        always: Collection[int] = (),
        if_fails: Callable[[tf.Session, int], None] | None = None,
    ) -> None:
        super().__init__(directory, every_n_steps, every_n_secs, always)
        self.evaluation = evaluation
        self.metrics_file = metrics_file
        self.if_fails = if_fails
        self.results: dict[str, float] = {}

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        try:
            self.results = self.evaluation.run(session)
        except Exception:
            if self.if_fails:
                self.if_fails(session, step)
                logger.warning("the evaluation of step %d failed; the step itself is saved", step)
            raise
        shown = "  ".join(f"{name} {value:.4f}" for name, value in self.results.items())
        logger.info("step %d  %s: %s", step, self.evaluation.split, shown)
        append_metrics(self.metrics_file, step, self.evaluation.split, self.results)
        self.write_scalars(self.results, step)
