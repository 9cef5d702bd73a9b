"""A recurrent network over the rows of an image, or over sequences of different lengths."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ..engine.errors import ModelError, check_at_least
from ..engine.graph.contract import image_shape
from ..engine.graph.dropout import Dropout
from .classifier import Classifier


class RNN(Classifier):
    """Classifies by the state of an LSTM after the last element.

    Features are images float32 [batch, rows, columns, channels], each row an element, or
    {"sequence": float32 [batch, time, width] or int32 [batch, time], "length": int32 [batch]}:
    what follows an example's length is padding, and changes nothing.

    Args:
        units: of the LSTM.
        vocabulary: size, above every number of int32 sequences; 0 for other features.
        embedding: the size of the vector of each number of the vocabulary.
        dropout: the probability of dropping a unit of the last state while training.
        learning_rate, ema_decay: see `Optimization`.
        others: classes, and see `Classifier`.
    """

    def __init__(
        self,
        units: int = 96,
        vocabulary: int = 0,
        embedding: int = 32,
        dropout: float = 0.2,
        learning_rate: float = 4e-3,
        ema_decay: float = 0.999,
        **others: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, ema_decay=ema_decay, **others)
        check_at_least(1, "model", units=units, embedding=embedding)
        check_at_least(0, "model", vocabulary=vocabulary)
        self.units = units
        self.vocabulary = vocabulary
        self.embedding = embedding
        self.dropout_rate = dropout

    def build(self, input_shape: Any) -> None:
        if self.vocabulary:
            self.embed = tf.keras.layers.Embedding(self.vocabulary, self.embedding)
        # Not keras.layers.LSTM: its variables have other names on each runtime.
        self.gates = tf.keras.layers.Dense(4 * self.units)
        self.recurrent = self.add_weight(
            "recurrent", [self.units, 4 * self.units], initializer="orthogonal"
        )
        self.dropout = Dropout(self.dropout_rate)
        self.logits = tf.keras.layers.Dense(self.classes)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Images or sequences (see above) -> logits float32 [batch, classes]."""
        sequence, mask = self._sequence_and_mask(inputs)
        # The inputs' part of all gates at once: one large product instead of many small ones.
        gates = self.gates(sequence)
        zeros = tf.zeros([tf.shape(gates)[0], self.units])
        # Where the mask is False, output and states stay as they were.
        state, _, _ = tf.keras.backend.rnn(self._step, gates, [zeros, zeros], mask=mask)
        return self.logits(self.dropout(state, training=training))

    def _step(self, gates: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
        output, cell = states
        gates += tf.matmul(output, self.recurrent)
        enter, forget, leave, new = tf.split(gates, 4, axis=1)
        # With a bias of one, it remembers at first: Jozefowicz et al. 2015.
        cell = tf.sigmoid(forget + 1.0) * cell + tf.sigmoid(enter) * tf.tanh(new)
        output = tf.sigmoid(leave) * tf.tanh(cell)
        return output, [output, cell]

    def _sequence_and_mask(self, inputs: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        if not isinstance(inputs, dict) or not {"sequence", "length"} <= inputs.keys():
            shape = tf.nest.map_structure(lambda array: array.shape, inputs)
            rows, columns, channels = image_shape(self, shape)
            return tf.reshape(inputs, [-1, rows, columns * channels]), None
        sequence = inputs["sequence"]
        if sequence.dtype.is_integer != bool(self.vocabulary):
            raise ModelError(
                f"{self.name}: found a sequence of {sequence.dtype.name} with model.vocabulary="
                f"{self.vocabulary}; expected integers and their number, or float32 and 0"
            )
        # A batch of empty sequences alone has no time, over which TensorFlow cannot loop.
        missing = tf.maximum(1 - tf.shape(sequence)[1], 0)
        sequence = tf.pad(sequence, [[0, 0], [0, missing], *[[0, 0]] * (sequence.shape.rank - 2)])
        mask = tf.sequence_mask(inputs["length"], tf.shape(sequence)[1])
        return self.embed(sequence) if self.vocabulary else sequence, mask
