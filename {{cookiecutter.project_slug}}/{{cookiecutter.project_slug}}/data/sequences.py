"""Sequences of different length: padded in a batch, in buckets of similar lengths."""

from __future__ import annotations

import os
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.input.bad_records import valid_labels
from .tfrecord import TFRecords, write_tfrecords

EMPTY = r"\C*\n\x08sequence\x12\x02[\x12\x1a]\x00\C*"


class Sequences(TFRecords):
    """Sequences and their classes, from what `write_tfrecords` made of {"sequence", "label"}.

    Features: {"sequence": float32 [batch, time, width], or int32 [batch, time] for width 0,
    "length": int32 [batch]}; beyond its length an example holds zeros. Labels: int32 [batch].

    Args:
        directory: where the files of all splits are.
        width: the number of values at each time; 0: one integer, such as that of a word.
        classes: the number of different labels.
        others: buckets, batch_size, seed and more: see `Dataset`.
    """

    def __init__(self, directory: str, width: int, classes: int, **others: Any) -> None:
        self.padding = (0.0 if width else 0, 0, 0)
        super().__init__(directory, [width], classes, **others)
        self.width = width

    def decode(self, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """String [] -> sequence [time, width] or [time], its length [], its label []."""
        dtype = tf.float32 if self.width else tf.int64
        spec = {
            "sequence": tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True),
            "label": tf.io.FixedLenFeature([], tf.int64),
        }
        parsed = tf.io.parse_single_example(example, spec)
        numbers = parsed["sequence"]
        # Without numbers the feature must be there, as a list that is empty: see example.proto.
        there = (tf.size(numbers) > 0) | tf.strings.regex_full_match(example, EMPTY)
        missing = ["expected tf.train.Example with a feature 'sequence', found none"]
        odd = f"expected a multiple of data.width={self.width} numbers in 'sequence', found"
        whole = tf.equal(tf.size(numbers) % max(self.width, 1), 0)
        checks = [(there, missing), (whole, [odd, tf.size(numbers)])]
        if not self.width:
            fits = tf.reduce_all(tf.equal(tf.cast(tf.to_int32(numbers), tf.int64), numbers))
            checks.append((fits, ["expected integers of 32 bits in 'sequence', found", numbers]))
        with tf.control_dependencies([tf.debugging.Assert(*check) for check in checks]):
            numbers = tf.identity(numbers)
        sequence = tf.reshape(numbers, [-1, self.width]) if self.width else tf.to_int32(numbers)
        return sequence, tf.shape(sequence)[0], parsed["label"]

    def convert(self, *record: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Padded batches of what `decode` returns -> features and labels."""
        sequence, length, label = record
        labels = tf.cast(valid_labels(label, self.classes), tf.int32)
        return {"sequence": sequence, "length": length}, labels


class Waves(Sequences):
    """Noisy sines of 10 to 100 steps; their frequency is their class: an example to start from.

    Args:
        directory: where the files are drawn.
        classes: the number of frequencies; each is twice the one before.
        buckets: see `Dataset`.
        others: batch_size, seed and more: see `Dataset`.
    """

    def __init__(
        self,
        directory: str = "datasets/waves",
        classes: int = 3,
        buckets: Sequence[int] = (25, 50, 75),
        **others: Any,
    ) -> None:
        directory = os.path.join(directory, str(classes))
        super().__init__(directory, 1, classes, buckets=buckets, **others)

    def prepare(self) -> None:
        """Draws the files unless they are there."""
        for split, count in ("train", 3000), ("test", 600):
            if not os.path.exists(os.path.join(self.directory, f"{split}-00000-of-00001.tfrecord")):
                write_tfrecords(self.directory, split, self.draw(count))

    def draw(self, count: int) -> Iterator[dict[str, Any]]:
        """n examples; their number is the seed, too, so that the splits differ."""
        generator = np.random.RandomState(count)
        for _ in range(count):
            label, times = generator.randint(self.classes), np.arange(generator.randint(10, 101))
            angle = generator.uniform(0, 6.3) + generator.uniform(0.18, 0.22) * 2**label * times
            noise = generator.normal(0, 0.2, len(times))
            yield {"sequence": np.sin(angle) + noise, "label": label}
