"""A multi-layer perceptron: one hidden layer, dropout, logits."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ..engine.errors import check_at_least
from ..engine.graph.contract import floats
from ..engine.graph.dropout import Dropout
from .classifier import Classifier


class MLP(Classifier):
    """Classifies [batch, ...] features, flattened, into classes.

    Args:
        hidden: units in the hidden layer.
        dropout: the probability of dropping a hidden unit while training.
        learning_rate: step size of the optimizer.
        others: classes, and see `Classifier`.
    """

    def __init__(
        self, hidden: int = 256, dropout: float = 0.2, learning_rate: float = 2e-3, **others: Any
    ) -> None:
        super().__init__(learning_rate=learning_rate, **others)
        check_at_least(1, "model", hidden=hidden)
        self.hidden = hidden
        self.dropout_rate = dropout

    def build(self, input_shape: tf.TensorShape) -> None:
        self.flatten = tf.keras.layers.Flatten()
        self.dense = tf.keras.layers.Dense(self.hidden, activation="relu")
        self.dropout = Dropout(self.dropout_rate)
        self.logits = tf.keras.layers.Dense(self.classes)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Features [batch, ...] -> logits float32 [batch, classes]."""
        hidden = self.dense(self.flatten(floats(self, inputs)))
        return self.logits(self.dropout(hidden, training=training))
