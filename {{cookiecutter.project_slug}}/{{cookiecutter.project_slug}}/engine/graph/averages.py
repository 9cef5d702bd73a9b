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
            updates_done: int64 [], the updates of these variables before it. While there are few,
                the decay is lower; the first average is the weights themselves.
        """
        if not self.decay:
            return tf.no_op()
        done = tf.cast(updates_done, tf.float32)
        share = 1 - tf.minimum(self.decay, done / (done + 10))
        moves = []
        for variable in variables:
            self._weights[variable.op.name] = variable
            variable_average = zeros_for(variable, "average", self._averages)
            weights, average = variable.read_value(), variable_average.read_value()
            moved = average + tf.cast(share, average.dtype) * (weights - average)
            moves.append(variable_average.assign(tf.where_v2(updates_done < 1, weights, moved)))
        return tf.group(*moves)

    def start(self, session: tf.Session) -> None:
        """Sets the averages to the weights of a new run; some are updated only steps later."""
        weights = session.run(self._weights)
        load(self._averages, {name: weights[name] for name in self._averages}, session)

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


def zeros_for(
    variable: tf.Variable,
    name: str,
    made: dict[str, tf.Variable],
    shape: Any = None,
    dtype: Any = None,
) -> tf.Variable:
    """Zeros that belong to a variable; created once, though the step is built twice.

    Args:
        variable: they are saved below its name.
        name: what they are.
        made: those of that name that there are already.
        shape, dtype: default those of the variable.
    """
    key = variable.op.name
    if key not in made:
        with tf.init_scope(), tf.name_scope(None):  # outside of loops and conditions
            shape = variable.shape if shape is None else shape
            zeros = tf.zeros(shape, dtype or variable.dtype.base_dtype)
            made[key] = tf.Variable(zeros, trainable=False, name=f"{key}/{name}")
    return made[key]
