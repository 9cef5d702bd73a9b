"""Evaluates while training, in the same graph and session, with the weights of that moment."""

from __future__ import annotations

import logging
from typing import Any, Callable, Collection

import tensorflow.compat.v1 as tf

from ...engine.errors import ConfigError
from ...engine.loop.evaluation import Evaluation
from ...engine.loop.summaries import EventsHook
from ...engine.run.metrics import append_metrics, is_evaluated
from .every import EveryHook

logger = logging.getLogger(__name__)


class EvaluateHook(EventsHook):
    """Runs an `Evaluation`, logs its means, and keeps the newest in `results`.

    Let the hook that writes checkpoints come before it: an evaluation may be long, and a stop or a
    kill during it then costs no step. One that is missing when a run resumes is caught up on.

    Args:
        evaluation: built in the graph that is trained.
        directory: where the event file goes; TensorBoard then shows training and evaluation
            curves on one chart.
        metrics_file: path of the JSON lines.
        every_n_steps, every_n_secs, always: see `EveryHook`.
        stopped: asked between batches; if true, the rest of the evaluation is skipped.

    Attributes:
        evaluated: the step of `results`.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        directory: str,
        metrics_file: str,
        every_n_steps: int = 0,
        every_n_secs: float = 0.0,
        always: Collection[int] = (),
        stopped: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__(directory, every_n_steps, every_n_secs, always)
        self.evaluation = evaluation
        self.metrics_file = metrics_file
        self.stopped = stopped
        self.results: dict[str, float] = {}
        self.evaluated = 0

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        due = self.every_n_steps and self.step % self.every_n_steps == 0
        known = is_evaluated(self.metrics_file, self.evaluation.split, self.step)
        if self.step and (due or self.step in self.always) and not known:
            self.act(session, self.step, {})

    def end(self, session: tf.Session) -> None:
        if self.always and self.evaluated < self.step and not self.stopped():
            self.act(session, self.step, {})  # another hook ended training

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        results = self.evaluation.run(session, self.stopped)
        if not results:
            logger.info("step %d  the evaluation is left to the next start", step)
            return
        self.results, self.evaluated = results, step
        shown = "  ".join(f"{name} {value:.4f}" for name, value in self.results.items())
        logger.info("step %d  %s: %s", step, self.evaluation.split, shown)
        append_metrics(self.metrics_file, step, self.evaluation.split, self.results)
        self.write_scalars(self.results, step)


class AfterEvaluationHook(EveryHook):
    """Calls `evaluated(run_context, step, value)`, which subclasses implement, after each one.

    Args:
        evaluate: makes the evaluations; it comes before this hook in the list of hooks.
        metric: the name of one of its numbers, the value.
        mode: "min" or "max", whichever is better; "" for a loss, of which the least is best.
    """

    def __init__(self, evaluate: EvaluateHook, metric: str = "loss", mode: str = "") -> None:
        super().__init__()
        names = evaluate.evaluation.names
        if metric not in names:
            raise ConfigError(
                f'{type(self).__name__}: found metric="{metric}"; expected one of the '
                f"evaluation's: {', '.join(names)}"
            )
        if mode not in ("min", "max") and (mode or metric not in evaluate.evaluation.losses):
            raise ConfigError(
                f'{type(self).__name__}: found mode="{mode}", expected min or max, whichever is '
                f"better of {metric}"
            )
        self.evaluate = evaluate
        self.metric = metric
        self.mode = mode or "min"

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        if self.step and self.evaluate.evaluated == self.step:  # caught up on just now
            self._tell(tf.train.SessionRunContext(None, session))

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        super().after_run(run_context, run_values)
        if self.evaluate.evaluated > self.acted:
            self._tell(run_context)

    def end(self, session: tf.Session) -> None:
        if self.evaluate.evaluated > self.acted:
            self._tell(tf.train.SessionRunContext(None, session))

    def _tell(self, run_context: tf.train.SessionRunContext) -> None:
        self.acted = self.evaluate.evaluated
        self.evaluated(run_context, self.acted, self.evaluate.results[self.metric])
