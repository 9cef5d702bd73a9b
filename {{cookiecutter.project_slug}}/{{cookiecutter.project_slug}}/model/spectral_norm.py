"""A convolution whose kernel can be kept at spectral norm 1: Miyato et al. 2018."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


class Conv(tf.keras.layers.Layer):
    """A convolution; with spectral_norm its kernel is divided by its largest singular value.

    https://arxiv.org/abs/1802.05957, with one turn of the power iteration in each training step.
    """

    def __init__(self, filters: int, size: int, stride: int, spectral_norm: bool) -> None:
        super().__init__()
        self.filters = filters
        self.size = size
        self.stride = stride
        self.spectral_norm = spectral_norm

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = [self.size, self.size, input_shape.as_list()[-1], self.filters]
        self.kernel = self.add_weight("kernel", shape)
        self.bias = self.add_weight("bias", [self.filters], initializer="zeros")
        if self.spectral_norm:
            self.vector = self.add_weight(
                "vector", [1, self.filters], initializer="ones", trainable=False
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        kernel = self._normed(training) if self.spectral_norm else self.kernel
        return tf.nn.conv2d(inputs, kernel, self.stride, "SAME") + self.bias

    def _normed(self, training: bool) -> tf.Tensor:
        matrix = tf.reshape(self.kernel, [-1, self.filters])
        fixed = tf.stop_gradient(matrix)
        left = tf.math.l2_normalize(tf.matmul(self.vector.read_value(), fixed, transpose_b=True))
        right = tf.math.l2_normalize(tf.matmul(left, fixed))
        if training:
            self.add_update(self.vector.assign(right))  # here `right` itself is used
        return self.kernel / tf.reduce_sum(tf.matmul(left, matrix) * right)
