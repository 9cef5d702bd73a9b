"""How many records there are, of which class, and what they take in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import tensorflow.compat.v1 as tf

from ..errors import DataError
from .elements import arguments, batched, decoded, elements_of, iterate, native, run_once

if TYPE_CHECKING:
    from ...data.dataset import Dataset

# Where Linux says how much memory a container may take: version 2 and version 1 of cgroups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

STRING_BYTES = 100  # what a string in a tensor takes beside its characters, measured


def memory_limit() -> int:
    """Bytes of memory of this machine, or of the container if it may take fewer."""
    limits = [psutil.virtual_memory().total]
    for path in LIMITS:
        try:
            with open(path) as file:
                limits.append(int(file.read()))
        except (OSError, ValueError):  # no such file, or "max"
            pass
    return min(limits)


def describe_files(paths: list[str]) -> list[tuple[str, int, int]]:
    """(path, bytes, time of the last change in nanoseconds) of each; raises DataError."""
    described = []
    for path in paths:
        try:
            found = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; expected a readable file") from None
        described.append((path, found.st_size, found.st_mtime_ns))
    return described


def bytes_in_memory(dataset: Dataset, split: str) -> int | None:
    """What a split's records take: strings by the files they are from, arrays by their shapes.

    None where neither says so. (Override it where files are compressed.)
    """
    size = sum(bytes_ for _, bytes_, _ in describe_files(dataset.files(split)))
    if size > memory_limit() * dataset.memory_fraction:
        return size  # too large as it is: no need to count
    with tf.Graph().as_default():
        elements = decoded(dataset, elements_of(dataset, split))
        types = tf.nest.flatten(tf.data.get_output_types(elements))
        shapes = tf.nest.flatten(tf.data.get_output_shapes(elements))
    each, strings = 0, False
    for type_, shape in zip(types, shapes):
        if type_ == tf.string or dataset.padding is not None:
            each, strings = each + STRING_BYTES, True
        elif not shape.is_fully_defined():
            return None
        else:
            each += type_.size * shape.num_elements()
    if strings and not size:
        return None
    return each * dataset.count(split) + (size if strings else 0)


def count_records(
    dataset: Dataset, split: str, shard: tuple[int, int] = (0, 1), most: int = -1
) -> int:
    """The number of records of a share that `keep` lets through; -1 counts them to the end."""
    add = native(lambda total, ids: total + tf.size(ids, out_type=tf.int64))

    def count() -> tf.Tensor:
        # By the thousand: a call of a function takes 30 µs, thirty times as long as reading.
        windows = elements_of(dataset, split, shard).take(most).window(1024)
        return windows.flat_map(native(lambda ids, _: ids.batch(1024))).reduce(np.int64(0), add)

    return int(run_once(count))


def check_enough_records(dataset: Dataset, split: str, count: int) -> None:
    """Raises DataError if so many records are fewer than one batch."""
    if count < dataset.batch_size:
        raise DataError(
            f"{type(dataset).__name__}: data.batch_size is {dataset.batch_size}, but the {split} "
            f"split holds only {count} records; make the batch smaller"
        )


def class_counts(dataset: Dataset, split: str) -> np.ndarray:
    """How many examples each class has, by `label`: int64 [classes]."""

    @native
    def label(_: tf.Tensor, record: Any) -> tf.Tensor:
        return dataset.label(*arguments(record))

    def labels() -> tf.data.Dataset:
        elements = decoded(dataset, elements_of(dataset, split))
        return batched(dataset, elements, drop_remainder=False).map(label)

    counts = np.zeros(0, np.int64)
    for batch in iterate(labels):
        more = np.bincount(batch, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return counts


def class_weights(dataset: Dataset, split: str) -> np.ndarray:
    """How often to take an example of each class, for `balance`: float64 [classes]."""
    counts = dataset.class_counts(split)
    return np.where(counts > 0, 1 / np.maximum(counts, 1) ** dataset.balance, 0)


def lengths(dataset: Dataset, split: str) -> np.ndarray:
    """The length of each record, by `length`: int [records]."""

    @native
    def length(_: tf.Tensor, record: Any) -> tf.Tensor:
        return dataset.length(*arguments(record))

    def batches() -> tf.data.Dataset:
        return decoded(dataset, elements_of(dataset, split)).map(length).batch(1024)

    return np.concatenate([*iterate(batches)])


def padding_wasted(dataset: Dataset, split: str) -> float:
    """The share of padding in the places of a training epoch's batches, 0–1, by `length`."""
    full, size = dataset.steps_per_epoch(split), dataset.batch_size
    found = lengths(dataset, split)
    found = np.random.RandomState(dataset.seed).permutation(found)[: full * size]
    bucket = np.searchsorted(dataset.buckets, found, side="right")
    batches = found[np.argsort(bucket, kind="stable")].reshape(full, size)
    return float(1 - batches.sum() / (batches.max(axis=1).sum() * size))
