"""A small residual network: He et al. 2016, https://arxiv.org/abs/1603.05027."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ..engine.errors import check_at_least
from ..engine.graph.contract import image_shape
from ..engine.graph.whole_batch import BatchNormalization
from .classifier import Classifier


class ResNet(Classifier):
    """Stages of residual blocks over images [batch, rows, columns, channels].

    The first convolution halves rows and columns, and so does each stage but the first.

    Args:
        filters: of the convolutions, one number for each stage.
        blocks: in each stage.
        weight_decay: factor of half the sum of squares of the convolutions' kernels, added to
            the loss.
        momentum: of BatchNorm's averages; the closer to 1, the slower they move.
        sync: whether several devices normalize by the whole batch, not each by its part of it.
        learning_rate, ema_decay: see `Optimization`.
        others: classes, and see `Classifier`.
    """

    def __init__(
        self,
        filters: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        weight_decay: float = 1e-4,
        momentum: float = 0.9,
        sync: bool = False,
        learning_rate: float = 2e-3,
        ema_decay: float = 0.999,
        **others: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, ema_decay=ema_decay, **others)
        check_at_least(1, "model", filters=filters, blocks=blocks)
        self.filters = tuple(filters)
        self.blocks = blocks
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.sync = sync

    def build(self, input_shape: tf.TensorShape) -> None:
        image_shape(self, input_shape, any_size=True)
        self.first = _conv(self.filters[0], 3, 2, self.weight_decay)
        self.residuals = [  # a list, not a tuple: Keras on 1.15 does not look into tuples
            Residual(filters, 2 if stage and not block else 1, self.weight_decay, self._norm)
            for stage, filters in enumerate(self.filters)
            for block in range(self.blocks)
        ]
        self.norm = self._norm()
        self.pool = tf.keras.layers.GlobalAveragePooling2D()
        self.logits = tf.keras.layers.Dense(self.classes)
        super().build(input_shape)

    def _norm(self) -> tf.keras.layers.Layer:
        norm = BatchNormalization if self.sync else tf.keras.layers.BatchNormalization
        return norm(momentum=self.momentum)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images [batch, rows, columns, channels] -> logits float32 [batch, classes]."""
        hidden = self.first(inputs)
        for residual in self.residuals:
            hidden = residual(hidden, training=training)
        hidden = tf.nn.relu(self.norm(hidden, training=training))
        return self.logits(self.pool(hidden))


class Residual(tf.keras.layers.Layer):
    """Adds two convolutions of its input to it: [batch, rows, columns, filters].

    Args:
        filters: of both convolutions.
        stride: of the first; 2 halves rows and columns.
        weight_decay: see `ResNet`.
        norm: makes a BatchNorm.
    """

    def __init__(
        self,
        filters: int,
        stride: int,
        weight_decay: float,
        norm: Callable[[], tf.keras.layers.Layer],
    ) -> None:
        super().__init__()
        self.norm1 = norm()
        self.conv1 = _conv(filters, 3, stride, weight_decay)
        self.norm2 = norm()
        self.conv2 = _conv(filters, 3, 1, weight_decay)
        # The sum needs two of one shape.
        self.shortcut = _conv(filters, 1, stride, weight_decay) if stride > 1 else None

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        active = tf.nn.relu(self.norm1(inputs, training=training))
        hidden = tf.nn.relu(self.norm2(self.conv1(active), training=training))
        return self.conv2(hidden) + (self.shortcut(active) if self.shortcut else inputs)


def _conv(filters: int, size: int, stride: int, weight_decay: float) -> tf.keras.layers.Layer:
    return tf.keras.layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=False,  # BatchNorm has one
        kernel_initializer="he_normal",
        kernel_regularizer=tf.keras.regularizers.l2(weight_decay / 2),
    )
