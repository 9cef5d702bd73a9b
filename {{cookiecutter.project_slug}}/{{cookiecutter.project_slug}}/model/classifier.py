"""What all classifiers share: cross-entropy, accuracy, probabilities."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ..engine.errors import check_at_least
from .losses import Loss, crossentropy
from .model import Model


class Classifier(Model):
    """A model whose `call` returns logits float32 [batch, classes]; labels are int32 [batch].

    Args:
        classes: the number of different labels.
        loss: a closure of `losses`; default cross-entropy.
        others: learning_rate, schedule, clip, name: see `Model`.
    """

    def __init__(self, classes: int = 10, loss: Loss | None = None, **others: Any) -> None:
        super().__init__(loss=loss or crossentropy(), **others)
        check_at_least(1, "model", classes=classes)
        self.classes = classes

    def measure(self, outputs: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """accuracy: float32 [batch], 1 where the largest logit is the label's."""
        labels = tf.cast(tf.reshape(labels, [-1]), tf.int32)  # as the losses do
        predicted = tf.argmax(outputs, axis=1, output_type=tf.int32)
        return {"accuracy": tf.cast(tf.equal(predicted, labels), tf.float32)}

    def predict(self, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """class: int64 [batch]; probabilities: float32 [batch, classes]."""
        return {"class": tf.argmax(outputs, axis=1), "probabilities": tf.nn.softmax(outputs)}
