"""The contract between files and batches: what a subclass writes, and what it gets for it."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.input import footprint, sizes, source
from ..engine.input.batches import check_settings, read_batches

Nest = Any  # a tensor, or tuples and dicts of tensors


class Dataset:
    """Files to batches. A subclass says what one record is; the engine owns order and batching.

    Implement `convert`, and `files` with `read` or, for any other source, `records`.
    A record is a tensor, a tuple of tensors (an argument each) or a dict of them (one argument).

    Args:
        batch_size: examples in a batch.
        seed: together with the epoch, the key of the training order and of augmentation.
        memory_fraction: records below this share of the machine's memory are held there; 0 streams.
        shuffle_buffer, shuffle_mb: streaming: records, and MB (0: any), that one is drawn from.
        parallel_calls: files, records and batches worked on at a time; 0: one for each core.
        balance: 1 takes each class equally often: records are repeated, or skipped (streaming).
        buckets: ascending lengths, for records with `padding`: a batch holds records between two.
        validation_share, stratify: of the training records (of each class) to evaluate on instead.
    """

    splits: tuple[str, ...] = ("train", "test")  # those that there are files of
    training_split = "train"
    evaluation_split = "test"  # while training; `validation` if you have files of such a split
    padding: Nest = None  # what shorter records are filled up with, in the structure of a record
    shard = (0, 1)  # (index, number) of the worker whose share of the training records this is

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 1,
        memory_fraction: float = 0.25,
        shuffle_buffer: int = 10000,
        shuffle_mb: int = 64,
        parallel_calls: int = 0,
        balance: float = 0.0,
        buckets: Sequence[int] = (),
        validation_share: float = 0.0,
        stratify: bool = False,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.memory_fraction = memory_fraction
        self.shuffle_buffer, self.shuffle_mb = shuffle_buffer, shuffle_mb
        self.parallel_calls = parallel_calls
        self.balance = balance
        self.buckets = list(buckets)
        self.validation_share = validation_share
        self.stratify = stratify
        check_settings(self)

    def __init_subclass__(cls) -> None:
        source.keep_true(cls, Dataset)

    def prepare(self) -> None:
        """Downloads, draws or checks files, before any graph is built; may raise DataError."""

    def files(self, split: str) -> list[str]:
        """The paths that a split's records come from; a run records their checksums."""
        return []

    def read(self, path: tf.Tensor) -> tf.data.Dataset:
        """The raw records of one file, one by one; path: string []."""
        raise NotImplementedError(f"{type(self).__name__}.read or .records must be implemented")

    def records(self, split: str) -> tf.data.Dataset:
        """The raw records of a split, one by one, always in the same order."""
        return tf.data.Dataset.from_tensor_slices(self.files(split)).flat_map(self.read)

    def keep(self, *record: Nest) -> tf.Tensor:
        """A batch of raw records -> which of them to keep, bool [batch]; default all."""
        return tf.constant(True)

    def decode(self, *record: Nest) -> Nest:
        """One raw record -> one record; once (in memory) or after shuffling (streaming)."""
        return record if len(record) > 1 else record[0]

    def convert(self, *record: Nest) -> tuple[Nest, Nest]:
        """A batch of records [batch, ...] -> (features, labels), [batch, ...] each."""
        raise NotImplementedError(f"{type(self).__name__}.convert must be implemented")

    def augment(self, features: Nest, labels: Nest, keys: tf.Tensor) -> tuple[Nest, Nest]:
        """A training batch -> one changed by `random_numbers.uniform` of keys, int64 [batch]."""
        return features, labels

    def label(self, *record: Nest) -> tf.Tensor:
        """A batch of records -> classes int [batch], for `balance`; default convert's labels."""
        return self.convert(*record)[1]

    def length(self, *record: Nest) -> tf.Tensor:
        """One record -> its length, int [], for `buckets`; default that of its first array."""
        return sizes.first_length(self, record)

    def count(self, split: str) -> int:
        """The number of records that `keep` lets through; read once, then remembered."""
        return source.remembered(self, "count", split, sizes.count_records)

    def class_counts(self, split: str) -> np.ndarray:
        """How many records each class has, by `label`: int64 [classes]; reads all records."""
        return source.remembered(self, "class_counts", split, sizes.class_counts)

    def bytes_in_memory(self, split: str) -> int | None:
        """What a split's records take, by its files or the shapes of its arrays; None: unknown."""
        return source.remembered(self, "bytes_in_memory", split, footprint.bytes_in_memory)

    def describe_bad_record(self, path: str, number: int, problem: str) -> str:
        """The error about the number-th record of a file, from 1."""
        return f"{path}: record {number}: {problem}; fix or remove it, or change how it is read"

    def batches(self, split: str, training: bool = False, start_step: Any = 0) -> tf.data.Dataset:
        """Batches of (features, labels); see docs/flow.md.

        For training they never end, all are full, and each epoch is a new order of all records.
        Otherwise each example comes exactly once, in the files' order; the last batch is short.
        start_step: int or int64 tensor [], batches to skip; streaming starts another epoch instead.
        """
        return read_batches(self, split, training, start_step)

    def steps_per_epoch(self, split: str) -> int:
        """Full batches in a split; raises DataError if there is not one."""
        return sizes.full_batches(self, split, self.count(split))

    def in_memory(self, split: str) -> bool:
        """Whether a split's records are held in memory for training."""
        return footprint.fits_in_memory(self, split)

    def overrides(self, name: str) -> bool:
        """Whether the subclass has a method of its own."""
        return getattr(type(self), name) is not getattr(Dataset, name)
