"""A multi-layer perceptron: one hidden layer, dropout, logits."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ..errors import ConfigError
from .dropout import Dropout
from .model import Model


class MLP(Model):
    """Classifies [batch, ...] features, flattened, into `classes` classes.

    Args:
        hidden: units in the hidden layer.
        classes: the number of different labels.
        dropout: the probability of dropping a hidden unit while training.
        others: learning_rate, clip, name: see `Model`.
    """

    def __init__(
        self, hidden: int = 256, classes: int = 10, dropout: float = 0.2, **others: Any
    ) -> None:
        super().__init__(**others)
        if hidden < 1 or classes < 1:
            raise ConfigError(
                f"model: found hidden={hidden}, classes={classes}; expected 1 or more"
            )
        self.hidden = hidden
        self.classes = classes
        self.dropout_rate = dropout

    def build(self, input_shape: tf.TensorShape) -> None:
        self.flatten = tf.keras.layers.Flatten()
        self.dense = tf.keras.layers.Dense(self.hidden, activation="relu")
        self.dropout = Dropout(self.dropout_rate)
        self.logits = tf.keras.layers.Dense(self.classes)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Features [batch, ...] -> logits float32 [batch, classes]."""
        hidden = self.dropout(self.dense(self.flatten(inputs)), training=training)
        return self.logits(hidden)

    def loss(self, outputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Logits [batch, classes], labels int32 [batch] -> mean cross-entropy, nats, []."""
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=outputs)
        )

    def measure(self, outputs: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """accuracy: float32 [batch], 1 where the largest logit is the label's."""
        predicted = tf.argmax(outputs, axis=1, output_type=tf.int32)
        return {"accuracy": tf.cast(tf.equal(predicted, labels), tf.float32)}

    def predict(self, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """class: int64 [batch]; probabilities: float32 [batch, classes]."""
        return {"class": tf.argmax(outputs, axis=1), "probabilities": tf.nn.softmax(outputs)}
