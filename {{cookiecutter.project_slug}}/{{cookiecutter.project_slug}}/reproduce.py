"""Repeats an experiment, and says whether its result was reached.

    python -m <package>.reproduce experiment=mnist_mlp            in a run of its own
    python -m <package>.reproduce experiment=mnist_mlp seed=2     with another seed

The experiments are in conf/experiments.yaml: their settings, and what the last evaluation is
expected to find. Exit codes: those of train, and 1 if the result is another.
"""

from __future__ import annotations

import contextlib
import os
import sys

from .engine.errors import ConfigError
from .engine.run.files import new_directory
from .engine.run.metrics import read_metrics
from .engine.settings.config import load_config
from .engine.settings.experiments import KEY, read_experiment
from .engine.tools.command import run_command
from .engine.tools.table import table


def reproduce(arguments: list[str]) -> int:
    """Trains, and compares the numbers of the last evaluation; returns the exit code."""
    names = [text[len(KEY) :] for text in arguments if text.startswith(KEY)]
    if not names:
        raise ConfigError("found no experiment=NAME; expected a key of conf/experiments.yaml")
    experiment = read_experiment(names[-1])
    run_dir = load_config(arguments).run_dir
    # Not above: an error in the settings need not wait for TensorFlow.
    from .train.__main__ import train

    run_dir = run_dir or new_directory(names[-1])
    try:
        code = train([*arguments, f"run_dir={run_dir}"])
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(run_dir)  # if it is empty, for training failed before it began
    if code:
        return code
    lines = read_metrics(os.path.join(run_dir, "metrics.jsonl"))
    found = ([line for line in lines if line["split"] != "train"] or [{}])[-1]
    rows = []
    for name, expected in experiment["expected"].items():
        value, tolerance = found.get(name), experiment["tolerance"]
        met = value is not None and abs(value - expected) <= tolerance
        row = {"measure": name, "expected": f"{expected} ± {tolerance}", "found": value}
        rows.append({**row, "reproduced": "yes" if met else "NO"})
    print(table(rows))
    return int(any(row["reproduced"] == "NO" for row in rows))


if __name__ == "__main__":
    sys.exit(run_command(reproduce, __doc__, needs_reader=False))
