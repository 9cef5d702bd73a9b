"""Exact evaluation: the mean of every measure over every example of a split, each once."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ..errors import DataError, RunError
from ..input.bad_records import find_not_finite
from ..input.sizes import count_records


class Evaluation:
    """The evaluation part of a graph; shares the variables of the model that is trained.

    Args:
        model: already built.
        dataset: gives the batches.
        split: which to evaluate.
        limit: the first n batches; 0 is all.

    Attributes:
        outputs, labels: tensors of the batch that is evaluated.
    """

    def __init__(self, model: Model, dataset: Dataset, split: str, limit: int = 0) -> None:
        if count_records(dataset, split, most=1) < 1:
            raise DataError(f"{type(dataset).__name__}: the {split} split holds no examples")
        self.split = split
        self._dataset = dataset
        self._averages = model.optimization.averages
        # The first use of a model creates its variables, whose names must not begin with a scope.
        with tf.name_scope(f"evaluate_{split}" if model.built else None):
            batches = dataset.batches(split).take(limit or -1)
            self._iterator = tf.data.make_initializable_iterator(batches)
            features, self.labels = self._iterator.get_next()
            self.outputs, loss = model.outputs_and_loss(features, self.labels, training=False)
            self._size = tf.shape(tf.nest.flatten(features)[0])[0]
            # The mean of a short last batch weighs less than that of a full one.
            self._sums = {
                name: mean * tf.cast(self._size, tf.float32)
                for name, mean in model.means(loss, self.outputs, self.labels).items()
            }

        #: What `run` finds: "loss" and each measure.
        self.names = list(self._sums)

    def run(
        self,
        session: tf.Session,
        stopped: Callable[[], Any] = lambda: None,
        fetches: Any = (),
        seen: Callable[[Any], Any] = lambda values: None,
    ) -> dict[str, float]:
        """The means over all examples; with averages of the weights, theirs.

        Args:
            session: holds the weights.
            stopped: asked before each batch; if true, the result is {}.
            fetches: what else to compute for each batch.
            seen: called with the values of these.

        Raises:
            RunError, DataError: a number is not finite; names examples, or the record.
        """
        with self._averages.in_place(session):
            return self._means(session, stopped, fetches, seen)

    def _means(
        self,
        session: tf.Session,
        stopped: Callable[[], Any],
        fetches: Any,
        seen: Callable[[Any], Any],
    ) -> dict[str, float]:
        session.run(self._iterator.initializer)
        totals, examples = dict.fromkeys(self._sums, 0.0), 0
        while not stopped():
            try:
                sums, size, values = session.run([self._sums, self._size, fetches])
            except tf.errors.OutOfRangeError:
                return {name: total / examples for name, total in totals.items()}
            seen(values)
            for name, value in sums.items():
                if not np.isfinite(value):
                    raise self._not_finite(name, value / size, examples, int(size))
                totals[name] += float(value)
            examples += int(size)
        return {}

    def _not_finite(self, name: str, value: float, first: int, size: int) -> RunError:
        """The error about a batch; raises DataError where its own features or labels explain it."""
        find_not_finite(self._dataset, self.split, first, size)
        return RunError(
            f"{name} is {value} on examples {first + 1} to {first + size} of the {self.split} "
            "split, though their features and labels are finite; see what the model makes of them "
            "(engine/graph/safe.py has safe_log, safe_divide and safe_norm)"
        )
