"""A small data set, a model and an address that tests share."""

import socket

import numpy as np
import tensorflow.compat.v1 as tf
from my_project.data.dataset import Dataset
from my_project.model.mlp import MLP

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(101, 4).astype(np.float32)
Y = RANDOM.randint(0, 3, 101).astype(np.int32)


class Toy(Dataset):
    """101 examples of four numbers and three classes, the same in both splits."""

    classes = 3

    def records(self, split):
        return tf.data.Dataset.from_tensor_slices((X, Y))

    def convert(self, x, y):
        return x, y


class FirstWords(Dataset):
    """Sequences of 1 to 8 words below 5, filled up with any; the label is the first word."""

    def records(self, split):
        random = np.random.RandomState(self.splits.index(split))
        return tf.data.Dataset.from_tensor_slices(
            {
                "sequence": random.randint(0, 5, [640, 8]).astype(np.int32),
                "length": random.randint(1, 9, [640]).astype(np.int32),
            }
        )

    def convert(self, record):
        return record, record["sequence"][:, 0]


class Normed(MLP):
    """An MLP with batch normalization, whose statistics every step moves."""

    def build(self, input_shape):
        self.norm = tf.keras.layers.BatchNormalization()
        super().build(input_shape)

    def call(self, inputs, training=False):
        return super().call(self.norm(inputs, training=training), training)


def free_address():
    """host:port of this machine, at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"
