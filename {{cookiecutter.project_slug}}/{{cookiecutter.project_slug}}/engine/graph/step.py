"""What a model gets for its contract: training steps that are checked, and means to report."""

from __future__ import annotations

import re
import zlib
from typing import Any, Callable, Dict, Sequence, Union

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from .checks import (
    ancestors,
    check_all_tracked,
    check_global_step,
    check_names_free,
    check_nested_settings,
    check_no_early_writes,
    check_per_example,
    check_stateless_random,
    check_writes,
    shape_errors,
    writes_since,
)
from .warm_start import compiled, matching

Nest = Any  # a tensor, or tuples and dicts of tensors
Losses = Union[tf.Tensor, Dict[str, tf.Tensor]]  # float32 [] each


class GraphModel(tf.keras.layers.Layer):
    """The machinery of `model.Model`: builds graphs from its `call`, `loss`, `measure`, `optimize`.

    Args:
        freeze: regular expressions; variables in whose name one is found are not trained.
        name: the scope of the variables in a checkpoint; default the class's name.
    """

    def __init__(self, freeze: Sequence[str], name: str | None) -> None:
        # A name of its own: Keras would count (mlp, mlp_1, ...), and a second model made in one
        # process would not find its variables in the first one's checkpoint.
        super().__init__(
            name=name
            or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__.strip("_")).lower(),
            dtype="float32",  # else Keras makes integer weights where features are integers
        )
        self.freeze = compiled(freeze, "model.freeze")

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
        """Runs `call` as it is written: AutoGraph takes a second or two to convert it."""
        with tf.variable_creator_scope(_seeded_by_name):
            return super().__call__(*inputs, **others)

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
        writes = writes_since(operations)
        check_no_early_writes(writes, total(loss))
        check_all_tracked(self, tf.global_variables()[variables:])
        check_nested_settings(self)
        matching(self.freeze, [v.op.name for v in self.variables], "model.freeze")
        train_op = tf.group(self.optimize(loss, _added(self.updates, updates_before), writes))
        check_stateless_random([train_op, total(loss).op])
        check_writes(self, train_op, writes)
        check_global_step(train_op, tf.train.get_or_create_global_step())
        return train_op, loss, outputs

    def outputs_and_loss(self, features: Nest, labels: Nest, training: bool) -> tuple[Nest, Losses]:
        """The outputs, and the loss with the regularization losses of this call."""
        before = list(self.losses)
        with shape_errors(self):
            outputs = self(features, training=training)
            loss = self.loss(outputs, labels)
        for part in loss.values() if isinstance(loss, dict) else [loss]:
            if not isinstance(part, tf.Tensor) or part.shape.rank != 0:
                raise ModelError(
                    f"{self.name}.loss returned {part}, expected a tensor with a single number; "
                    "take tf.reduce_mean, or the sum of several losses"
                )
        added = _added(self.losses, before)
        if not added:
            return outputs, loss
        if isinstance(loss, dict):
            check_names_free(self, loss, "regularization")
            return outputs, {**loss, "regularization": tf.add_n(added)}
        return outputs, tf.add_n([loss, *added])

    def means(self, loss: Losses, outputs: Nest, labels: Nest) -> dict[str, tf.Tensor]:
        """Name -> mean over the batch, float32 []: of the loss, its parts and each measure."""
        measured = self.measure(outputs, labels)
        parts = loss if isinstance(loss, dict) else {}
        check_names_free(self, parts, "loss")
        check_names_free(self, measured, "loss", *parts)
        for name, value in measured.items():
            check_per_example(value, f"{self.name}.measure: {name}")
        numbers = {**parts, "loss": total(loss), **measured}
        return {name: tf.reduce_mean(tf.cast(each, tf.float32)) for name, each in numbers.items()}


def _seeded_by_name(create: Callable[..., tf.Variable], **settings: Any) -> tf.Variable:
    """Creates a variable whose random initial value depends on its name and the graph's seed.

    TensorFlow takes the number of operations made before, unless an initializer has a seed of its
    own, which is replaced, too: then the weights would depend on how the data are read.
    """
    variable = create(**settings)
    if tf.get_default_graph().seed is not None and variable.initial_value is not None:
        drawn = [op for op in ancestors([variable.initial_value.op]) if "seed2" in op.node_def.attr]
        for number, op in enumerate(sorted(drawn, key=lambda op: op.name)):
            seed = zlib.crc32(f"{variable.op.name} {number}".encode())
            op._set_attr("seed2", tf.AttrValue(i=seed))
    return variable


def total(loss: Losses) -> tf.Tensor:
    """The sum of all parts of a loss: float32 []."""
    return tf.add_n(tf.nest.flatten(loss))


def _added(now: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """What is in `now` but not in `before`, by identity: Keras collects those of all calls."""
    known = {id(item) for item in before}
    return [item for item in now if id(item) not in known]
