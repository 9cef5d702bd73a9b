"""Ends training when evaluations no longer improve."""

from __future__ import annotations

import logging

import tensorflow.compat.v1 as tf

from ...engine.errors import ConfigError
from ...engine.run.metrics import stopped_early
from .evaluate import AfterEvaluationHook, EvaluateHook

logger = logging.getLogger(__name__)


class EarlyStopHook(AfterEvaluationHook):
    """Ends training after n evaluations in a row without improvement.

    They are counted in metrics.jsonl, so the count survives a restart.

    Args:
        evaluate, metric, mode: see `AfterEvaluationHook`; a number that is not finite is never an
            improvement.
        patience: n; 0 never ends training.
        min_delta: the least change that counts as an improvement.
    """

    def __init__(
        self,
        evaluate: EvaluateHook,
        metric: str = "loss",
        mode: str = "",
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
        self._rule = (metric, self.mode, patience, min_delta)

    def evaluated(self, run_context: tf.train.SessionRunContext, step: int, value: float) -> None:
        split = self.evaluate.evaluation.split
        reason = stopped_early(self.evaluate.metrics_file, split, step, *self._rule)
        if reason:
            logger.info("step %d  training ends: %s", step, reason)
            run_context.request_stop()
