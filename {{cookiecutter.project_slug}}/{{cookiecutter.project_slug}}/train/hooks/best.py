"""Keeps the checkpoint of the best evaluation."""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import math
import os

import tensorflow.compat.v1 as tf

from ...engine.run.checkpoints import read_best, remove_unfinished
from ...engine.run.files import atomic_write
from .evaluate import AfterEvaluationHook, EvaluateHook

logger = logging.getLogger(__name__)


class BestHook(AfterEvaluationHook):
    """Keeps one checkpoint, that of the best evaluation, and `best.json`, which names it.

    It holds what every checkpoint holds, with the averages of the weights: evaluated like any
    other it gives the numbers in `best.json`, and training can resume from it.

    Args:
        evaluate, metric, mode: see `AfterEvaluationHook`; only finite numbers can be best.
        directory: where both go.
        saver: writes the checkpoint.
    """

    def __init__(
        self, evaluate: EvaluateHook, directory: str, saver: tf.train.Saver, **others: str
    ) -> None:
        super().__init__(evaluate, **others)
        self.directory = directory
        self._saver = saver

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        if self.step == 0:  # a best that is there belongs to other weights
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self.directory, "best.json"))

    def evaluated(self, run_context: tf.train.SessionRunContext, step: int, value: float) -> None:
        before = read_best(self.directory).get("metrics", {}).get(self.metric)
        better = before is None or (value > before if self.mode == "max" else value < before)
        if not better or not math.isfinite(value):
            return
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, "model.ckpt")
        remove_unfinished(path)
        # With its state, the saver would forget the run's other checkpoints.
        alone = {"write_meta_graph": False, "write_state": False}
        prefix = self._saver.save(run_context.session, path, step, **alone)
        means = self.evaluate.results.items()
        metrics = {name: x if math.isfinite(x) else None for name, x in means}
        best = {"step": step, "metric": self.metric, "value": value, "metrics": metrics}
        best["checkpoint"] = os.path.basename(prefix)
        with atomic_write(os.path.join(self.directory, "best.json")) as file:
            file.write(json.dumps(best, indent=2).encode())
        # Only now that best.json names the new one.
        for path in glob.glob(os.path.join(glob.escape(self.directory), "model.ckpt-*.*")):
            if not path.startswith(f"{prefix}."):
                os.remove(path)
        logger.info("step %d  best %s so far: %.4f", step, self.metric, value)
