"""A convolutional network of raw `tf.Variable` and `tf.nn`, without Keras layers."""

from __future__ import annotations

from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError, check_at_least
from ..engine.graph.contract import image_shape
from ..engine.graph.dropout import Dropout
from .classifier import Classifier


class CNN(Classifier):
    """Two convolutions with max pooling and two dense layers: [batch, rows, columns, channels].

    A variable that is assigned to an attribute in `build` is tracked: it is trained, clipped and
    saved like those of a Keras layer.

    Args:
        filters: of the two convolutions, 3 × 3 each.
        hidden: units of the dense layer.
        dropout: the probability of dropping a hidden unit while training.
        learning_rate, ema_decay: see `Optimization`.
        others: classes, and see `Classifier`.
    """

    def __init__(
        self,
        filters: Sequence[int] = (16, 32),
        hidden: int = 128,
        dropout: float = 0.4,
        learning_rate: float = 2e-3,
        ema_decay: float = 0.999,
        **others: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, ema_decay=ema_decay, **others)
        check_at_least(1, "model", filters=filters, hidden=hidden)
        if len(filters) != 2:
            raise ConfigError(f"model: found filters={filters}; expected two numbers")
        self.filters = tuple(filters)
        self.hidden = hidden
        self.dropout_rate = dropout

    def build(self, input_shape: tf.TensorShape) -> None:
        rows, columns, channels = image_shape(self, input_shape)
        first, second = self.filters
        self.flat = -(-rows // 4) * -(-columns // 4) * second  # pooled twice, rounded up
        self.kernel1 = _weights("conv1/kernel", [3, 3, channels, first])
        self.bias1 = tf.Variable(tf.zeros([first]), name="conv1/bias")
        self.kernel2 = _weights("conv2/kernel", [3, 3, first, second])
        self.bias2 = tf.Variable(tf.zeros([second]), name="conv2/bias")
        self.kernel3 = _weights("dense/kernel", [self.flat, self.hidden])
        self.bias3 = tf.Variable(tf.zeros([self.hidden]), name="dense/bias")
        self.kernel4 = _weights("logits/kernel", [self.hidden, self.classes])
        self.bias4 = tf.Variable(tf.zeros([self.classes]), name="logits/bias")
        self.dropout = Dropout(self.dropout_rate)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images [batch, rows, columns, channels] -> logits float32 [batch, classes]."""
        hidden = inputs
        for kernel, bias in ((self.kernel1, self.bias1), (self.kernel2, self.bias2)):
            hidden = tf.nn.conv2d(hidden, kernel, strides=1, padding="SAME")
            # Pooled first: the same as after ReLU, for a quarter of the work.
            hidden = tf.nn.max_pool2d(hidden, ksize=2, strides=2, padding="SAME")
            hidden = tf.nn.relu(tf.nn.bias_add(hidden, bias))
        hidden = tf.matmul(tf.reshape(hidden, [-1, self.flat]), self.kernel3)
        hidden = self.dropout(tf.nn.relu(hidden + self.bias3), training=training)
        return tf.matmul(hidden, self.kernel4) + self.bias4


def _weights(name: str, shape: Sequence[int]) -> tf.Variable:
    """He et al. 2015, https://arxiv.org/abs/1502.01852."""
    return tf.Variable(tf.initializers.he_normal()(shape), name=name)
