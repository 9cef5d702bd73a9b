"""Which classes a classifier takes for which."""

from __future__ import annotations

import collections
from typing import Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from matplotlib.figure import Figure

from ...model.model import Model
from ..loop.evaluation import Evaluation

MOST_NUMBERED = 30  # classes; the counts of more would not be readable


class Confusion:
    """Counts which classes a classifier predicts for which labels.

    Args:
        model: its `predict` returns the "class" of a classifier.
        evaluation: gives the batches; the labels of a classifier are integers [batch].

    Attributes:
        pairs: labels and classes of a batch, integers [batch] each; empty if it is no classifier.
    """

    def __init__(self, model: Model, evaluation: Evaluation) -> None:
        labels, classes = evaluation.labels, model.predict(evaluation.outputs).get("class")
        known = classes is not None and isinstance(labels, tf.Tensor) and labels.shape.rank == 1
        self.pairs = [labels, classes] if known else []
        self._counts: collections.Counter[tuple[int, int]] = collections.Counter()

    def add(self, pairs: Sequence[np.ndarray]) -> None:
        """Counts a batch: the values of `pairs`."""
        self._counts.update(zip(*(array.tolist() for array in pairs)))

    def matrix(self) -> list[list[int]]:
        """How often each class was predicted: [label][prediction]; empty if it is no classifier."""
        size = range(1 + max((max(pair) for pair in self._counts), default=-1))
        return [[self._counts[label, prediction] for prediction in size] for label in size]


def confusion_picture(matrix: Sequence[Sequence[int]]) -> Figure:
    """A matrix [label][prediction], darker where the share of the label is larger."""
    counts = np.array(matrix)
    figure = Figure(figsize=(7, 6))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the label")
    axes.set(xlabel="prediction", ylabel="label", title=f"{counts.sum()} examples")
    if len(matrix) <= MOST_NUMBERED:
        axes.set(xticks=range(len(matrix)), yticks=range(len(matrix)))
        for (label, prediction), count in np.ndenumerate(counts):
            color = "white" if shares[label, prediction] > 0.5 else "black"
            axes.text(prediction, label, count, ha="center", va="center", color=color, fontsize=7)
    return figure
