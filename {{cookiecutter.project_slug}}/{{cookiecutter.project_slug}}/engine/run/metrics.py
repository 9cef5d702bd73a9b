"""`metrics.jsonl`: one JSON object a line, {"step": 100, "split": "train", "loss": 0.3, ...}."""

from __future__ import annotations

import contextlib
import json
import math
import os
from typing import Any

from .files import atomic_write


def append_metrics(path: str, step: int, split: str, values: dict[str, float]) -> None:
    """Appends one line; a number that is not finite becomes null, since JSON has none."""
    line: dict[str, Any] = {"step": step, "split": split}
    for name, value in values.items():
        line[name] = value if math.isfinite(value) else None
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_metrics(path: str) -> list[dict[str, Any]]:
    """All lines, none if there is no file; those that a kill has corrupted are skipped."""
    if not os.path.exists(path):
        return []
    lines = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict) and {"step", "split"} <= set(line)]


def is_evaluated(path: str, split: str, step: int) -> bool:
    """Whether there is a line about a split at a step."""
    return any((line["step"], line["split"]) == (step, split) for line in read_metrics(path))


def last_metrics(path: str, split: str) -> dict[str, float]:
    """The newest numbers of a split; empty if there are none."""
    lines = [line for line in read_metrics(path) if line.pop("split") == split]
    newest = (lines or [{}])[-1]
    return {
        name: math.nan if value is None else value
        for name, value in newest.items()
        if name != "step"
    }


def drop_metrics_after(path: str, step: int) -> None:
    """Drops what a killed run logged after its last checkpoint: those steps are taken again."""
    if os.path.exists(path):
        lines = read_metrics(path)
        with atomic_write(path) as file:
            for line in lines:
                if line["step"] <= step:
                    file.write(f"{json.dumps(line)}\n".encode())


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
    best, best_step, worse = -math.inf, 0, 0
    # By step: of a step that came again after a restart, only the newer line counts.
    lines = {line["step"]: line for line in read_metrics(path) if line["split"] == split}
    for line in (line for line in lines.values() if line["step"] <= step and metric in line):
        value = math.nan if line[metric] is None else line[metric]
        height = value if mode == "max" else -value
        if height > best + min_delta:
            best, best_step, worse = height, line["step"], 0
        else:
            worse += 1
    if worse < patience or patience < 1:
        return ""
    return f"{metric} was no better in {worse} evaluations than at step {best_step}"
