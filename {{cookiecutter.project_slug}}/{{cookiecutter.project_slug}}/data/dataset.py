"""The contract between files and batches: what a subclass writes, and what it gets for it."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ..errors import ConfigError, DataError
from .memory import shuffled_batches

Nest = Any  # a tensor, or tuples and dicts of tensors


class Dataset:
    """Files to batches. A subclass says what one record is; this class owns order and batching.

    Write `records` and `convert`. Write `prepare` when files must be fetched or checked, `keep`
    to leave records out, `files` to have their checksums in the run's record.

    Args:
        batch_size: examples in a batch.
        seed: together with the epoch, the key of the training order.
    """

    splits: tuple[str, ...] = ("train", "test")
    training_split = "train"
    evaluation_split = "test"  # name a validation split here if you choose settings by it

    def __init__(self, batch_size: int = 128, seed: int = 1) -> None:
        if batch_size < 1:
            raise ConfigError(f"data.batch_size must be 1 or more, found {batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        self._counts: dict[str, int] = {}

    def prepare(self) -> None:
        """Fetches, generates and checks files; called once, before any graph is built.

        Raises:
            DataError: one line that names the file, what was found and what was expected.
        """

    def files(self) -> list[str]:
        """The paths that the records come from; a run records their checksums."""
        return []

    def records(self, split: str) -> tf.data.Dataset:
        """The raw records of a split, one by one, in the files' order, as bytes or numbers."""
        raise NotImplementedError(f"{type(self).__name__}.records is yours to write")

    def keep(self, *record: Nest) -> tf.Tensor:
        """Which records to keep: bool [batch]. Given a whole batch of records; default all."""
        del record
        return tf.constant(True)

    def convert(self, *record: Nest) -> tuple[Nest, Nest]:
        """A whole batch of records -> (features, labels); native operations keep it fast."""
        raise NotImplementedError(f"{type(self).__name__}.convert is yours to write")

    def batches(self, split: str, training: bool = False, start_step: Any = 0) -> tf.data.Dataset:
        """Batches of (features, labels).

        For training they never end: each epoch is a new permutation of all records, cut into
        full batches; the few that fill no batch are left out, others in each epoch. Otherwise
        every example comes exactly once, in the files' order, the last short batch included.

        Args:
            split: one of `splits`.
            training: whether to shuffle and repeat.
            start_step: int or int64 tensor []; the batches already trained on, to be skipped.

        Raises:
            DataError: a training split holds fewer records than one batch.
        """
        # AutoGraph would rewrite Python's `if` and `for` on tensors; it takes a second to start.
        convert = tf.autograph.experimental.do_not_convert(self.convert)
        if not training:
            return self._kept(split).batch(self.batch_size).map(convert).prefetch(1)
        self.steps_per_epoch(split)
        return shuffled_batches(
            self._kept(split), self.count(split), self.batch_size, convert, self.seed, start_step
        )

    def steps_per_epoch(self, split: str) -> int:
        """Full batches in a split; raises DataError if there is not one."""
        count = self.count(split)
        if count < self.batch_size:
            raise DataError(
                f"{type(self).__name__}: data.batch_size is {self.batch_size}, but the "
                f"{split} split holds only {count} records; make the batch smaller"
            )
        return count // self.batch_size

    def count(self, split: str) -> int:
        """The number of records that `keep` lets through; read once, then remembered."""
        if split not in self._counts:
            cpu = tf.ConfigProto(device_count={"GPU": 0})  # the GPU's settings are the trainer's
            with tf.Graph().as_default(), tf.Session(config=cpu) as session:
                records = self._kept(split).batch(4096)
                sizes = records.map(lambda *record: tf.shape(tf.nest.flatten(record)[0])[0])
                total = sizes.reduce(0, lambda total, size: total + size)
                self._counts[split] = int(session.run(total))
        return self._counts[split]

    def _kept(self, split: str) -> tf.data.Dataset:
        """The records of a split that `keep` lets through."""
        records = self.records(split)
        if type(self).keep is Dataset.keep:
            return records
        mask = tf.autograph.experimental.do_not_convert(self._mask)
        return records.batch(1024).map(mask).unbatch()

    def _mask(self, *record: Nest) -> Nest:
        mask = self.keep(*record)
        kept = tf.nest.map_structure(lambda component: tf.boolean_mask(component, mask), record)
        return kept if len(kept) > 1 else kept[0]
