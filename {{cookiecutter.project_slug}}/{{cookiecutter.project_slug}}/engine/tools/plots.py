"""Pictures of an evaluation: which classes are taken for which, and curves of several runs."""

from __future__ import annotations

import logging
import math
from typing import Any, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from matplotlib.figure import Figure

from ..run.metrics import read_metrics
from ..run.run import Run

logger = logging.getLogger(__name__)

MOST_CLASSES = 1000  # of a matrix: a million counts
MOST_NUMBERED = 30  # the counts of more would not be readable


def labels_and_classes(labels: Any, predictions: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    """Labels and predicted classes of a batch, integers [batch] each; empty if not a classifier.

    Args:
        labels: those of a classifier are integers [batch].
        predictions: what `Model.predict` returns; a classifier's have a "class".
    """
    pair = [labels, predictions.get("class")]
    is_list = [isinstance(t, tf.Tensor) and t.dtype.is_integer and t.shape.rank == 1 for t in pair]
    return [tf.cast(tensor, tf.int64) for tensor in pair] if all(is_list) else []


def confusion_matrix(labels: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """How often each class was predicted: integers [label, prediction]; labels below 0 are skipped.

    None if there are more than MOST_CLASSES, or none, which is logged.
    """
    valid = labels >= 0
    labels, classes = labels[valid], classes[valid]
    size = int(max(labels.max(initial=-1), classes.max(initial=-1))) + 1
    if not 1 <= size <= MOST_CLASSES:
        logger.info("no confusion matrix: found %d classes, expected 1 to %d", size, MOST_CLASSES)
        return None
    matrix = np.zeros([size, size], int)
    np.add.at(matrix, (labels, classes), 1)
    return matrix


def confusion_picture(matrix: Sequence[Sequence[int]], names: Sequence[str] = ()) -> Figure:
    """Counts `[label][prediction]`, darker where the share of a label is larger; class names."""
    counts = np.array(matrix)
    figure = Figure(figsize=(7, 6))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the label")
    axes.set(xlabel="prediction", ylabel="label", title=f"{counts.sum()} examples")
    if len(matrix) <= MOST_NUMBERED:
        axes.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
        if len(names) >= len(matrix):
            axes.set_xticklabels(names[: len(matrix)], rotation=90)
            axes.set_yticklabels(names[: len(matrix)])
        for (label, prediction), count in np.ndenumerate(counts):
            color = "white" if shares[label, prediction] > 0.5 else "black"
            axes.text(prediction, label, count, ha="center", va="center", color=color, fontsize=7)
    return figure


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
