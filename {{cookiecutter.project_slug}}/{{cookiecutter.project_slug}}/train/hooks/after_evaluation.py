"""What follows an evaluation: a hook that looks at one of its numbers."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from ...errors import ConfigError
from .evaluate import EvaluateHook
from .every import EveryHook


class AfterEvaluationHook(EveryHook):
    """Calls `evaluated(run_context, step, value)`, which subclasses write, after each evaluation.

    Args:
        evaluate: makes the evaluations; it comes before this hook in the list of hooks.
        metric: the name of one of its numbers, the value.
        mode: "min" or "max", whichever is better.
    """

    def __init__(self, evaluate: EvaluateHook, metric: str = "loss", mode: str = "min") -> None:
        super().__init__()
        if mode not in ("min", "max"):
            raise ConfigError(f'{type(self).__name__}: found mode="{mode}", expected min or max')
        names = evaluate.evaluation.names
        if metric not in names:
            raise ConfigError(
                f'{type(self).__name__}: found metric="{metric}"; expected one of the '
                f"evaluation's: {', '.join(names)}"
            )
        self.evaluate = evaluate
        self.metric = metric
        self.mode = mode

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        if self.step and self.evaluate.evaluated == self.step:  # made up for just now
            self._tell(tf.train.SessionRunContext(None, session))

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        super().after_run(run_context, run_values)
        if self.evaluate.evaluated > self.acted:
            self._tell(run_context)

    def _tell(self, run_context: tf.train.SessionRunContext) -> None:
        self.acted = self.evaluate.evaluated
        self.evaluated(run_context, self.acted, self.evaluate.results[self.metric])
