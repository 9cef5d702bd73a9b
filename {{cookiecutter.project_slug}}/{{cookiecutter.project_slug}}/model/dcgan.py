"""The two networks of a DCGAN, Radford et al. 2016, https://arxiv.org/abs/1511.06434."""

from __future__ import annotations

from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from .spectral_norm import Conv


class Generator(tf.keras.layers.Layer):
    """Noise float32 [batch, latent] -> images float32 [batch, rows, columns, channels], 0–1.

    Args:
        shape: rows, columns and channels; the first two can be divided by 4.
        filters: of the convolution before the last; twice as many before that.
    """

    def __init__(self, shape: Sequence[int], filters: int, **others: Any) -> None:
        super().__init__(**others)
        rows, columns, channels = shape
        self.start = (rows // 4, columns // 4, 2 * filters)
        units = self.start[0] * self.start[1] * self.start[2]
        layers = tf.keras.layers
        self.dense = layers.Dense(units, use_bias=False)  # BatchNorm has one
        self.norm1 = layers.BatchNormalization(momentum=0.9)
        self.conv1 = layers.Conv2DTranspose(filters, 4, 2, padding="same", use_bias=False)
        self.norm2 = layers.BatchNormalization(momentum=0.9)
        self.conv2 = layers.Conv2DTranspose(channels, 4, 2, padding="same")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        hidden = tf.reshape(self.dense(inputs), [-1, *self.start])
        hidden = tf.nn.relu(self.norm1(hidden, training=training))
        hidden = tf.nn.relu(self.norm2(self.conv1(hidden), training=training))
        return tf.sigmoid(self.conv2(hidden))

    def samples(self, noise: tf.Tensor) -> tf.Tensor:
        """Noise float32 [64, latent] -> a picture of 8 × 8 images, uint8 [1, ...], 0–255."""
        # Said explicitly: a layer called without `training` takes that of the call it is in.
        images = self(noise, training=False)
        _, rows, columns, channels = images.shape.as_list()
        images = tf.transpose(tf.reshape(images, [8, 8, rows, columns, channels]), [0, 2, 1, 3, 4])
        images = tf.reshape(images, [1, 8 * rows, 8 * columns, channels])
        return tf.cast(255 * images, tf.uint8)  # floats would be scaled by the summary


class Discriminator(tf.keras.layers.Layer):
    """Images float32 [batch, rows, columns, channels], 0–1 -> logits of "is real" [batch].

    Without BatchNorm, so that real and drawn images can share a batch.

    Args:
        filters: of the first convolution; twice as many in the second.
        spectral_norm: whether to divide its kernels by their norm.
    """

    def __init__(self, filters: int, spectral_norm: bool, **others: Any) -> None:
        super().__init__(**others)
        self.conv1 = Conv(filters, 4, 2, spectral_norm)
        self.conv2 = Conv(2 * filters, 4, 2, spectral_norm)
        self.logit = Conv(1, 1, 1, spectral_norm)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        hidden = tf.nn.leaky_relu(self.conv1(2 * inputs - 1, training=training))
        hidden = tf.nn.leaky_relu(self.conv2(hidden, training=training))
        flat = tf.reshape(hidden, [-1, 1, 1, hidden.shape[1:].num_elements()])
        return tf.reshape(self.logit(flat, training=training), [-1])
