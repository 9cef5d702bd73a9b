"""One batch on several devices in step: each takes its part, and one loss comes out."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Callable, Iterator, Sequence, Tuple

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from .checks import ancestors, written_by
from .parts import Nest, Part, joined, joined_loss, shared_out
from .per_example import is_averaged, taken
from .whole_batch import sum_all, summing

Build = Callable[[Nest, Nest], Tuple[Nest, Any]]  # features, labels -> outputs, loss

_GRAPHS: Any = weakref.WeakSet()  # those in which several replicas share a batch


class Replicas:
    """Builds a model once for each device; its variables are on the first, one copy of each.

    So a checkpoint does not know how many there were, and what happens to the loss afterwards
    (gradients, clipping, the guard, averages, any `optimize`) is that of one device: gradients
    are summed by tf.gradients.

    Args:
        devices: names such as "/device:GPU:1"; that of a single one has no effect.
    """

    def __init__(self, devices: Sequence[str] = ("",)) -> None:
        self.devices = tuple(devices)
        self._made: list[set[tf.Operation]] = []  # by each replica, in the last `shared`
        self._first: Nest = ()  # the first replica's part of its batch
        self._left_out: set[tf.Operation] = set()  # by the last `averaged`

    def shared(
        self, build: Build, features: Nest, labels: Nest, layer: tf.keras.layers.Layer
    ) -> tuple[Nest, Any]:
        """What `build` returns for the batch: outputs [batch, ...] in its order, and the loss.

        The loss is the mean of those of the parts, weighted by their examples; of a `Ratio`, both
        sums are added up. An output that is a number becomes its mean.

        Args:
            build: builds one replica, of part of the features and labels.
            features, labels: of the whole batch.
            layer: whose variables it reads.

        Raises:
            DataError: features and labels are not of one number of examples.
            ModelError: variables are created in each call.
        """
        if len(self.devices) == 1:
            return build(features, labels)
        graph, found, starts = tf.get_default_graph(), [], []
        _GRAPHS.add(graph)
        with tf.device("/device:CPU:0"), tf.name_scope("parts"):
            parts = shared_out((features, labels), len(self.devices))
        self._first = parts[0][1]
        asked: list[list[tf.Operation]] = [[] for _ in parts]
        for number, (part, batch) in enumerate(parts):
            starts.append(len(graph.get_operations()))
            placed, copied = self._placed(number, part), self._copied(number, layer)
            with placed, copied, summing(part, asked[number]):
                found.append(build(*batch))
        operations = graph.get_operations()
        bounds = zip(starts, [*starts[1:], len(operations)])
        self._made = [set(operations[start:end]) for start, end in bounds]
        with tf.device(self.devices[0]), tf.name_scope("joined"):
            sum_all(asked)
        all_outputs, losses = zip(*found)
        taken_parts = [part for part, _ in parts]
        with tf.name_scope("joined"):
            outputs = tf.nest.map_structure(lambda *each: joined(each, taken_parts), *all_outputs)
            return outputs, joined_loss(losses, taken_parts)

    @contextlib.contextmanager
    def _placed(self, number: int, part: Part) -> Iterator[None]:
        """On the replica's device; only the first creates variables and shows summaries."""
        # It has the names that it would have without the others.
        scope = tf.name_scope(f"replica_{number}") if number else contextlib.nullcontext()
        summaries = tf.get_collection_ref(tf.GraphKeys.SUMMARIES)
        shown, variables = len(summaries), len(tf.global_variables())
        with tf.device(self.devices[number]), scope, taken(part):
            yield
        if not number:
            return
        del summaries[shown:]
        made = [variable.op.name for variable in tf.global_variables()[variables:]]
        if made:
            raise ModelError(
                f"{', '.join(made)}: created again for replica {number}, which would train them "
                "separately; create variables in __init__ or build"
            )

    @contextlib.contextmanager
    def _copied(self, number: int, layer: tf.keras.layers.Layer) -> Iterator[None]:
        """Other replicas read each variable once: else in each turn of a loop, as one over time.

        Their gradients are then added up on their own device, too, before they cross over.
        """
        variables = layer.variables if number else []
        with tf.name_scope("copies"):
            copies = [tf.identity(variable.read_value()) for variable in variables]
        with read_as(variables, copies):
            yield

    def averaged(
        self, writes: Sequence[tf.Operation], updates: Sequence[Any]
    ) -> tuple[list[tf.Operation], list[Any]]:
        """Those of the first replica, which now write the mean of what all replicas would.

        So BatchNorm's statistics are means over the replicas.

        Args:
            writes: operations of the last `shared` that write variables.
            updates: operations or tensors that lead to them.

        Raises:
            ModelError: replicas write different variables, or in a way that has no mean.
        """
        if len(self.devices) == 1:
            return list(writes), list(updates)
        of_each = [[write for write in writes if write in made] for made in self._made]
        targets = [[(write.type, written_by(write)[0]) for write in of_one] for of_one in of_each]
        if any(each != targets[0] for each in targets):
            names = "; ".join(", ".join(write.name for write in of_one) for of_one in of_each)
            raise ModelError(
                f"replicas write different variables: {names}; write the same ones in each call, "
                "or set trainer.replicas=1"
            )
        for write, *others in zip(*of_each):
            if not is_averaged(write, self._first):
                continue
            values = [each.inputs[-1] for each in (write, *others)]
            with tf.device(self.devices[0]), tf.name_scope("joined"):
                mean = tf.add_n(values) / len(values)
            write._update_input(len(write.inputs) - 1, mean)
        first = self._made[0]
        self._left_out = {write for of_one in of_each[1:] for write in of_one}
        return of_each[0], [each for each in updates if getattr(each, "op", each) in first]

    def check_measured(self, name: str, measured: Nest, outputs: Nest) -> None:
        """Raises ModelError if measures of a batch look at a single replica.

        Args:
            name: of the model.
            measured: what is measured.
            outputs: those of the whole batch, which measures may depend on.
        """
        alone = set().union(*self._made[1:])
        ends = {x.op for x in tf.nest.flatten(outputs, True) if isinstance(x, tf.Tensor)}
        targets = [x.op for x in tf.nest.flatten(measured, True) if isinstance(x, tf.Tensor)]
        if alone and alone & ancestors(targets, ends=ends):
            raise ModelError(
                f"{name}.measure: takes what call keeps, as in an attribute, which is of one "
                "replica's part of the batch; return it from call, among the outputs"
            )

    def check_first_alone(self, train_op: tf.Operation) -> None:
        """Raises ModelError if a step runs what the last `averaged` left out."""
        again = [op.name for op in self._left_out & ancestors([train_op])]
        if again:
            raise ModelError(
                f"{', '.join(sorted(again))}: written by a replica for itself, too; in optimize, "
                "take the updates and writes that it gets, not self.updates"
            )


@contextlib.contextmanager
def read_as(variables: Sequence[tf.Variable], values: Sequence[tf.Tensor]) -> Iterator[None]:
    """Inside of the `with`, layers get these values where they read the variables."""
    try:
        for variable, value in zip(variables, values):
            variable._cached_value = value
        yield
    finally:
        for variable in variables:
            variable._cached_value = None


def is_shared(graph: tf.Graph) -> bool:
    """Whether several replicas share a batch in this graph."""
    return graph in _GRAPHS
