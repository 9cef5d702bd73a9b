"""What a trained model makes of a split, example by example: for notebooks and scripts."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from ..graph.contract import predictions_of
from ..input.bad_records import locate_bad_record
from ..input.elements import dense
from ..loop.evaluation import Evaluation
from .predictions import check_one_each
from .restored import Restored
from .table import flat


class Example(NamedTuple):
    """One example, as arrays without a batch.

    Attributes:
        features, labels: as `Dataset.convert` makes them; sparse ones are dense.
        prediction: name -> value, as `Model.predict` returns it.
    """

    features: Any
    labels: Any
    prediction: dict[str, Any]


def predicted(restored: Restored, split: str = "", batches: int = 0) -> list[Example]:
    """The examples of a split in the order of its files, each with its prediction.

    Args:
        restored: the model and its dataset.
        split: default the one that is evaluated while training.
        batches: the first n; 0 is all, which then have to fit into memory.

    Raises:
        UserError: as `evaluate` does.
    """
    split = restored.prepare(split)
    found: list[Any] = []
    with restored.graph(), locate_bad_record(restored.dataset, split):
        evaluation = Evaluation(restored.model, restored.dataset, split, batches)
        prediction = flat(predictions_of(restored.model, evaluation.outputs))
        batch = (evaluation.features, evaluation.labels, prediction)
        batch = dense(*batch)
        with restored.session() as session:
            evaluation.run(session, fetches=batch, seen=found.append)
    return [example for arrays in found for example in _each(arrays, restored.model.name)]


def _each(batch: Any, name: str) -> list[Example]:
    size = next(len(array) for array in tf.nest.flatten(batch) if array.ndim)
    check_one_each(batch[-1], size, name)

    def at(index: int) -> Example:
        parts = tf.nest.map_structure(lambda array: array[index] if array.ndim else array, batch)
        return Example(*parts)

    return list(map(at, range(size)))
