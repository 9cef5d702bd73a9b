"""What a model gets for its contract: training steps that are checked, and means to report."""

from __future__ import annotations

import functools
import re
from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ..errors import ModelError, explained
from .checks import (
    check_all_tracked,
    check_global_step,
    check_names_free,
    check_no_early_writes,
    check_no_pairs,
    check_stateless_random,
    check_writes,
    without_input,
    writes_since,
)
from .contract import check_imaginary, predictions_of
from .measures import TAKEN, Losses, Measured, Ratio, measured, numbers_of, summed, total
from .per_example import check_drawn
from .replicas import Replicas
from .seeds import seeded_by_name
from .warm_start import compiled, matching, weights_loaded
from .workers import workers_of

Nest = Any  # a tensor, or tuples and dicts of tensors


class GraphModel(tf.keras.layers.Layer):
    """The machinery of `model.Model`: builds graphs from its `call`, `loss`, `measure`, `optimize`.

    Args:
        freeze: regular expressions; variables in whose name one is found are not trained.
        name: the scope of the variables in a checkpoint; default the class's name.
    """

    calls = 0  # models that are being called, one in the other
    replicas = Replicas()  # who shares a batch: one device, unless the trainer sets others

    def __init__(self, freeze: Sequence[str], name: str | None) -> None:
        # A name of its own: Keras would count (mlp, mlp_1, ...), and a second model made in one
        # process would not find its variables in the first one's checkpoint.
        super().__init__(
            name=name
            or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__.strip("_")).lower(),
            dtype="float32",  # else Keras makes integer weights where features are integers
        )
        self.freeze = compiled(freeze, "model.freeze")
        # What `build` loads into variables, by their names; not an attribute that Keras tracks.
        self.__dict__["loaded_weights"] = {}
        if not GraphModel.calls:  # layers made in __init__ are named alike in a second model
            tf.keras.backend.reset_uids()

    def get_config(self) -> dict[str, Any]:
        """For HDF5 files of Keras; the other arguments are in the run's config.yaml."""
        return {"name": self.name}

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """What is trained: all trainable variables but the frozen ones."""
        return [v for v in super().trainable_weights if not self.is_frozen(v)]

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        frozen = [v for v in super().trainable_weights if self.is_frozen(v)]
        return frozen + super().non_trainable_weights

    def is_frozen(self, variable: tf.Variable) -> bool:
        return any(pattern.search(variable.op.name) for pattern in self.freeze)

    @tf.autograph.experimental.do_not_convert
    def __call__(self, *inputs: Any, **others: Any) -> Nest:
        """Runs `call` as it is written: AutoGraph takes a second or two to convert it.

        Floats of another type become float32; else layers make weights of their type, in which
        optimizers overflow.
        """
        inputs = tf.nest.map_structure(_float32, inputs)
        GraphModel.calls += 1
        try:
            with tf.variable_creator_scope(seeded_by_name):
                return super().__call__(*inputs, **others)
        finally:
            GraphModel.calls -= 1

    def build_step(self, features: Nest, labels: Nest) -> tuple[tf.Operation, Losses, Nest]:
        """Builds one training step; may be called again, for the body of a loop in the graph.

        Returns:
            The train op, the loss with all regularization losses, the outputs.

        Raises:
            ModelError: the contract is broken; the message names the variable or operation.
        """
        operations = len(tf.get_default_graph().get_operations())
        variables = len(tf.global_variables())
        updates_before = list(self.updates)
        outputs, loss = self.outputs_and_loss(features, labels, training=True)
        workers = workers_of()
        loss = workers.of_whole_batch(loss)
        writes, loaded = weights_loaded(writes_since(operations))
        self.loaded_weights.update(loaded)
        writes = without_input(writes, operations)
        updates = without_input(_added(self.updates, updates_before), operations)
        fetchable = tf.get_default_graph().is_fetchable
        for update in updates if fetchable(total(numbers_of(loss)).op) else ():  # not in the loop
            if not fetchable(update):
                raise ModelError(
                    f"{update.name}: an update in a branch of tf.cond, or in a loop, of which the "
                    "step would never know; call the layer outside of it, as with training=..."
                )
        numbers = numbers_of(loss)
        check_no_early_writes(writes, total(numbers))
        writes, updates = self.replicas.averaged(writes, updates)
        check_all_tracked(self, tf.global_variables()[variables:])
        self._check_settings()
        matching(self.freeze, [v.op.name for v in self.variables], "model.freeze")
        workers.average_writes(writes)
        train_op = tf.group(self.optimize(numbers, updates, writes))
        workers.end_step(train_op)
        check_stateless_random([train_op, total(numbers).op])
        check_writes(self, train_op, writes)
        self.replicas.check_first_alone(train_op)
        check_global_step(train_op, tf.train.get_or_create_global_step())
        return train_op, loss, outputs

    def _check_settings(self) -> None:
        """Raises ModelError for weights of 16 bits, metrics, and a model inside with settings."""
        narrow = [v.op.name for v in self.trainable_variables if v.dtype.size == 2]
        if narrow:
            raise ModelError(
                f"{', '.join(narrow)}: found weights of 16 bits, in which what an optimizer "
                "computes overflows; create them in float32, and cast them in call"
            )
        types = {variable.dtype.base_dtype.name for variable in self.trainable_variables}
        if len(types) > 1 or types - {"float32", "float64", "float16", "bfloat16"}:
            raise ModelError(
                f"{self.name}: found weights of {', '.join(sorted(types))}, expected float32 for "
                "all, or float64 for all; cast them in call"
            )
        if self.metrics:
            names = ", ".join(metric.name for metric in self.metrics)
            raise ModelError(
                f"{self.name}: found the metrics {names}; make a metric in measure, and return it "
                "from there, in place of add_metric or an attribute"
            )
        found = [item if isinstance(item, list) else [item] for item in vars(self).values()]
        for part in [item for items in found for item in items]:  # `submodules` warns on 1.15
            if isinstance(part, GraphModel) and (part.freeze or part.warm_start.checkpoint):
                raise ModelError(
                    f"{part.name}: freeze and warm_start of a model inside of another are ignored; "
                    f"give them to {self.name}"
                )

    def outputs_and_loss(self, features: Nest, labels: Nest, training: bool) -> tuple[Nest, Losses]:
        """The outputs, and the loss with the regularization losses; by all replicas."""
        build = functools.partial(self._outputs_and_loss, training=training)
        return self.replicas.shared(build, features, labels, self)

    def _outputs_and_loss(
        self, features: Nest, labels: Nest, training: bool
    ) -> tuple[Nest, Losses]:
        """Those of one call."""
        before, functions, built = list(self.losses), self._loss_functions(), self.built
        operations = len(tf.get_default_graph().get_operations())
        with explained(f"{self.name}.call", ModelError):
            outputs = self(features, training=training)
        if built and self._loss_functions() > functions:
            raise ModelError(
                f"{self.name}.call: hands add_loss a function, which would count once more for "
                "each call; give it what the function returns, or call add_loss in build"
            )
        made = len(tf.get_default_graph().get_operations())
        with explained(f"{self.name}.loss", ModelError):
            loss = self.loss(outputs, labels)
        made_by_loss = tf.get_default_graph().get_operations()[made:]
        check_no_pairs(f"{self.name}.loss", made_by_loss, labels)
        for part in loss.values() if isinstance(loss, dict) else [loss]:
            for each in part if isinstance(part, Ratio) else [part]:
                number = isinstance(each, tf.Tensor) and each.shape.rank == 0
                if not number or not (each.dtype.is_floating or isinstance(part, Ratio)):
                    raise ModelError(
                        f"{self.name}.loss returned {part}, expected a tensor with a single "
                        "float; take tf.reduce_mean, or the sum of several losses"
                    )
        operations_made = tf.get_default_graph().get_operations()[operations:]
        check_drawn(operations_made)
        check_imaginary(self.name, operations_made)
        added = without_input(_added(self.losses, before), operations)
        if not added:
            return outputs, loss
        if isinstance(loss, dict):
            check_names_free(self, loss, "regularization")
            return outputs, {**loss, "regularization": tf.add_n(added)}
        if isinstance(loss, Ratio):
            weight = tf.cast(loss.denominator, tf.float32)
            numerator = tf.cast(loss.numerator, tf.float32) + tf.add_n(added) * weight
            return outputs, Ratio(numerator, weight)
        return outputs, tf.add_n([loss, *added])

    def _loss_functions(self) -> int:
        """How many functions add_loss got: each makes another tensor when it is asked again."""
        return sum(one is not other for one, other in zip(self.losses, self.losses))

    def means(self, loss: Losses, outputs: Nest, labels: Nest) -> dict[str, tf.Tensor]:
        """Name -> the number of this batch alone, float32 []: the loss, its parts, each measure."""
        values, _ = measured(self, outputs, labels, reset=True)
        self.replicas.check_measured(self.name, values, outputs)
        numbers = {**self._parts(loss, values), "loss": total(loss), **values}
        return workers_of().numbers(numbers)

    def sums(
        self, loss: Losses, outputs: Nest, labels: Nest, size: tf.Tensor
    ) -> tuple[dict[str, Measured], list[tf.Variable]]:
        """What an evaluation adds up: a Ratio for each mean; and the state of streaming metrics.

        Also looks at what `predict` returns, before anything is trained that could not be used.

        Args:
            size: examples in the batch, int32 []; the mean of a short one weighs less.
        """
        values, state = measured(self, outputs, labels, reset=False)
        parts = self._parts(loss, values) or {"loss": loss}
        predictions_of(self, outputs)
        return {name: summed(value, size) for name, value in {**parts, **values}.items()}, state

    def _parts(self, loss: Losses, values: dict[str, Measured]) -> dict[str, Any]:
        """The parts of a loss of several; checks that no name is taken."""
        parts = loss if isinstance(loss, dict) else {}
        check_names_free(self, parts, *TAKEN)
        check_names_free(self, values, *TAKEN, *parts)
        return parts


def _float32(value: Any) -> Any:
    if not isinstance(value, (tf.Tensor, tf.SparseTensor)) or not value.dtype.is_floating:
        return value
    return tf.cast(value, tf.float32)


def _added(now: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """What is in `now` but not in `before`, by identity: Keras collects those of all calls."""
    known = {id(item) for item in before}
    return [item for item in now if id(item) not in known]
