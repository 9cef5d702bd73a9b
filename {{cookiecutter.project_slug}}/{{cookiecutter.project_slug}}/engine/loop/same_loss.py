"""Before the first step on several devices: is a batch's loss the mean of those of its parts?"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ...model.model import Model
from ..errors import ModelError
from ..graph.measures import Ratio, quotient
from ..graph.parts import Part, rows_of
from ..graph.per_example import taken
from ..graph.replicas import Replicas, read_as
from .evaluation import Evaluation

ROWS = 8  # of each part
TOLERANCE = 1e-3  # of the larger number; rounding is far below, also in 16 bits


class SameLossHook(tf.train.SessionRunHook):
    """Compares the loss of some examples at once with that of parts of them.

    Devices average their losses: of a sum, say, each would train on another loss. Each process
    looks by itself, and changes nothing. The weights that it looks with are moved at random, since
    with weights of 0 all examples may have one loss.

    Args:
        model: in whose graph it has its variables.
        evaluation: whose first batch to take.
        count: the number of devices of all processes.
    """

    def __init__(self, model: Model, evaluation: Evaluation, count: int) -> None:
        self._name = model.name
        self._evaluation = evaluation
        self._count = count
        self._first, self._rows = (tf.placeholder(tf.int32, []) for _ in range(2))
        self._moved = tf.placeholder(tf.float32, [])
        part = Part(self._first, self._rows, self._rows, 1.0)
        replicas, model.replicas = model.replicas, Replicas()
        try:
            with tf.device(replicas.devices[0]), tf.name_scope("same_loss"), taken(part):
                features, labels = rows_of((evaluation.features, evaluation.labels), part)
                with moved(model.trainable_variables, self._moved):
                    _, loss = model.outputs_and_loss(features, labels, training=False)
        finally:
            model.replicas = replicas
        self._losses = loss if isinstance(loss, dict) else {"": loss}

    def next_step(self, secs_per_step: float) -> float:
        """Never: the inner loop need not end for it."""
        return float("inf")

    def after_create_session(self, session: tf.Session, coord: Any) -> None:
        """Raises ModelError if a loss is another one in parts."""
        size, batch = self._evaluation.first_batch(session)
        rows = min(size, ROWS * self._count)
        equal = [number * rows // self._count for number in range(self._count + 1)]
        for scale in (1.0, 0.0):  # the weights themselves, if others are none for the model
            feed = {**batch, self._moved: scale}
            whole = self._found(session, feed, [0, rows])
            for bounds in (equal, [*range(min(rows, ROWS)), rows]):  # and of one example each
                parts = self._found(session, feed, bounds)
                if scale and not np.isfinite([*whole.values(), *parts.values()]).all():
                    break
                for name, number in whole.items():
                    self._check(name, rows, number, parts[name])
            else:
                return

    def _found(
        self, session: tf.Session, feed: dict[Any, Any], bounds: Sequence[int]
    ) -> dict[str, float]:
        """Name -> the loss of the rows from the first bound to the last, by the parts between."""
        shares, losses = [], []
        for first, end in zip(bounds, bounds[1:]):
            if end > first:
                at = {self._first: first, self._rows: end - first}
                losses.append(session.run(self._losses, {**feed, **at}))
                shares.append((end - first) / bounds[-1])
        return {
            name: quotient(*(np.sum(sums, axis=0) for sums in zip(*(x[name] for x in losses))))
            if isinstance(losses[0][name], Ratio)
            else float(np.dot(shares, [np.float64(x[name]) for x in losses]))
            for name in self._losses
        }

    def _check(self, name: str, rows: int, one: float, joined: float) -> None:
        near = abs(one - joined) <= TOLERANCE * max(abs(one), abs(joined)) + 1e-6
        if near or not np.isfinite(one):  # of which others know more
            return
        raise ModelError(
            f"{self._name}.loss: found {f'{name}=' if name else ''}{one:.6g} for {rows} examples, "
            f"but {joined:.6g} as the mean over parts of them, which is what several devices take; "
            "return a mean over examples, or Ratio(numerator, denominator), or train on one device "
            "in one process (trainer.replicas=1)"
        )


@contextlib.contextmanager
def moved(variables: Sequence[tf.Variable], scale: tf.Tensor) -> Iterator[None]:
    """Inside of the `with`, a call reads these with noise, by which outputs differ.

    Args:
        variables: of floats; those that are gathered from are read as they are.
        scale: of the noise, float32 [].
    """
    values = []
    for number, variable in enumerate(variables):
        shape = variable.shape.as_list()
        noise = tf.random.stateless_normal(shape, [number, 0]) * scale
        noise /= np.sqrt(max(np.prod(shape[:-1]), 4))  # so that outputs stay of their size
        values.append(variable.read_value() + tf.cast(noise, variable.dtype.base_dtype))
    with read_as(variables, values):
        yield
