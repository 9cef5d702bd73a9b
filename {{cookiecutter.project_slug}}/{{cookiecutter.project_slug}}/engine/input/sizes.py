"""How many records there are, and of which class; in words, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import ConfigError, DataError
from ..run.machine import memory_limit
from .elements import arguments, batched, decoded, iterate, native, run_once
from .footprint import buffer_size
from .source import VALIDATION, Source, split_in_files, splits_of
from .split import classes_of, count_classes, elements_of, shape_text


def count_records(
    source: Source, split: str, shard: tuple[int, int] = (0, 1), most: int = -1
) -> int:
    """The number of records of a share that `keep` lets through; -1 counts them to the end."""
    if source.overrides("records") and _is_endless(source, split):
        raise DataError(
            f"{type(source).__name__}.records: found a {split} split without an end, expected each "
            "record once; leave repeat() out: training repeats them"
        )
    add = native(lambda total, ids: total + tf.size(ids, out_type=tf.int64))

    def count() -> tf.Tensor:
        # By the thousand: a call of a function takes 30 µs, thirty times as long as reading.
        windows = elements_of(source, split, shard).take(most).window(1024)
        return windows.flat_map(native(lambda ids, _: ids.batch(1024))).reduce(np.int64(0), add)

    return int(run_once(count))


def _is_endless(source: Source, split: str) -> bool:
    def cardinality() -> tf.Tensor:
        return tf.data.experimental.cardinality(source.records(split_in_files(source, split)))

    return run_once(cardinality) == tf.data.experimental.INFINITE_CARDINALITY


def check_not_empty(source: Source, split: str, count: int) -> None:
    """Raises DataError if a split holds no records."""
    if count < 1:
        files = " and ".join(source.files(split_in_files(source, split))[:4])
        advice = "put one or more there"
        if source.validation_share and split in (source.training_split, VALIDATION):
            advice = f"data.validation_share is {source.validation_share}: change it"
        raise DataError(
            f"{files or type(source).__name__}: the {split} split holds no records; {advice}"
        )


def full_batches(source: Source, split: str, count: int) -> int:
    """The number of full batches in n records; raises DataError if there is not one."""
    check_not_empty(source, split, count)
    if count < source.batch_size:
        raise DataError(
            f"{type(source).__name__}: data.batch_size is {source.batch_size}, but the {split} "
            f"split holds only {count} records; make the batch smaller"
        )
    return count // source.batch_size


def class_counts(source: Source, split: str) -> np.ndarray:
    """How many records each class has, by `label`: int64 [classes]."""
    label = native(lambda _, record: classes_of(source, record))

    def labels() -> tf.data.Dataset:
        elements = decoded(source, elements_of(source, split))
        return batched(source, elements, drop_remainder=False).map(label)

    found = np.concatenate([np.zeros(0, np.int64), *iterate(labels)])
    return count_classes(source, split, found)


def class_weights(source: Source, split: str) -> np.ndarray:
    """How often to take a record of each class, for `balance`: float64 [classes]."""
    counts = source.class_counts(split)
    return np.where(counts > 0, 1 / np.maximum(counts, 1) ** source.balance, 0)


def first_length(source: Source, record: Any) -> tf.Tensor:
    """The length of a record's first array: int []; raises ConfigError if it has none."""
    for array in tf.nest.flatten(record):
        if array.shape.rank:
            return tf.shape(array)[0]
    raise ConfigError(
        f"data.buckets: a record of {type(source).__name__} holds no array, which has a length; "
        "set it to [], or write `length`"
    )


def lengths(source: Source, split: str) -> np.ndarray:
    """The length of each record, by `length`: int [records]."""
    length = native(lambda _, record: source.length(*arguments(record)))

    def batches() -> tf.data.Dataset:
        return decoded(source, elements_of(source, split)).map(length).batch(1024)

    return np.concatenate([*iterate(batches)])


def padding_wasted(source: Source, split: str) -> float:
    """The share of padding in the places of a training epoch's batches, 0–1, by `length`."""
    full = full_batches(source, split, source.count(split))
    found = np.random.RandomState(source.seed).permutation(lengths(source, split))
    found = found[: full * source.batch_size]
    bucket = np.searchsorted(source.buckets, found, side="right")
    batches = found[np.argsort(bucket, kind="stable")].reshape(full, source.batch_size)
    return float(1 - batches.sum() / (batches.max(axis=1).sum() * source.batch_size))


def summary(source: Source) -> str:
    """Splits, counts, mode, classes, and the batches' types and shapes; reads all records."""
    with tf.Graph().as_default():
        batches = source.batches(source.splits[0])
        types, shapes = tf.data.get_output_types(batches), tf.data.get_output_shapes(batches)
    lines = [f"{type(source).__name__}, batches of {source.batch_size}"]
    for split in splits_of(source):
        lines.append(f"{split}: {source.count(split)} records")
        if split == source.training_split:
            lines.append(f"  {reading_mode(source, split)}")
            if source.padding is not None:
                lines.append(f"  {padding_wasted(source, split):.0%} of its batches is padding")
        is_list = getattr(shapes[1], "rank", 0) == 1
        if source.overrides("label") or (is_list and types[1].is_integer):
            lines.append(f"  {_balance(source, split)}")
    for name, *spec in zip(("features", "labels"), types, shapes):
        lines.append(f"{name}: {tf.nest.map_structure(shape_text, *spec)}")
    return "\n".join(lines)


def reading_mode(source: Source, split: str) -> str:
    """Whether a split's records are held in memory or streamed for training, and why."""
    needed, share = source.bytes_in_memory(split), source.memory_fraction
    limit = f"data.memory_fraction: {share:.0%} of {memory_limit() / 1e9:.1f} GB"
    if needed is None:
        text = "streamed: what the records take in memory is not known before they are read"
    elif source.in_memory(split):
        return f"{source.count(split)} records, {needed / 1e6:.1f} MB, held in memory ({limit})"
    else:
        text = f"{needed / 1e6:.1f} MB, streamed ({limit})"
    buffer = buffer_size(source, split)
    if buffer < source.shuffle_buffer:
        text += f"; shuffled among {buffer} records (data.shuffle_mb: {source.shuffle_mb} MB)"
    return text


def _balance(source: Source, split: str) -> str:
    counts = source.class_counts(split)
    if len(counts) > 20:
        return f"{len(counts)} classes of {counts.min()} to {counts.max()} records"
    names = getattr(source, "class_names", map("class {}".format, range(len(counts))))
    return ", ".join(f"{name}: {count}" for name, count in zip(names, counts))
