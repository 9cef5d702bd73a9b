"""Which classes a classifier takes for which."""

from __future__ import annotations

import collections
from typing import Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from matplotlib.figure import Figure

from ..data.dataset import Dataset
from ..model.model import Model
from .restored import batches_of

MOST_NUMBERED = 30  # classes; the counts of more would not be readable


class Confusion:
    """The part of a graph that tells which classes a classifier predicts for which labels.

    Args:
        model: its `predict` returns the "class" of a classifier.
        dataset: gives the batches; the labels of a classifier are integers [batch].
        split: which to evaluate.
    """

    def __init__(self, model: Model, dataset: Dataset, split: str) -> None:
        self._iterator = tf.data.make_initializable_iterator(dataset.batches(split))
        features, labels = self._iterator.get_next()
        self._pairs = (labels, model.predict(model(features, training=False)).get("class"))

    def run(self, session: tf.Session) -> list[list[int]] | None:
        """How often each class was predicted: [label][prediction]; None if it is no classifier."""
        labels, classes = self._pairs
        if classes is None or not isinstance(labels, tf.Tensor) or labels.shape.rank != 1:
            return None
        counts: collections.Counter[tuple[int, int]] = collections.Counter()
        for pairs in batches_of(session, self._iterator, self._pairs):
            counts.update(zip(*(array.tolist() for array in pairs)))
        size = range(1 + max(max(pair) for pair in counts))
        return [[counts[label, prediction] for prediction in size] for label in size]


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
