"""Mistakes that TensorFlow passes silently, found by looking at the graph."""

from __future__ import annotations

import collections
import itertools
import re
from typing import Any, Container, Iterable

import tensorflow.compat.v1 as tf

from ..errors import ModelError

# These draw from a state that a checkpoint does not hold.
STATEFUL_RANDOM = re.compile(
    r"(?!Stateless).*(Random|Multinomial|TruncatedNormal|CandidateSampler|DistortedBoundingBox"
    r"|Stateful(Uniform|StandardNormal)|Fractional(Avg|Max)Pool)"
)
WRITES = re.compile(r"(Resource(Apply|Sparse|Scatter)|Assign|Apply|SparseApply|Scatter(?!Nd$))")


def ancestors(
    targets: Iterable[tf.Operation], earlier: bool = False, ends: Container[tf.Operation] = ()
) -> set[tf.Operation]:
    """The targets and all operations that run when they do.

    Args:
        earlier: whether also what ran in iterations of loops before this one: whole bodies.
        ends: operations whose own ancestors are left out.
    """
    queue = list(targets)
    seen = set(queue)
    while queue:
        operation = queue.pop()
        if operation in ends or (operation.type == "NextIteration" and not earlier):
            continue  # leads to the iteration of the loop before this one
        inputs = {tensor.op for tensor in operation.inputs} | set(operation.control_inputs)
        queue.extend(inputs - seen)
        seen |= inputs
    return seen


def writes_since(count: int) -> list[tf.Operation]:
    """Operations that write variables, among those after the graph's first `count`.

    The variables' initializers are not among them: they run before all steps.
    """
    graph = tf.get_default_graph()
    variables = tf.global_variables() + tf.local_variables()
    initializers = {variable.initializer for variable in variables}
    added = graph.get_operations()[count:]
    return [op for op in added if WRITES.match(op.type) and op not in initializers]


def without_input(made: Iterable[Any], count: int) -> list[Any]:
    """Those operations and tensors that need no placeholder made after the graph's first `count`.

    A functional Keras model that `build` makes, as of tf.keras.applications, calls its layers once
    on its own `Input`: what they write and add then, no step can run.
    """
    fed: set[tf.Operation] = set()
    for operation in tf.get_default_graph().get_operations()[count:]:
        needed = [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
        if operation.type == "Placeholder" or not fed.isdisjoint(needed):
            fed.add(operation)
    return [each for each in made if getattr(each, "op", each) not in fed]


def loop_of(operation: tf.Operation) -> str:
    """The name of the innermost while loop that an operation runs in, "" outside of loops."""
    ended = 0  # loops between there and here
    while operation.type != "Enter" or ended:
        ended += (operation.type == "Exit") - (operation.type == "Enter")
        sources = [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
        if not sources:
            return ""
        operation = sources[0]  # any: all of them run in the same loop
    return operation.get_attr("frame_name").decode()


def written_by(write: tf.Operation) -> tuple[tf.Operation, bool]:
    """The handle of the variable that is written, and whether that happens in a tf.cond."""
    handle, conditional = write.inputs[0].op, False
    while handle.type in ("Enter", "Switch"):  # the doors into a loop and into a cond
        conditional |= handle.type == "Switch"
        handle = handle.inputs[0].op
    return handle, conditional


def check_no_early_writes(writes: Iterable[tf.Operation], loss: tf.Tensor) -> None:
    """Raises ModelError if a variable is written before the loss is known to be finite."""
    before, loop = ancestors([loss.op]), loop_of(loss.op)
    early = [op.name for op in writes if op in before or loop_of(op) != loop]
    if early:
        raise ModelError(
            f"{', '.join(early)}: a variable is written before the loss is known, so that a NaN "
            "could get into it, or in a loop of its own; use the new value itself in call, and "
            "give the write to self.add_update outside of loops"
        )


def check_stateless_random(targets: Iterable[tf.Operation]) -> None:
    """Raises ModelError for random numbers that a restart would not repeat, data's included."""
    found = [(op.name, op.type, "") for op in ancestors(targets, earlier=True)]
    # Functions: those of a data set, or of a model's tf.function.
    data = "in a data set, draw them in augment, by uniform of engine/input/random_numbers; "
    for function in tf.get_default_graph().as_graph_def().library.function:
        name = function.signature.name
        found += [(f"{name}/{node.name}", node.op, data) for node in function.node_def]
    for name, kind, advice in found:
        if STATEFUL_RANDOM.match(kind):
            raise ModelError(
                f"{name} ({kind}) draws other numbers after a restart: {advice}in a model's call, "
                "use the Dropout of this package (around an LSTM, not as its argument), or "
                "tf.random.stateless_* keyed by completed_steps(), see docs/your_own.md"
            )


def check_global_step(train_op: tf.Operation, global_step: tf.Variable) -> None:
    """Raises ModelError unless a train op increments the global step once."""
    writes = [written_by(op) for op in ancestors([train_op]) if WRITES.match(op.type)]
    in_conds = [in_cond for handle, in_cond in writes if handle is global_step.handle.op]
    always = in_conds.count(False)
    if always > 1 or not in_conds:
        raise ModelError(
            f"the train op that optimize returned increments the global step {always} times, "
            "expected once; give global_step=tf.train.get_global_step() to one apply_gradients or "
            "minimize"
        )


def check_writes(
    model: tf.keras.layers.Layer, train_op: tf.Operation, writes: Iterable[tf.Operation]
) -> None:
    """Raises ModelError if a step leaves out some writes, is unguarded, or writes twice."""
    needed = ancestors([train_op])
    left_out = [op.name for op in writes if op not in needed]
    if left_out:
        raise ModelError(
            f"{model.name}.optimize leaves {', '.join(left_out)} out, such as BatchNorm's "
            "statistics; pass updates and writes to optimize.guard, as Model.optimize does"
        )
    if not any(op.type == "CheckNumerics" for op in needed):
        raise ModelError(
            f"{model.name}.optimize would write a NaN into the variables; take the gradients of "
            "self.optimization.gradients and write inside of optimize.guard"
        )
    written = collections.Counter(op.inputs[0].op.name for op in writes)
    twice = [name for name, times in written.items() if times > 1]
    if twice:
        raise ModelError(
            f"{model.name}: {', '.join(twice)} is written twice in a step, in any order, as by a "
            "BatchNorm layer that is called twice; take two layers, or training=False in one call"
        )


def check_all_tracked(model: tf.keras.layers.Layer, made: Iterable[tf.Variable] = ()) -> None:
    """Raises ModelError for variables that training would skip.

    Args:
        made: those that the model's call has created.
    """
    tracked = {variable.op.name for variable in model.variables}
    own = [v for v in made if v.op.name.startswith(f"{model.name}/")]
    names = dict.fromkeys(v.op.name for v in [*tf.trainable_variables(), *own])
    lost = [name for name in names if name not in tracked]
    if lost:
        raise ModelError(
            f"{model.name}: {', '.join(lost)} would not be trained: keep each layer and "
            "variable in an attribute, a list or a dict of the model, not in a tuple"
        )


def check_names_free(model: tf.keras.layers.Layer, named: Iterable[str], *taken: str) -> None:
    """Raises ModelError for a name that another number has."""
    for name in set(named) & set(taken):
        raise ModelError(f"{model.name}: the name {name} is taken; choose another")


def check_no_pairs(what: str, made: Iterable[tf.Operation], labels: Any) -> None:
    """Raises ModelError where [batch] and [batch, 1] become a number for each pair of examples.

    What has one source may meet so on purpose, such as the squares of one output, for distances.

    Args:
        made: the operations of a loss or a measure, as they were made.
        labels: what it compares; all else comes from the model.
    """
    given = {each.name for each in tf.nest.flatten(labels, True) if isinstance(each, tf.Tensor)}
    sources: dict[tf.Operation, set[str]] = {}
    for operation in made:
        of_inputs = [
            {"labels"} if each.name in given else sources.get(each.op, {"outputs"})
            for each in operation.inputs
        ]
        scalar = all(each.shape.rank == 0 for each in operation.outputs)  # is of no example
        of_values = set() if scalar or operation.type == "Shape" else set().union(*of_inputs)
        sources[operation] = of_values
        for one, other in itertools.permutations(zip(operation.inputs, of_inputs), 2):
            if one[1] and other[1] and one[1] != other[1] and _pairs(one[0], other[0], operation):
                raise ModelError(
                    f"{what}: {operation.name} combines {one[0].name} {one[0].shape} and "
                    f"{other[0].name} {other[0].shape} into a number for each pair of examples; "
                    "give both one shape, as by tf.squeeze(outputs, -1); where pairs are meant, "
                    "write x[tf.newaxis] for the first"
                )


def _pairs(one: tf.Tensor, other: tf.Tensor, operation: tf.Operation) -> bool:
    """Whether [..., n] and [..., n, 1] became [..., n]: the last 1 was repeated n times."""
    if not operation.outputs or None in (one.shape.rank, other.shape.rank) or not one.shape.rank:
        return False
    result = operation.outputs[0].shape
    if other.shape.as_list() != [*one.shape.as_list(), 1] or result.rank != other.shape.rank:
        return False
    return result.as_list()[-1] == one.shape.as_list()[-1] != 1


def check_per_example(value: tf.Tensor, what: str, outputs: Any = ()) -> tf.Tensor:
    """The same numbers; raises ModelError unless there is one for each example, or one at all.

    outputs: of the model, [batch, ...], if known.
    """
    if not isinstance(value, tf.Tensor):
        raise ModelError(f"{what} is {value!r:.80}, expected a tensor [batch] or a single number")
    shapes = [x.shape for x in tf.nest.flatten(outputs) if isinstance(x, tf.Tensor)]
    sizes = {shape.as_list()[0] for shape in shapes if shape.rank}
    known = sizes and None not in sizes and value.shape.rank == 1
    other = known and value.shape.as_list()[0] not in {None, *sizes}
    if value.shape.rank is None or value.shape.rank > 1 or other:
        raise ModelError(
            f"{what} is {value.shape}, expected [batch] or a single number; labels [batch] and "
            "outputs [batch, 1] make one for each pair of examples; for one of each class, return "
            "Ratio(numerators, denominators) of engine/graph/measures.py"
        )
    return value
