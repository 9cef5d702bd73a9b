"""Says how training goes: a line for people, and a line of JSON for programs."""

from __future__ import annotations

import logging
from typing import Any, Collection

import tensorflow.compat.v1 as tf

from ...engine.run.metrics import append_metrics
from .every import EveryHook

logger = logging.getLogger(__name__)


class LogHook(EveryHook):
    """Logs numbers of a training step and the examples per second since the last line.

    Args:
        tensors: name -> number [] of the training step.
        batch_size: examples in a batch.
        metrics_file: path of the JSON lines.
        every_n_steps, every_n_secs, always: see `EveryHook`.
    """

    def __init__(
        self,
        tensors: dict[str, tf.Tensor],
        batch_size: int,
        metrics_file: str,
        every_n_steps: int = 100,
        every_n_secs: float = 0.0,
        always: Collection[int] = (1,),
    ) -> None:
        super().__init__(every_n_steps, every_n_secs, always)
        self.tensors = tensors
        self.batch_size = batch_size
        self.metrics_file = metrics_file

    def fetches(self) -> dict[str, tf.Tensor]:
        return self.tensors

    def act(self, session: tf.Session, step: int, values: dict[str, Any]) -> None:
        rate = self.steps_per_sec * self.batch_size
        numbers = {name: float(value) for name, value in values.items()}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        logger.info("step %d  %s  %.0f examples/s", step, shown, rate)
        numbers["examples_per_sec"] = round(rate, 1)
        append_metrics(self.metrics_file, step, "train", numbers)
