"""Exact evaluation: the mean of every measure over every example of a split, each once."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from ..data.dataset import Dataset
from ..errors import DataError
from ..model.model import Model


class Evaluation:
    """The evaluation part of a graph; shares the variables of the model that is trained.

    Args:
        model: already built.
        dataset: gives the batches.
        split: which to evaluate.
    """

    def __init__(self, model: Model, dataset: Dataset, split: str) -> None:
        if dataset.count(split) < 1:
            raise DataError(f"{type(dataset).__name__}: the {split} split holds no examples")
        self.split = split
        with tf.name_scope(f"evaluate_{split}"):
            self._iterator = tf.data.make_initializable_iterator(dataset.batches(split))
            features, labels = self._iterator.get_next()
            outputs, loss = model.outputs_and_loss(features, labels, training=False)
            self._size = tf.shape(tf.nest.flatten(features)[0])[0]
            # A mean of a short last batch weighs less than that of a full one.
            self._sums = {
                name: mean * tf.cast(self._size, tf.float32)
                for name, mean in model.means(loss, outputs, labels).items()
            }

    def run(self, session: tf.Session) -> dict[str, float]:
        """The mean of the loss and of each measure, over all examples."""
        session.run(self._iterator.initializer)
        totals, examples = dict.fromkeys(self._sums, 0.0), 0
        while True:
            try:
                sums, size = session.run([self._sums, self._size])
            except tf.errors.OutOfRangeError:
                return {name: total / examples for name, total in totals.items()}
            examples += int(size)
            for name, value in sums.items():
                totals[name] += float(value)
