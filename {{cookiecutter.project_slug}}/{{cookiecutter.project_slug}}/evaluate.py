"""Evaluates trained models, exactly as while training.

    python -m <package>.evaluate run_dir=runs/x                       its newest checkpoint
    python -m <package>.evaluate run_dir=runs/x checkpoint=best split=train
    python -m <package>.evaluate run_dir=runs/x run_dir=runs/y        several, side by side
    python -m <package>.evaluate run_dir='runs/sweep/*'               all runs of a sweep

Prints a table and writes it as JSON, with a picture next to it: a classifier's confusion matrix,
or the curves of several runs. Data and model are the run's own; the other settings are in
conf/commands.yaml. Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import sys

from .engine.tools.command import run_command
from .engine.tools.table import configs_of_runs, different_settings, table


def evaluate(arguments: list[str]) -> int:
    """Evaluates one run or several, prints and writes the numbers; returns the exit code."""
    configs = configs_of_runs(arguments, "evaluate")
    # Not above: an error in the settings need not wait for TensorFlow.
    from .engine.tools.restored import Restored
    from .engine.tools.results import evaluate_run, write_results

    # All checkpoints are found before the first evaluation, which may be long.
    restored = [Restored(config, config.checkpoint) for config in configs]
    rows = [evaluate_run(each, each.config.split) for each in restored]
    for row, settings in zip(rows, different_settings(configs)):
        row.update(settings)
    print(table(rows, hidden=("split", "checkpoint", "confusion", "class_names")))
    for path in write_results(rows, configs[0].file):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(evaluate, __doc__))
