"""What a dataset holds, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow.compat.v1 as tf

from .sizes import memory_limit, padding_wasted

if TYPE_CHECKING:
    from ...data.dataset import Dataset


def summary(dataset: Dataset) -> str:
    """Splits, counts, engine, classes, and the batches' types and shapes; reads all records."""
    with tf.Graph().as_default():
        batches = dataset.batches(dataset.splits[0])
        types, shapes = tf.data.get_output_types(batches), tf.data.get_output_shapes(batches)
    lines = [f"{type(dataset).__name__}, batches of {dataset.batch_size}"]
    for split in dataset.splits:
        lines.append(f"{split}: {dataset.count(split)} records")
        if split == dataset.training_split:
            lines.append(f"  {engine(dataset, split)}")
            if dataset.padding is not None:
                lines.append(f"  {padding_wasted(dataset, split):.0%} of its batches is padding")
        is_list = getattr(shapes[1], "rank", 0) == 1
        if dataset.overrides("label") or (is_list and types[1].is_integer):
            lines.append(f"  {_balance(dataset, split)}")
    for name, *spec in zip(("features", "labels"), types, shapes):
        lines.append(f"{name}: {tf.nest.map_structure(_array, *spec)}")
    return "\n".join(lines)


def engine(dataset: Dataset, split: str) -> str:
    """How a split's records are read for training, and why."""
    needed, share = dataset.bytes_in_memory(split), dataset.memory_fraction
    if needed is None:
        return "streamed: what the records take in memory is not known before they are read"
    limit = f"data.memory_fraction: {share:.0%} of {memory_limit() / 1e9:.1f} GB"
    if dataset.in_memory(split):
        return f"{dataset.count(split)} records, {needed / 1e6:.1f} MB, held in memory ({limit})"
    return f"{needed / 1e6:.1f} MB, streamed ({limit})"


def _balance(dataset: Dataset, split: str) -> str:
    counts = dataset.class_counts(split)
    if len(counts) > 20:
        return f"{len(counts)} classes of {counts.min()} to {counts.max()} records"
    names = getattr(dataset, "class_names", map("class {}".format, range(len(counts))))
    return ", ".join(f"{name}: {count}" for name, count in zip(names, counts))


def _array(type_: tf.DType, shape: tf.TensorShape) -> str:
    return f"{type_.name} {shape.as_list()}".replace("None", "?")
