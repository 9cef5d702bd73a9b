"""The curves of several runs in one picture."""

from __future__ import annotations

import math
from typing import Sequence

from matplotlib.figure import Figure

from ..run.metrics import read_metrics
from ..run.run import Run


def curves(run_dirs: Sequence[str]) -> Figure:
    """What evaluations gave, over the steps, one chart a number; dashed: while training."""
    runs = {run_dir: read_metrics(Run(run_dir).metrics) for run_dir in run_dirs}
    lines = [line for run in runs.values() for line in run]
    found = dict.fromkeys(name for line in lines if line["split"] != "train" for name in line)
    names = [name for name in found if name not in ("step", "split")]
    figure = Figure(figsize=(9, 4 * max(len(names), 1)))
    for row, name in enumerate(names):
        axes = figure.add_subplot(len(names), 1, row + 1)
        axes.set(xlabel="step", ylabel=name)
        for number, (run_dir, run) in enumerate(runs.items()):
            for split in dict.fromkeys(line["split"] for line in run):
                points = {line["step"]: line.get(name) for line in run if line["split"] == split}
                numbers = [math.nan if y is None else y for y in points.values()]
                style = "--" if split == "train" else ".-"
                axes.plot(list(points), numbers, style, c=f"C{number}", label=f"{run_dir} {split}")
        axes.legend(fontsize=7)
    return figure
