"""The contract between batches and the trainer: what a model writes, and what it gets for it."""

from __future__ import annotations

import re
from typing import Any, Dict, Sequence, Union

import tensorflow.compat.v1 as tf

from ..engine.errors import ModelError
from ..engine.graph.checks import (
    check_all_tracked,
    check_global_step,
    check_names_free,
    check_nested_settings,
    check_no_early_writes,
    check_stateless_random,
    check_writes,
    one_for_each,
    shape_errors,
    writes_since,
)
from ..engine.graph.optimize import Optimization
from ..engine.graph.warm_start import WarmStart, compiled, matching
from .losses import Loss

Nest = Any  # a tensor, or tuples and dicts of tensors
Losses = Union[tf.Tensor, Dict[str, tf.Tensor]]  # float32 [] each


class Model(tf.keras.layers.Layer):
    """A Keras layer that also knows its loss, its optimiser, its predictions and its measures.

    Write `build` (create sub-layers and variables there, so that their names are the same in
    every run), `call` and `loss`; write `measure`, `predict` and `optimize` to change them.

    Args:
        freeze: regular expressions; variables in whose name one is found are not trained.
            (BatchNorm's statistics still move, unless you call it with training=False.)
        warm_start: initial weights from another run: the arguments of `WarmStart`.
        name: the scope of the variables in a checkpoint; default the class's name.
        loss: a closure of `losses`, or any function (labels, outputs) -> float32 [batch] or [];
            not needed by a model that writes its own `loss`.
        optimization: learning_rate, schedule, optimizer, clip, accumulate, ema_decay, loss_scale:
            see `Optimization`.
    """

    def __init__(
        self,
        freeze: Sequence[str] = (),
        warm_start: dict[str, Any] | None = None,
        name: str | None = None,
        loss: Loss | None = None,
        **optimization: Any,
    ) -> None:
        # A name of its own: Keras would count (mlp, mlp_1, ...), and a second model made in one
        # process would not find its variables in the first one's checkpoint.
        super().__init__(
            name=name
            or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__.strip("_")).lower(),
            dtype="float32",  # else Keras makes integer weights where features are integers
        )
        self.loss_function = loss
        self.freeze = compiled(freeze, "model.freeze")
        self.warm_start = WarmStart(**(warm_start or {}))
        self.optimization = Optimization(**optimization)

    def get_config(self) -> dict[str, Any]:
        """For HDF5 files of Keras; the other arguments are in the run's config.yaml."""
        return {"name": self.name}

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """What is trained: all trainable variables but the frozen ones."""
        return [v for v in super().trainable_weights if not self._is_frozen(v)]

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        frozen = [v for v in super().trainable_weights if self._is_frozen(v)]
        return frozen + super().non_trainable_weights

    @tf.autograph.experimental.do_not_convert
    def __call__(self, *inputs: Any, **others: Any) -> Nest:
        """Runs `call` as it is written: AutoGraph takes a second or two to make another of it."""
        return super().__call__(*inputs, **others)

    def call(self, inputs: Nest, training: bool = False) -> Nest:
        """Features [batch, ...] -> outputs [batch, ...], for a classifier its logits."""
        raise NotImplementedError(f"{type(self).__name__}.call is yours to write")

    def loss(self, outputs: Nest, labels: Nest) -> Losses:
        """The mean loss of a batch: float32 []. Work on logits, not on probabilities.

        Several losses are name -> float32 []: their sum counts, and each is reported. Default:
        the mean of the function that the model was given.
        """
        if self.loss_function is None:
            raise NotImplementedError(f"{type(self).__name__}.loss is yours to write, or to give")
        loss = one_for_each(self.loss_function(labels, outputs), f"{self.name}: the loss")
        return tf.reduce_mean(loss)

    def measure(self, outputs: Nest, labels: Nest) -> dict[str, tf.Tensor]:
        """Name -> numbers [batch], one for each example; evaluation reports their means."""
        del outputs, labels
        return {}

    def predict(self, outputs: Nest) -> dict[str, tf.Tensor]:
        """Name -> [batch, ...]: what a user of the trained model wants to see."""
        return {"outputs": outputs}

    def optimize(self, loss: Losses, updates: Any = (), writes: Any = ()) -> tf.Operation:
        """One update of all trainable variables and of the global step.

        One of your own ends in `self.optimization.update`, or is built as that is, of `gradients`,
        `guard` and `apply`: so a NaN stops it before it writes.

        Args:
            loss: as `loss` returned it, with the regularisation losses.
            updates, writes: operations that belong to this step and that write variables, such
                as those of BatchNorm's statistics: see `optimize.guard`.

        Raises:
            ModelError: a trainable variable does not influence the loss.
        """
        return self.optimization.update(total(loss), self.trainable_variables, updates, writes)

    def build_step(self, features: Nest, labels: Nest) -> tuple[tf.Operation, Losses, Nest]:
        """Builds one training step; may be called again, for the body of a loop in the graph.

        Returns:
            The train op, the loss with all regularisation losses, the outputs.

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
        """The outputs, and the loss with the regularisation losses of this call."""
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
            one_for_each(value, f"{self.name}.measure: {name}")
        numbers = {**parts, "loss": total(loss), **measured}
        return {name: tf.reduce_mean(tf.cast(each, tf.float32)) for name, each in numbers.items()}

    def _is_frozen(self, variable: tf.Variable) -> bool:
        return any(pattern.search(variable.op.name) for pattern in self.freeze)


def total(loss: Losses) -> tf.Tensor:
    """The sum of all parts of a loss: float32 []."""
    return tf.add_n(tf.nest.flatten(loss))


def _added(now: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """What is in `now` but not in `before`, by identity: Keras gathers those of all calls."""
    known = {id(item) for item in before}
    return [item for item in now if id(item) not in known]
