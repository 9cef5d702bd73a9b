"""The contract between files and batches: what a subclass writes, and what it gets for it."""

from __future__ import annotations

import logging
from typing import Any, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError
from ..engine.input.elements import arguments, batched, decoded, elements_of, in_threads, native
from ..engine.input.memory import memory_batches
from ..engine.input.sizes import (
    bytes_in_memory,
    check_enough_records,
    class_counts,
    count_records,
    memory_limit,
)
from ..engine.input.streaming import streamed_batches
from ..engine.input.summary import engine, summary

logger = logging.getLogger(__name__)

Nest = Any  # a tensor, or tuples and dicts of tensors


class Dataset:
    """Files to batches. A subclass says what one record is; this class owns order and batching.

    Write `convert`, and `read` with `files` (records of one file; files are then read side by
    side) or `records` (any other source). All else is there to be changed where it must be:
    `prepare` (fetch and check files), `keep` (leave records out), `decode` (what cannot be done
    for a whole batch, such as JPEG), `augment` (random changes while training).

    Args:
        batch_size: examples in a batch.
        seed: together with the epoch, the key of the training order and of augmentation.
        memory_fraction: records that take less than this share of the machine's memory are held
            there; all others are streamed from their files. 0 always streams.
        shuffle_buffer: streaming: the next record is drawn from so many; they are part of every
            checkpoint. Raise it if the loss differs from batch to batch in a biased way.
        parallel_calls: batches (streaming: also files and records) worked on at a time.
        cache: streaming: path of files that keep the records as read; "" keeps none.
        balance: 0 takes the classes as they come, 1 takes each equally often, by repeating
            (in memory) or leaving out (streaming) records; between lies between.
        buckets: lengths, ascending, for records with `padding`: a batch is made of records
            between two of them, so that less padding is needed.
    """

    splits: tuple[str, ...] = ("train", "test")
    training_split = "train"
    evaluation_split = "test"  # name a validation split here if you choose settings by it
    #: For records of different length: what to fill up with, in the structure of a record.
    padding: Nest = None
    #: (index, number) of the worker whose share of the training records this is.
    shard = (0, 1)

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 1,
        memory_fraction: float = 0.25,
        shuffle_buffer: int = 10000,
        parallel_calls: int = 2,
        cache: str = "",
        balance: float = 0.0,
        buckets: Sequence[int] = (),
    ) -> None:
        least = {"batch_size": batch_size, "shuffle_buffer": shuffle_buffer}
        least["parallel_calls"] = parallel_calls
        for name, value in least.items():
            if value < 1:
                raise ConfigError(f"data.{name} must be 1 or more, found {value}")
        for name, share in {"memory_fraction": memory_fraction, "balance": balance}.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"data.{name} must be a number from 0 to 1, found {share}")
        if list(buckets) != sorted(set(buckets)) or (buckets and self.padding is None):
            raise ConfigError(
                f"data.buckets must be ascending lengths of records with padding, found {buckets}"
            )
        self.batch_size = batch_size
        self.seed = seed
        self.memory_fraction = memory_fraction
        self.shuffle_buffer = shuffle_buffer
        self.parallel_calls = parallel_calls
        self.cache = cache
        self.balance = balance
        self.buckets = list(buckets)
        self._counts: dict[str, int] = {}

    def prepare(self) -> None:
        """Fetches, generates and checks files; called once, before any graph is built.

        Raises:
            DataError: one line that names the file, what was found and what was expected.
        """

    def files(self, split: str) -> list[str]:
        """The paths that a split's records come from; a run records their checksums."""
        del split
        return []

    def read(self, path: tf.Tensor) -> tf.data.Dataset:
        """The raw records of one file, one by one; path: string []."""
        raise NotImplementedError(f"{type(self).__name__}.read or .records is yours to write")

    def records(self, split: str) -> tf.data.Dataset:
        """The raw records of a split, one by one, always in the same order."""
        return tf.data.Dataset.from_tensor_slices(self.files(split)).flat_map(self.read)

    def keep(self, *record: Nest) -> tf.Tensor:
        """Which raw records to keep: bool [batch]. Given a whole batch of them; default all."""
        del record
        return tf.constant(True)

    def decode(self, *record: Nest) -> Nest:
        """One raw record -> one record; done once (in memory) or after shuffling (streaming)."""
        return record if len(record) > 1 else record[0]

    def convert(self, *record: Nest) -> tuple[Nest, Nest]:
        """A whole batch of records -> (features, labels); native operations keep it fast."""
        raise NotImplementedError(f"{type(self).__name__}.convert is yours to write")

    def augment(self, features: Nest, labels: Nest, keys: tf.Tensor) -> tuple[Nest, Nest]:
        """A training batch -> the same, changed at random.

        Args:
            features, labels: as `convert` returned them.
            keys: int64 [batch], made of (seed, epoch, example): feed them to `random.uniform`,
                so that an example is changed in the same way after a restart.
        """
        return features, labels

    def label(self, *record: Nest) -> tf.Tensor:
        """A batch of records -> classes int [batch], for `balance`; default convert's labels."""
        return self.convert(*record)[1]

    def length(self, *record: Nest) -> tf.Tensor:
        """One record -> its length, int []; for `buckets`. Default: that of its first array."""
        arrays = (item for item in tf.nest.flatten(record) if item.shape.rank)
        return tf.shape(next(arrays))[0]

    def batches(self, split: str, training: bool = False, start_step: Any = 0) -> tf.data.Dataset:
        """Batches of (features, labels).

        For training they never end, and all are full: each epoch is a new order of all records.
        Otherwise every example comes exactly once, in the files' order, the last short batch
        included.

        Args:
            split: one of `splits`.
            training: whether to shuffle, repeat and augment.
            start_step: int or int64 tensor []; the batches already trained on. In memory they
                are skipped; streaming starts an epoch of an order of its own.

        Raises:
            DataError: a training split holds fewer records than one batch.
        """
        if not training:
            batches = batched(self, decoded(self, elements_of(self, split)), drop_remainder=False)
            to_batch = native(lambda _, record: self.to_batch(None, record))
            return in_threads(batches.map(to_batch, self.parallel_calls).prefetch(2), self)
        logger.info("%s: %s", split, engine(self, split))
        if self.in_memory(split):
            return in_threads(memory_batches(self, split, start_step), self)
        return streamed_batches(self, split, start_step)  # in_threads, it could not be saved

    def to_batch(self, keys: tf.Tensor | None, record: Nest) -> tuple[Nest, Nest]:
        """A batch of records -> (features, labels); keys: int64 [batch] to augment with."""
        features, labels = self.convert(*arguments(record))
        if keys is not None and self.overrides("augment"):
            features, labels = self.augment(features, labels, keys)
        return features, labels

    def overrides(self, name: str) -> bool:
        """Whether the subclass has a method of its own."""
        return getattr(type(self), name) is not getattr(Dataset, name)

    def in_memory(self, split: str) -> bool:
        """Whether a split's records are held in memory for training."""
        needed = self.bytes_in_memory(split)
        return needed is not None and needed < self.memory_fraction * memory_limit()

    def bytes_in_memory(self, split: str) -> int | None:
        """What a split's records take, by its files or the shapes of its arrays; None: unknown."""
        return bytes_in_memory(self, split)

    def count(self, split: str) -> int:
        """The number of records that `keep` lets through; read once, then remembered."""
        if split not in self._counts:
            self._counts[split] = count_records(self, split)
        return self._counts[split]

    def class_counts(self, split: str) -> np.ndarray:
        """How many examples each class has, by `label`: int64 [classes]; reads all records."""
        return class_counts(self, split)

    def summary(self) -> None:
        """Prints what the splits hold, how they are read, and what a batch is; reads all."""
        print(summary(self))

    def describe_bad_record(self, path: str, number: int, problem: str) -> str:
        """An error about the number-th record of a file, from 1, that names the place."""
        return f"{path}: record {number}: {problem}; mend or remove it"

    def steps_per_epoch(self, split: str) -> int:
        """Full batches in a split; raises DataError if there is not one."""
        check_enough_records(self, split, self.count(split))
        return self.count(split) // self.batch_size
