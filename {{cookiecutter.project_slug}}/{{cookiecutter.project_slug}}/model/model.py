"""The contract between batches and the trainer: what a model writes, and what it gets for it."""

from __future__ import annotations

import re
from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from .graph_checks import (
    check_global_step,
    refuse_early_writes,
    refuse_stateful_random,
    writes_since,
)
from .optimize import guarded_update

Nest = Any  # a tensor, or tuples and dicts of tensors


class Model(tf.keras.layers.Layer):
    """A Keras layer that also knows its loss, its optimiser, its predictions and its measures.

    Write `build` (create sub-layers and variables there, so that their names are the same in
    every run), `call` and `loss`; write `measure`, `predict` and `optimize` to change them.

    Args:
        learning_rate: step size of the optimiser.
        clip: how to limit gradients: one of {"value": x}, {"norm": x} (of each gradient) and
            {"global_norm": x} (of all together); 0 and None mean no limit.
        name: the scope of the variables in a checkpoint; default the class's name.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        clip: dict[str, float] | None = None,
        name: str | None = None,
    ) -> None:
        # A name of its own: Keras would count (mlp, mlp_1, ...), and a second model made in one
        # process would not find its variables in the first one's checkpoint.
        super().__init__(
            name=name or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        )
        self.learning_rate = learning_rate
        self.clip = dict(clip or {})
        self.optimizer = tf.train.AdamOptimizer(learning_rate)

    def call(self, inputs: Nest, training: bool = False) -> Nest:
        """Features [batch, ...] -> outputs [batch, ...], for a classifier its logits."""
        raise NotImplementedError(f"{type(self).__name__}.call is yours to write")

    def loss(self, outputs: Nest, labels: Nest) -> tf.Tensor:
        """The mean loss of a batch: float32 []. Work on logits, not on probabilities."""
        raise NotImplementedError(f"{type(self).__name__}.loss is yours to write")

    def measure(self, outputs: Nest, labels: Nest) -> dict[str, tf.Tensor]:
        """Name -> numbers [batch], one for each example; evaluation reports their means."""
        del outputs, labels
        return {}

    def predict(self, outputs: Nest) -> dict[str, tf.Tensor]:
        """Name -> [batch, ...]: what a user of the trained model wants to see."""
        return {"outputs": outputs}

    def optimize(
        self,
        loss: tf.Tensor,
        updates: Sequence[tf.Operation] = (),
        writes: Sequence[tf.Operation] = (),
    ) -> tf.Operation:
        """One update of all trainable variables and of the global step.

        Args:
            loss: float32 [].
            updates, writes: what else belongs to this step, and by which operations it writes
                variables: BatchNorm's statistics, say. See `guarded_update`.

        Raises:
            ModelError: a trainable variable does not influence the loss.
        """
        pairs = self.optimizer.compute_gradients(loss, self.trainable_variables)
        without = [variable.op.name for gradient, variable in pairs if gradient is None]
        if without:
            raise ModelError(
                f"{self.name}: the loss does not depend on {', '.join(without)}; use these "
                "variables in call, or create them with trainable=False"
            )
        step = tf.train.get_or_create_global_step()
        return guarded_update(self.optimizer, pairs, loss, self.clip, updates, writes, step)

    def training_step(self, features: Nest, labels: Nest) -> tuple[tf.Operation, tf.Tensor, Nest]:
        """Builds one training step; may be called again, for the body of a loop in the graph.

        Returns:
            The train op, the loss with all regularisation losses added (float32 []), the outputs.

        Raises:
            ModelError: the contract is broken; the message names the variable or operation.
        """
        operations = len(tf.get_default_graph().get_operations())
        updates_before = list(self.updates)
        outputs, loss = self.outputs_and_loss(features, labels, training=True)
        writes = writes_since(operations)
        refuse_early_writes(writes, loss)
        self._refuse_untracked_variables()
        train_op = tf.group(self.optimize(loss, _added(self.updates, updates_before), writes))
        refuse_stateful_random([train_op, loss.op])
        check_global_step(train_op, tf.train.get_or_create_global_step())
        return train_op, loss, outputs

    def outputs_and_loss(
        self, features: Nest, labels: Nest, training: bool
    ) -> tuple[Nest, tf.Tensor]:
        """The outputs, and the loss with the regularisation losses of this call: float32 []."""
        before = list(self.losses)
        outputs = self(features, training=training)
        loss = self.loss(outputs, labels)
        if not isinstance(loss, tf.Tensor) or loss.shape.rank != 0:
            raise ModelError(
                f"{self.name}.loss returned {loss}, expected a tensor with a single number; "
                "take tf.reduce_mean, or the sum of several losses"
            )
        return outputs, tf.add_n([loss, *_added(self.losses, before)])

    def means(self, loss: tf.Tensor, outputs: Nest, labels: Nest) -> dict[str, tf.Tensor]:
        """Name -> mean over the batch, float32 []: of the loss and of each measure."""
        measured = self.measure(outputs, labels)
        if "loss" in measured:
            raise ModelError(f"{self.name}.measure: the name loss is taken; choose another")
        return {
            name: tf.reduce_mean(tf.cast(value, tf.float32))
            for name, value in {"loss": loss, **measured}.items()
        }

    def _refuse_untracked_variables(self) -> None:
        tracked = {variable.op.name for variable in self.variables}
        lost = [v.op.name for v in tf.trainable_variables() if v.op.name not in tracked]
        if lost:
            raise ModelError(
                f"{self.name}: {', '.join(lost)} would not be trained: keep each layer and "
                "variable in an attribute, a list or a dict of the model, not in a tuple"
            )


def _added(now: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """What is in `now` but not in `before`, by identity: Keras gathers those of all calls."""
    known = {id(item) for item in before}
    return [item for item in now if id(item) not in known]
