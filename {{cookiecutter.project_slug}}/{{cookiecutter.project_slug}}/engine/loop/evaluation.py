"""Exact evaluation: every measure over every example of a split, each once."""

from __future__ import annotations

from typing import Any, Callable, Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ..errors import DataError, RunError
from ..graph.measures import Ratio, quotient
from ..graph.stale import check_own_batch
from ..input.bad_records import find_not_finite
from ..input.batches import evaluation_batches
from ..input.sizes import check_not_empty, count_records


class Evaluation:
    """The evaluation part of a graph; shares the variables of the model that is trained.

    Args:
        model: already built.
        dataset: gives the batches.
        split: which to evaluate.
        limit: the first n batches; 0 is all.
        again: whether it runs more than once; then what is decoded for it may be kept.

    Attributes:
        features, labels, outputs: tensors of the batch that is evaluated.
    """

    def __init__(
        self, model: Model, dataset: Dataset, split: str, limit: int = 0, again: bool = False
    ) -> None:
        check_not_empty(dataset, split, count_records(dataset, split, most=1))
        self.split = split
        self._dataset = dataset
        self._averages = model.optimization.averages
        # The first use of a model creates its variables, whose names must not begin with a scope.
        with tf.name_scope(f"evaluate_{split}" if model.built else None):
            batches, self._number = evaluation_batches(dataset, split, limit, again)
            self._iterator = tf.data.make_initializable_iterator(batches)
            self.features, self.labels = batch = self._iterator.get_next()
            self.outputs, loss = model.outputs_and_loss(self.features, self.labels, False)
            arrays = [x for x in tf.nest.flatten(batch) if x.shape.rank != 0]
            self._sizes = tf.stack([tf.shape(array)[0] for array in arrays])
            self._size = self._sizes[0]
            self._sums, state = model.sums(loss, self.outputs, self.labels, self._size)
            made = (self.outputs, loss, self._sums)
            check_own_batch(model, made, batch)
            self._initializer = tf.variables_initializer(state)

        self._at_start: Any = None  # the session in which kept batches begin again
        self._skip = tf.nest.flatten(batch, True)[0].op
        self._parts = list(loss) if isinstance(loss, dict) else []
        #: Of the names, those of which the least is best.
        self.losses = ["loss", *self._parts]
        #: What `run` finds: "loss" and each measure.
        self.names = list(dict.fromkeys([*self._parts, "loss", *self._sums]))

    def first_batch(self, session: tf.Session) -> tuple[int, dict[Any, Any]]:
        """The number of examples of the first batch, and the values of its tensors, to be fed."""
        tensors = tf.nest.flatten((self.features, self.labels), True)
        self._begin(session)
        values, size = session.run([tensors, self._size])
        return int(size), dict(zip(tensors, values))

    def _begin(self, session: tf.Session) -> None:
        if self._at_start is not session:
            session.run(self._iterator.initializer)
        self._at_start = None

    def run(
        self,
        session: tf.Session,
        stopped: Callable[[], Any] = lambda: None,
        fetches: Any = (),
        seen: Callable[[Any], Any] = lambda values: None,
    ) -> dict[str, float]:
        """The numbers of all examples; with averages of the weights, theirs.

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
        self._begin(session)
        session.run(self._initializer)
        totals: dict[str, Any] = {}
        for sums in self._sums_of_batches(session, stopped, fetches, seen):
            if sums is None:
                return {}
            for name, value in sums.items():
                add = isinstance(value, np.ndarray)
                totals[name] = value + totals.get(name, 0) if add else value
        return self._results(totals)

    def _sums_of_batches(
        self,
        session: tf.Session,
        stopped: Callable[[], Any] = lambda: None,
        fetches: Any = (),
        seen: Callable[[Any], Any] = lambda values: None,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Any]:
        """For each batch name -> float64 [2, ...] of a Ratio, else a number; None if stopped.

        share: (index, number): of each n batches in turn the one to compute.
        """
        number = examples = 0
        while not stopped():
            if self._number and number == self._number:
                self._at_start = session
                return
            try:
                if number % share[1] != share[0]:
                    session.run(self._skip)
                    number, examples = number + 1, examples + self._dataset.batch_size
                    continue
                sums, sizes, values = session.run([self._sums, self._sizes, fetches])
            except tf.errors.OutOfRangeError:
                return
            size = int(sizes[0])
            if (sizes != size).any():
                raise DataError(
                    f"{type(self._dataset).__name__}.convert: found {sizes.tolist()} examples in "
                    "the features and labels of a batch, expected as many in each; make what "
                    "belongs to no example in the model"
                )
            seen(values)
            for name, value in sums.items():
                if isinstance(value, Ratio) and not np.isfinite(value).all():
                    raise self._not_finite(name, quotient(*value), examples, size)
            yield {
                name: np.array(value, np.float64) if isinstance(value, Ratio) else value.value
                for name, value in sums.items()
            }
            number, examples = number + 1, examples + size
        yield None

    def _results(self, totals: dict[str, Any]) -> dict[str, float]:
        results = {
            name: quotient(*value) if isinstance(value, np.ndarray) else float(value)
            for name, value in totals.items()
        }
        if self._parts:
            results["loss"] = sum(results[part] for part in self._parts)
        for name, number in results.items():
            if not np.isfinite(number):
                raise RunError(f"{name} is {number} on the {self.split} split; see measure")
        return {name: results[name] for name in self.names}

    def _not_finite(self, name: str, value: float, first: int, size: int) -> RunError:
        """The error about a batch; raises DataError where its own features or labels explain it."""
        find_not_finite(self._dataset, self.split, first, size)
        return RunError(
            f"{name} is {value} on examples {first + 1} to {first + size} of the {self.split} "
            "split, though their features and labels are finite; see what the model makes of them "
            "(engine/graph/safe.py has safe_log, safe_divide and safe_norm)"
        )
