"""Dropout without a hidden state: the same mask in the same step, also after a restart."""

from __future__ import annotations

import weakref
import zlib
from typing import Any

import tensorflow.compat.v1 as tf

from ..errors import ConfigError
from .per_example import drawn_for_part


def completed_steps() -> tf.Tensor:
    """The number of completed steps, int64 []: a key for random numbers that a restart repeats."""
    with tf.device(None):  # where the step is, whatever replica asks
        return tf.train.get_or_create_global_step().read_value()


# Graph -> name -> the layers that drop there under this name, in the order of their first calls.
_LAYERS: Any = weakref.WeakKeyDictionary()


class Dropout(tf.keras.layers.Layer):
    """Sets inputs to 0 with probability `rate` and scales the others by 1 / (1 - rate).

    Stock dropout draws from a state that no checkpoint holds; this one is keyed by the graph's
    seed, the layer's name and the step, and of layers with one name by their order. A layer called
    twice in one step uses one mask: take two layers for two masks. Replicas take their rows of the
    mask of the whole batch. Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.

    Args:
        rate: the probability of dropping an input (NOT of keeping it, as it is in the second
            argument of tf.nn.dropout), at least 0 and below 1.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ConfigError(f"dropout: found {rate}, expected a probability to drop below 1")
        self.rate = rate

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """float [batch, ...] -> the same shape; the inputs themselves when not training."""
        if self.rate == 0:
            return tf.identity(inputs)
        return tf.keras.backend.in_train_phase(
            lambda: self._drop(inputs), lambda: tf.identity(inputs), training=training
        )

    def _drop(self, inputs: tf.Tensor) -> tf.Tensor:
        named = _LAYERS.setdefault(tf.get_default_graph(), {}).setdefault(self.name, [])
        if self not in named:
            named.append(self)
        name = self.name + f":{named.index(self)}" * (self is not named[0])
        seed = (tf.get_default_graph().seed or 0) ^ zlib.crc32(name.encode())
        key = tf.stack([tf.constant(seed, tf.int64), completed_steps()])
        drawn = drawn_for_part(
            lambda shape: tf.random.stateless_uniform(shape, seed=key), tf.shape(inputs)
        )
        kept = drawn >= self.rate
        return inputs * tf.cast(kept, inputs.dtype) / (1 - self.rate)
