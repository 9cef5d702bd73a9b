"""Numbers about a batch, and how those of several batches become one."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import ModelError, explained
from .checks import WRITES, ancestors, check_no_pairs, check_per_example, written_by

# What the lines about a batch or an evaluation hold besides measures.
TAKEN = (
    *("loss", "step", "split", "learning_rate", "examples_per_sec", "run", "checkpoint"),
    *("confusion", "class_names"),
)


class Ratio(NamedTuple):
    """A sum over examples, tokens or pixels, divided by another one; never a mean of batches.

    An evaluation adds up both over its batches, and divides at its end. Each is a sum over the
    batch: [], or [n] for n numbers, such as one of each class, of which the mean is reported,
    without those whose denominator is 0. If all are 0, so is the number.
    """

    numerator: tf.Tensor
    denominator: tf.Tensor


class Running(NamedTuple):
    """A streaming metric: the number of all batches since its variables were initialized."""

    value: tf.Tensor  # computed after the batch was added


Measured = Union[tf.Tensor, Ratio, Running]  # a tensor: [batch] or [], its mean counts
Losses = Union[tf.Tensor, Dict[str, Any]]  # float32 [] or a `Ratio` each


def of_batch(value: Measured) -> tf.Tensor:
    """The number of this batch alone: float32 []."""
    if isinstance(value, Running):
        return value.value
    if isinstance(value, tf.Tensor):
        return tf.reduce_mean(tf.cast(value, tf.float32))
    numerator, denominator = (tf.cast(each, tf.float32) for each in value)
    known = tf.not_equal(denominator, 0)
    quotients = numerator / tf.where_v2(known, denominator, 1.0)  # finite gradients, too
    count = tf.reduce_sum(tf.cast(known, tf.float32))
    return tf.reduce_sum(tf.where_v2(known, quotients, 0.0)) / tf.maximum(count, 1.0)


def summed(value: Measured | Any, size: tf.Tensor) -> Measured | Any:
    """What an evaluation adds up: of a tensor of a batch of `size`, int32 [], a Ratio."""
    if not isinstance(value, tf.Tensor):
        return value
    if value.shape.rank == 1:  # of some, or all, examples
        number = tf.cast(tf.size(value), tf.float32)
        return Ratio(tf.reduce_sum(tf.cast(value, tf.float32)), number)
    count = tf.cast(size, tf.float32)
    return Ratio(of_batch(value) * count, count)


def numbers_of(loss: Losses) -> Losses:
    """The same with a number, float32 [], in place of each Ratio."""
    if isinstance(loss, dict):
        return {name: numbers_of(part) for name, part in loss.items()}
    return of_batch(loss) if isinstance(loss, Ratio) else loss


def total(loss: Losses) -> tf.Tensor:
    """The sum of all parts of a loss: float32 []."""
    return tf.add_n(tf.nest.flatten(numbers_of(loss)))


def quotient(numerator: Any, denominator: Any) -> float:
    """The number of a `Ratio` whose sums these are."""
    numerator, denominator = np.atleast_1d(numerator), np.atleast_1d(denominator)
    known = denominator != 0
    return float(np.mean(numerator[known] / denominator[known])) if known.any() else 0.0


def measured(
    model: Any, outputs: Any, labels: Any, reset: bool
) -> tuple[dict[str, Measured], list[tf.Variable]]:
    """What `model.measure` returned, and the variables of the streaming metrics among it.

    Args:
        reset: whether each batch initializes them first, so that it stands alone.

    Raises:
        ModelError: a value is no number of examples, no Ratio and no metric that is updated.
    """
    state: list[tf.Variable] = []

    def local(next_creator: Any, **arguments: Any) -> tf.Variable:
        # Neither trained nor saved; those of Keras are in no collection otherwise.
        arguments.update(trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
        state.append(next_creator(**arguments))
        return state[-1]

    what, graph, pairs = f"{model.name}.measure", tf.get_default_graph(), set()
    before = len(graph.get_operations())
    with tf.variable_creator_scope(local), explained(what, ModelError):
        found = model.measure(outputs, labels)
    if not isinstance(found, dict):
        raise ModelError(f"{what}: found {found!r:.80}, expected a dict name -> number")
    values, metrics = dict(found), {}
    for name, value in values.items():
        if isinstance(value, tf.keras.metrics.Metric):
            values[name] = value.result()
            metrics[name] = value
        elif isinstance(value, (tuple, list)) and not isinstance(value, Ratio) and len(value) == 2:
            values[name] = value[0]  # of tf.metrics: the other updates it
            pairs.add(name)
    made = graph.get_operations()[before:]
    check_no_pairs(what, made, labels)
    _check_updated(what, made, state, metrics)
    _run_in_order(made, state, reset)
    handles = {variable.handle.op for variable in state}
    for name, value in values.items():
        for each in value if isinstance(value, Ratio) else [value]:
            if not isinstance(each, tf.Tensor) or each.dtype in (tf.string, tf.resource):
                raise ModelError(
                    f"{what}: {name} is {value}; expected a tensor [batch], a Ratio, or a "
                    "metric of tf.metrics or tf.keras.metrics"
                )
        if isinstance(value, Ratio):
            _check_sums(f"{what}: {name}", value)
        elif name in pairs and not handles & ancestors([value.op]):
            raise ModelError(
                f"{what}: {name} is a pair, but not of tf.metrics; for a sum divided by another, "
                "return Ratio(numerator, denominator) of engine/graph/measures.py"
            )
        elif handles & ancestors([value.op]):
            if value.shape.rank != 0:
                raise ModelError(f"{what}: {name} is {value.shape}, expected a single number")
            values[name] = Running(tf.cast(value, tf.float32))
        else:
            check_per_example(value, f"{what}: {name}", outputs)
    return values, state


def _check_updated(
    what: str, made: list[tf.Operation], state: list[tf.Variable], metrics: dict[str, Any]
) -> None:
    """Raises ModelError for a metric of Keras that would be 0 whatever the batch."""
    initializers = {variable.initializer for variable in state}
    writes = [op for op in made if WRITES.match(op.type) and op not in initializers]
    written = {written_by(op)[0] for op in writes}
    for name, metric in metrics.items():
        if written.isdisjoint(variable.handle.op for variable in metric.variables):
            raise ModelError(
                f"{what}: {name} is a metric that got no examples; call its "
                "update_state(labels, outputs) in measure"
            )


def _check_sums(what: str, ratio: Ratio) -> None:
    shapes = [each.shape for each in ratio]
    if not all(shape.is_fully_defined() and shape.rank < 2 for shape in shapes) or (
        shapes[0].as_list() != shapes[1].as_list()
    ):
        raise ModelError(
            f"{what}: found a Ratio of {shapes[0]} and {shapes[1]}, expected both [] or [n] of "
            "known size; sum over the batch, as by tf.reduce_sum"
        )


def _run_in_order(made: list[tf.Operation], state: list[tf.Variable], reset: bool) -> None:
    """Lets what reads a metric wait for what updates it, and both for its initialization."""
    own = {variable.handle.op for variable in state}
    handles = set(own)
    initializers = {variable.initializer for variable in state}
    users = []
    for operation in made:
        if not handles.intersection(tensor.op for tensor in operation.inputs):
            continue
        if operation.type in ("Switch", "Enter", "Identity"):
            handles.add(operation)
        elif operation not in initializers and operation.type != "VarIsInitializedOp":
            users.append(operation)
    updates = [operation for operation in users if operation.type != "ReadVariableOp"]
    earlier = ancestors(updates)
    for operation in users:
        if reset:
            operation._add_control_inputs(initializers)
        if operation not in earlier:
            operation._add_control_inputs(updates)
