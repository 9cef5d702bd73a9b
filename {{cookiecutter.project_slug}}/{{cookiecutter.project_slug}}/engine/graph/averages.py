"""Moving averages of the weights, which often generalize better than the weights themselves."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Sequence

import tensorflow.compat.v1 as tf


class Averages:
    """An average of each trained variable: average += (1 - decay) * (weights - average).

    Polyak and Juditsky 1992, https://doi.org/10.1137/0330046. BatchNorm's statistics are averages
    already, and are used as they are.

    Args:
        decay: below 1; the closer to it, the slower the average; 0 keeps none.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._averages: dict[str, tf.Variable] = {}
        self._weights: dict[str, tf.Variable] = {}

    def update(self, variables: Sequence[tf.Variable], updates_done: tf.Tensor) -> tf.Operation:
        """Moves the averages, after an update of the variables.

        Args:
            variables: those of that update.
            updates_done: int64 [], the updates before it. While there are few, the decay is
                lower; the first average is the weights themselves.
        """
        done = tf.cast(updates_done, tf.float32)
        return self.move(variables, 1 - tf.minimum(self.decay, done / (done + 10)))

    def move(self, variables: Sequence[tf.Variable], share: tf.Tensor) -> tf.Operation:
        """Moves the averages by a share of their distance to the variables: float32 [], 0–1."""
        if not self.decay:
            return tf.no_op()
        moves = []
        for variable in variables:
            self._weights[variable.op.name] = variable
            average = zeros_for(variable, "average", self._averages)
            change = variable.read_value() - average.read_value()
            moves.append(average.assign_add(tf.cast(share, change.dtype) * change))
        return tf.group(*moves)

    @contextlib.contextmanager
    def in_place(self, session: tf.Session) -> Iterator[None]:
        """Inside of the `with`, the variables are the averages: for evaluation and export."""
        weights, averages = session.run([self._weights, self._averages])
        load(self._weights, averages, session)
        try:
            yield
        finally:
            load(self._weights, weights, session)


def load(variables: dict[str, tf.Variable], values: dict[str, Any], session: tf.Session) -> None:
    """Assigns values to variables; works in a finalized graph, too."""
    for name, value in values.items():
        initializer = variables[name].initializer
        # One by one: two variables may take their initial values from one tensor.
        session.run(initializer, {initializer.inputs[1]: value})


def zeros_for(variable: tf.Variable, name: str, made: dict[str, tf.Variable]) -> tf.Variable:
    """A variable of the same shape, saved with it; created once, though the step is built twice."""
    key = variable.op.name
    if key not in made:
        with tf.init_scope(), tf.name_scope(None):  # outside of loops and conditions
            zeros = tf.zeros(variable.shape, variable.dtype.base_dtype)
            made[key] = tf.Variable(zeros, trainable=False, name=f"{key}/{name}")
    return made[key]
