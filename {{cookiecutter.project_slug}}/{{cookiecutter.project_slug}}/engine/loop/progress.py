"""A progress bar: steps, time left, loss, examples per second."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import tensorflow.compat.v1 as tf
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ...train.hooks.every import EveryHook


class ProgressHook(EveryHook):
    """Draws a bar on standard error, if that is a terminal, with the log lines above it.

    Args:
        loss: float32 [], of the training step.
        batch_size: examples in a batch.
        last_step: the global step at which the bar is full.
        every_n_secs: seconds from one drawing to the next.
    """

    def __init__(
        self, loss: tf.Tensor, batch_size: int, last_step: int, every_n_secs: float = 0.5
    ) -> None:
        self.shown = sys.stderr.isatty()
        if self.shown:
            super().__init__(0, every_n_secs, [last_step])
        else:
            super().__init__()
        self.loss = loss
        self.batch_size = batch_size
        self.last_step = last_step
        self._open = contextlib.ExitStack()

    def fetches(self) -> tf.Tensor:
        return self.loss

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        self.close()
        if self.shown:
            self._open.enter_context(logging_redirect_tqdm())
            self._bar = tqdm(total=self.last_step, initial=self.step, unit=" steps")
            self._open.callback(self._bar.close)

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        rate = self.steps_per_sec * self.batch_size
        self._bar.set_postfix_str(f"loss {values:.4g}, {rate:.0f} examples/s", refresh=False)
        self._bar.n = step
        self._bar.refresh()

    def end(self, session: tf.Session) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()
