"""`metrics.jsonl`: one JSON object a line, {"step": 100, "split": "train", "loss": 0.3, ...}."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from typing import Any, Iterator

from .files import atomic_write


def append_metrics(path: str, step: int, split: str, values: dict[str, float]) -> None:
    """Appends one line; a number that is not finite becomes null, since JSON has none."""
    line: dict[str, Any] = {"step": step, "split": split}
    for name, value in values.items():
        line[name] = value if math.isfinite(value) else None
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_metrics(path: str, split: str = "") -> list[dict[str, Any]]:
    """All lines, or those of a split; those that a kill has corrupted are skipped.

    There may be a million lines about training, which to parse takes a second for each 100,000.
    """
    wanted = json.dumps(split) if split else ""
    lines = []
    for text in _lines(path):
        if wanted in text:
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
    lines = [line for line in lines if isinstance(line, dict) and line.get("split")]
    return [x for x in lines if isinstance(x.get("step"), int) and split in ("", x["split"])]


def _lines(path: str) -> Iterator[str]:
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file


def is_evaluated(path: str, split: str, step: int) -> bool:
    """Whether there is a line about a split at a step."""
    return any(line["step"] == step for line in read_metrics(path, split))


def last_metrics(path: str, split: str) -> dict[str, float]:
    """The newest numbers of a split; empty if there are none."""
    newest = (read_metrics(path, split) or [{}])[-1]
    return {
        name: math.nan if value is None else value
        for name, value in newest.items()
        if name not in ("step", "split")
    }


def best_evaluation(lines: list[dict[str, Any]], metric: str, mode: str) -> float | None:
    """The best finite number of that name in lines about evaluations; the least unless max."""
    evaluations = [line for line in lines if line["split"] != "train"]
    found = [line[metric] for line in evaluations if line.get(metric) is not None]
    return (max if mode == "max" else min)(found) if found else None


def drop_metrics_after(path: str, step: int) -> None:
    """Drops what a killed run logged after its last checkpoint: those steps are taken again."""
    if any(not _is_before(step, text) for text in _lines(path)):
        with atomic_write(path) as file:
            file.writelines(text.encode() for text in _lines(path) if _is_before(step, text))


def _is_before(step: int, text: str) -> bool:
    """Whether a line is complete, and of no later step."""
    found = re.match(r'\{"step": (\d+), "split": "\w+".*\}\n$', text)
    if found:
        return int(found.group(1)) <= step
    try:
        return text.endswith("\n") and json.loads(text)["step"] <= step
    except (ValueError, LookupError, TypeError):
        return False


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
    if patience < 1:
        return ""
    best, best_step, worse = -math.inf, 0, 0
    # By step: of a step that came again after a restart, only the newer line counts.
    lines = {line["step"]: line for line in read_metrics(path, split)}
    for line in (line for line in lines.values() if line["step"] <= step and metric in line):
        value = math.nan if line[metric] is None else line[metric]
        height = value if mode == "max" else -value
        if height > best + min_delta:
            best, best_step, worse = height, line["step"], 0
        else:
            worse += 1
    if worse < patience:
        return ""
    return f"{metric} was no better in {worse} evaluations than at step {best_step}"
