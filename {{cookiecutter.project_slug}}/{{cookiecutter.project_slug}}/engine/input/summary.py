"""What a dataset holds, in words."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from .sizes import memory_limit, padding_wasted
from .source import Source


def summary(source: Source) -> str:
    """Splits, counts, mode, classes, and the batches' types and shapes; reads all records."""
    with tf.Graph().as_default():
        batches = source.batches(source.splits[0])
        types, shapes = tf.data.get_output_types(batches), tf.data.get_output_shapes(batches)
    lines = [f"{type(source).__name__}, batches of {source.batch_size}"]
    for split in source.splits:
        lines.append(f"{split}: {source.count(split)} records")
        if split == source.training_split:
            lines.append(f"  {reading_mode(source, split)}")
            if source.padding is not None:
                lines.append(f"  {padding_wasted(source, split):.0%} of its batches is padding")
        is_list = getattr(shapes[1], "rank", 0) == 1
        if source.overrides("label") or (is_list and types[1].is_integer):
            lines.append(f"  {_balance(source, split)}")
    for name, *spec in zip(("features", "labels"), types, shapes):
        lines.append(f"{name}: {tf.nest.map_structure(_array, *spec)}")
    return "\n".join(lines)


def reading_mode(source: Source, split: str) -> str:
    """Whether a split's records are held in memory or streamed for training, and why."""
    needed, share = source.bytes_in_memory(split), source.memory_fraction
    if needed is None:
        return "streamed: what the records take in memory is not known before they are read"
    limit = f"data.memory_fraction: {share:.0%} of {memory_limit() / 1e9:.1f} GB"
    if source.in_memory(split):
        return f"{source.count(split)} records, {needed / 1e6:.1f} MB, held in memory ({limit})"
    return f"{needed / 1e6:.1f} MB, streamed ({limit})"


def _balance(source: Source, split: str) -> str:
    counts = source.class_counts(split)
    if len(counts) > 20:
        return f"{len(counts)} classes of {counts.min()} to {counts.max()} records"
    names = getattr(source, "class_names", map("class {}".format, range(len(counts))))
    return ", ".join(f"{name}: {count}" for name, count in zip(names, counts))


def _array(type_: tf.DType, shape: tf.TensorShape) -> str:
    return f"{type_.name} {shape.as_list()}".replace("None", "?")
