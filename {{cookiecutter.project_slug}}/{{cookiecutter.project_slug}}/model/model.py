"""The contract between batches and the trainer: what a model writes, and what it gets for it."""

from __future__ import annotations

from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ..engine.graph.checks import check_per_example
from ..engine.graph.measures import Losses, Ratio, total
from ..engine.graph.optimize import Optimization
from ..engine.graph.step import GraphModel, Nest
from ..engine.graph.warm_start import WarmStart
from .losses import Loss
from .schedules import Schedule, constant


class Model(GraphModel):
    """A Keras layer that also knows its loss, its optimizer, its predictions and its measures.

    Implement `build` (create sub-layers and variables there, so that their names are the same in
    every run), `call` and `loss`; override `measure`, `predict` and `optimize` to change them.
    `Nest` is a tensor, or tuples and dicts of tensors; `Losses` one loss, or a dict of several.

    The engine calls these; `GraphModel` builds them from your methods, and checks the graph:
        build_step(features, labels) -> train op, loss, outputs
        outputs_and_loss(features, labels, training) -> outputs, loss
        means(loss, outputs, labels) -> {"loss": float32 [], <measure>: float32 []}

    Args:
        freeze: regular expressions; variables in whose name one is found are not trained.
            (BatchNorm's statistics still move, unless you call it with training=False.)
        warm_start: initial weights from another run: the arguments of `WarmStart`.
        name: the scope of the variables in a checkpoint; default the class's name.
        loss: a closure of `losses`, or any function (labels, outputs) -> float32 [batch] or [],
            or a `Ratio`; not needed by a model that implements its own `loss`.
        schedule: global step, int64 [] -> factor of the learning rate; see `schedules`.
        optimization: learning_rate, optimizer, clip, ema_decay and others: see `Optimization`.
    """

    others = Optimization  # takes what `__init__` does not name; settings are checked against it

    def __init__(
        self,
        freeze: Sequence[str] = (),
        warm_start: dict[str, Any] | None = None,
        name: str | None = None,
        loss: Loss | None = None,
        schedule: Schedule | None = None,
        **optimization: Any,
    ) -> None:
        super().__init__(freeze, name)
        self.loss_function = loss
        self.warm_start = WarmStart(**(warm_start or {}))
        self.optimization = Optimization(schedule=schedule or constant(), **optimization)

    def call(self, inputs: Nest, training: bool = False) -> Nest:
        """Features [batch, ...] -> outputs [batch, ...], for a classifier its logits."""
        raise NotImplementedError(f"{type(self).__name__}.call must be implemented")

    def loss(self, outputs: Nest, labels: Nest) -> Losses:
        """The mean loss of a batch: float32 []. Work on logits, not on probabilities.

        Several losses are name -> float32 []: their sum counts, and each is reported. A mean of
        tokens is a `Ratio` of sums, in which each token counts the same whatever its batch.
        Default: the mean of the function that the model was given.
        """
        if self.loss_function is None:
            raise NotImplementedError(f"{type(self).__name__}.loss must be implemented, or given")
        loss = self.loss_function(labels, outputs)
        if isinstance(loss, Ratio):
            return loss
        return tf.reduce_mean(check_per_example(loss, f"{self.name}: the loss"))

    def measure(self, outputs: Nest, labels: Nest) -> dict[str, Any]:
        """Name -> numbers [batch], one for each example; evaluation reports their means.

        What is no mean of examples is a `Ratio` of sums over the batch, which evaluation adds up,
        or a metric made here: a pair of `tf.metrics`, a `tf.keras.metrics.Metric` after its
        `update_state`. Evaluation resets these; a line about training is of its batch alone.
        """
        return {}

    def predict(self, outputs: Nest) -> dict[str, tf.Tensor]:
        """Name -> [batch, ...]: what a user of the trained model wants to see."""
        return {"outputs": outputs}

    def optimize(self, loss: Losses, updates: Any = (), writes: Any = ()) -> tf.Operation:
        """One update of all trainable variables and of the global step.

        An override ends in `self.optimization.update`, or is built as that is, of `gradients`,
        `guard` and `apply`: so a NaN stops it before it writes.

        Args:
            loss: as `loss` returned it, with the regularization losses.
            updates, writes: operations that belong to this step and that write variables, such
                as those of BatchNorm's statistics: see `optimize.guard`.

        Raises:
            ModelError: a trainable variable does not influence the loss.
        """
        return self.optimization.update(total(loss), self.trainable_variables, updates, writes)
