"""The contract between batches and the trainer: what a model writes, and what it gets for it."""

from __future__ import annotations

import re
from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from .optimize import guarded_update

Nest = Any  # a tensor, or tuples and dicts of tensors

# These keep a state that a checkpoint does not hold: with one of them in a training step, a
# restarted run ends with other weights. `Dropout` and tf.random.stateless_* have none.
STATEFUL_RANDOM = {
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "TruncatedNormal",
}


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
        """Name -> float32 [batch], one value for each example; evaluation reports the means."""
        del outputs, labels
        return {}

    def predict(self, outputs: Nest) -> dict[str, tf.Tensor]:
        """Name -> [batch, ...]: what a user of the trained model wants to see."""
        return {"outputs": outputs}

    def optimize(self, loss: tf.Tensor, updates: Sequence[tf.Operation] = ()) -> tf.Operation:
        """One update of all trainable variables and of the global step.

        Args:
            loss: float32 [].
            updates: other writes of this step (BatchNorm's statistics, say).

        Raises:
            ModelError: a trainable variable does not influence the loss.
        """
        variables = self.trainable_variables
        pairs = self.optimizer.compute_gradients(loss, variables)
        without = [variable.op.name for gradient, variable in pairs if gradient is None]
        if without:
            raise ModelError(
                f"{self.name}: the loss does not depend on {', '.join(without)}; use these "
                "variables in call, or create them with trainable=False"
            )
        return guarded_update(
            self.optimizer,
            pairs,
            loss,
            clip=self.clip,
            updates=updates,
            global_step=tf.train.get_or_create_global_step(),
        )

    def training_step(self, features: Nest, labels: Nest) -> tuple[tf.Operation, tf.Tensor, Nest]:
        """Builds one training step; may be called again, for the body of a loop in the graph.

        Returns:
            The train op, the loss with all regularisation losses added (float32 []), the outputs.

        Raises:
            ModelError: the contract is broken; the message names the variable or operation.
        """
        updates_before, losses_before = list(self.updates), list(self.losses)
        outputs = self(features, training=True)
        # Keras gathers the updates and losses of all calls; only this call's belong to this step.
        updates = _added(self.updates, updates_before)
        loss = self.loss(outputs, labels)
        if loss.shape.rank != 0:
            raise ModelError(
                f"{self.name}.loss returned the shape {loss.shape}, expected a single number; "
                "take tf.reduce_mean of it"
            )
        loss = tf.add_n([loss, *_added(self.losses, losses_before)])
        self._refuse_untracked_variables()
        train_op = self.optimize(loss, updates)
        _refuse_stateful_random([train_op, loss.op])
        return train_op, loss, outputs

    def _refuse_untracked_variables(self) -> None:
        tracked = {variable.op.name for variable in self.trainable_variables}
        lost = [v.op.name for v in tf.trainable_variables() if v.op.name not in tracked]
        if lost:
            raise ModelError(
                f"{self.name}: {', '.join(lost)} would not be trained: keep each layer and "
                "variable in an attribute, a list or a dict of the model, not in a tuple"
            )


def _added(now: Sequence[Any], before: Sequence[Any]) -> list[Any]:
    """What is in `now` but not in `before`, by identity: comparing tensors builds operations."""
    known = {id(item) for item in before}
    return [item for item in now if id(item) not in known]


def _refuse_stateful_random(targets: Sequence[tf.Operation]) -> None:
    """Raises ModelError if a target depends on a random operation with a hidden state."""
    seen, queue = set(targets), list(targets)
    while queue:
        operation = queue.pop()
        if operation.type in STATEFUL_RANDOM:
            raise ModelError(
                f"{operation.name} ({operation.type}) draws other numbers after a restart: use "
                "the Dropout of this package, or tf.random.stateless_* keyed by training_step()"
            )
        inputs = [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
        queue.extend(set(inputs) - seen)
        seen.update(inputs)
