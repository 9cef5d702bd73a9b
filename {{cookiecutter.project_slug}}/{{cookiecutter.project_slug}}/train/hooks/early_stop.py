"""Ends training when evaluations get no better."""

from __future__ import annotations

import logging
import math

import tensorflow.compat.v1 as tf

from ...engine.errors import ConfigError
from ...engine.run.metrics import read_metrics
from .evaluate import AfterEvaluationHook, EvaluateHook

logger = logging.getLogger(__name__)


class EarlyStopHook(AfterEvaluationHook):
    """Ends training after so many evaluations in a row that are no better than one before them.

    They are counted in metrics.jsonl, so a restart goes on counting.

    Args:
        evaluate, metric, mode: see `AfterEvaluationHook`; a number that is not finite is no better.
        patience: how many evaluations; 0 never ends it.
        min_delta: by how much one must be better to count as better.
    """

    def __init__(
        self,
        evaluate: EvaluateHook,
        metric: str = "loss",
        mode: str = "min",
        patience: int = 5,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(evaluate, metric, mode)
        if patience < 0 or min_delta < 0:
            raise ConfigError(
                f"EarlyStopHook: found min_delta={min_delta}, patience={patience}; expected 0 or "
                "more of either"
            )
        if patience and not (evaluate.every_n_steps or evaluate.every_n_secs):
            raise ConfigError(
                f"patience={patience} counts evaluations, and there is only the last one; set "
                "trainer.evaluate_every_n_steps, too"
            )
        self._rule = (metric, mode, patience, min_delta)

    def evaluated(self, run_context: tf.train.SessionRunContext, step: int, value: float) -> None:
        split = self.evaluate.evaluation.split
        reason = stopped_early(self.evaluate.metrics_file, split, step, *self._rule)
        if reason:
            logger.info("step %d  training ends: %s", step, reason)
            run_context.request_stop()


def stopped_early(
    path: str, split: str, step: int, metric: str, mode: str, patience: int, min_delta: float
) -> str:
    """Why training ended with this step; empty if it did not.

    Args:
        path: of metrics.jsonl.
        split: what is evaluated.
        step: the last step; what comes after it does not count.
        metric, mode, patience, min_delta: see `EarlyStopHook`.
    """
    best, best_step, in_vain = -math.inf, 0, 0
    # By step: of a step that came again after a restart, only the newer line counts.
    lines = {line["step"]: line for line in read_metrics(path) if line["split"] == split}
    for line in (line for line in lines.values() if line["step"] <= step and metric in line):
        value = math.nan if line[metric] is None else line[metric]
        height = value if mode == "max" else -value
        if height > best + min_delta:
            best, best_step, in_vain = height, line["step"], 0
        else:
            in_vain += 1
    if in_vain < patience or patience < 1:
        return ""
    return f"{metric} was no better in {in_vain} evaluations than at step {best_step}"
