"""TensorFlow's own trace of a range of steps."""

from __future__ import annotations

import json
import os
from typing import Any, Sequence

import tensorflow.compat.v1 as tf

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
            json.dump({"traceEvents": trace_events(self._trace)}, file)


def trace_events(step_stats: Any) -> list[dict[str, Any]]:
    """Chrome's "Trace Event Format": a process for each device, rows of which do not overlap.

    Args:
        step_stats: of a tf.RunMetadata; times are in microseconds.
    """
    events: list[dict[str, Any]] = []
    for pid, device in enumerate(step_stats.dev_stats):
        events.append(
            {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": device.device}}
        )
        free: list[int] = []  # when each row is
        for node in sorted(device.node_stats, key=lambda node: node.all_start_micros):
            start, duration = node.all_start_micros, node.all_end_rel_micros
            row = next((row for row, end in enumerate(free) if end <= start), len(free))
            free[row : row + 1] = [start + duration]
            event = {"ph": "X", "name": node.node_name, "args": {"label": node.timeline_label}}
            events.append({**event, "pid": pid, "tid": row, "ts": start, "dur": duration})
    return events
