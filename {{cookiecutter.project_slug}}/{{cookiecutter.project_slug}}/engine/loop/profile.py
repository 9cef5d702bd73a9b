"""TensorFlow's own trace of a range of steps."""

from __future__ import annotations

import os
from typing import Any, Sequence

import tensorflow.compat.v1 as tf
from tensorflow.python.client.timeline import Timeline

from ...train.hooks.every import EveryHook
from ..errors import ConfigError


class ProfileHook(EveryHook):
    """Writes which operation ran when, where and for how long: `timeline-<step>.json`.

    Open them at chrome://tracing or https://ui.perfetto.dev.

    Args:
        directory: where they go.
        steps: the first and the last to trace, none if empty; the first of a process is slower
            than the others.
        last_step: that of the run.
    """

    def __init__(
        self, directory: str, steps: Sequence[int] = (), last_step: float = float("inf")
    ) -> None:
        integers = all(isinstance(step, int) for step in steps)
        if steps and not (integers and len(steps) == 2 and 1 <= steps[0] <= steps[1]):
            raise ConfigError(f"ProfileHook: found steps={steps}; expected [first, last] from 1")
        if steps and steps[-1] > last_step:
            raise ConfigError(f"ProfileHook: found steps={steps}; the run ends with {last_step}")
        super().__init__(always=range(steps[0], steps[1] + 1) if steps else ())
        self.directory = directory

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs | None:
        wanted = super().before_run(run_context)
        if wanted is None or not self.due:
            return wanted
        return wanted._replace(options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE))

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        self._trace = run_values.run_metadata.step_stats
        super().after_run(run_context, run_values)

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, f"timeline-{step}.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(Timeline(self._trace).generate_chrome_trace_format())
