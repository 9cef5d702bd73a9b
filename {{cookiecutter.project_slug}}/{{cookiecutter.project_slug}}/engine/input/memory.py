"""The in-memory mode: records are held once as raw bytes, an epoch is a permutation of indices."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from .elements import (
    ENDLESS,
    arguments,
    batch_of_one,
    batched,
    bucket_of,
    decoded,
    elements_of,
    native,
    to_batch,
)
from .random_numbers import example_keys
from .sizes import class_weights, count_records, full_batches
from .source import Source


def memory_batches(source: Source, split: str, start_step: Any) -> tf.data.Dataset:
    """Endless shuffled batches whose order is a function of (seed, step) alone.

    So a restart resumes with exactly the next batch: there is no state to save. Each epoch is a
    full shuffle, not one through a buffer.

    Args:
        source: gives the records, and how to make batches of them.
        split: which to read, once, when the iterator is initialized.
        start_step: int or int64 tensor []; batches to skip.

    Raises:
        DataError: there are fewer records than one batch.
    """
    alone = source.shard[1] == 1
    count = source.count(split) if alone else count_records(source, split, source.shard)
    full = full_batches(source, split, count)
    elements = decoded(source, elements_of(source, split, source.shard))
    shares = class_weights(source, split) if source.balance else None
    types, shapes = tf.data.get_output_types(elements), tf.data.get_output_shapes(elements)
    ragged = source.padding is not None

    @native
    def pack(number: tf.Tensor, record: Any) -> Any:
        """Records of different length become strings, which one tensor can hold."""
        bucket = bucket_of(source, record) if source.buckets else 0
        label = source.label(*arguments(batch_of_one(record))) if source.balance else [0]
        return number, tf.nest.map_structure(tf.io.serialize_tensor, record), bucket, label[0]

    @native
    def unpack(key: tf.Tensor, record: Any) -> Any:
        def parse(text: tf.Tensor, type_: tf.DType, shape: tf.TensorShape) -> tf.Tensor:
            return tf.ensure_shape(tf.io.parse_tensor(text, type_), shape)

        return key, tf.nest.map_structure(parse, record, types[1], shapes[1])

    @native
    def from_memory(
        ids: tf.Tensor, everything: Any, buckets: Any = None, labels: Any = None
    ) -> tf.data.Dataset:
        @native
        def gather(epoch: tf.Tensor, chosen: tf.Tensor) -> Any:
            keys = example_keys(source.seed, epoch, tf.gather(ids, chosen))
            return keys, tf.nest.map_structure(lambda all_: tf.gather(all_, chosen), everything)

        convert = native(lambda keys, record: to_batch(source, record, keys))
        weights = None
        if shares is not None:
            labels = labels if ragged else source.label(*arguments(everything))
            weights = tf.gather(shares, labels)
        indices = _indices(
            source, count, full, start_step, weights, buckets if source.buckets else None
        )
        if not ragged:
            # One gather and one conversion for the batch, not one for each of its examples.
            batch = native(lambda epoch, chosen: convert(*gather(epoch, chosen)))
            return indices.map(batch, source.parallel_calls)
        records = indices.map(gather).unbatch().map(unpack, source.parallel_calls)
        return batched(source, records, drop_remainder=True).map(convert)

    if ragged:
        elements = elements.map(pack)
    # The one element that holds all records is the argument of the function above: TensorFlow
    # hands it on without a copy, and neither the graph nor Python ever holds the data.
    return _as_one(elements, count).flat_map(from_memory).prefetch(2)


def _as_one(elements: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """All elements as one: arrays of `count` in place of each array."""
    chunks = elements.batch(1024)
    shapes = tf.data.get_output_shapes(chunks)
    if not all(shape[1:].is_fully_defined() for shape in tf.nest.flatten(shapes)):
        return elements.batch(count)  # which finds out whether they are of one shape

    @native
    def flatten(*chunks: Any) -> Any:
        def join(array: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
            return tf.reshape(array, [-1, *shape[1:].as_list()])[:count]

        return tf.nest.map_structure(join, chunks, shapes)

    # In two steps. One would keep every array as a tensor of its own until it has them all, which
    # takes some 200 bytes for each. Only the last chunk is shorter, and padded.
    return chunks.padded_batch(-(-count // 1024), shapes).map(flatten)


def _indices(
    source: Source, count: int, full: int, start_step: Any, weights: Any, buckets: Any
) -> tf.data.Dataset:
    """Endless batches of indices: (epoch int64 [], int32 [batch_size] below `count`).

    Args:
        source: its batch size and seed count.
        count: the number of records.
        full: the number of full batches in them.
        start_step: int or int64 tensor []; batches to skip.
        weights: how often to take each record, float64 [count]; None takes each once.
        buckets: int64 [count]; records of one bucket come in one batch; None mixes all.
    """
    start_step = tf.cast(start_step, tf.int64)
    cumulative = None if weights is None else tf.cumsum(weights)

    @native
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(source.seed, tf.int64), epoch])
        order = tf.argsort(tf.random.stateless_uniform([count], key))
        if cumulative is not None:
            # Systematic sampling, Kitagawa 1996: each record as often as its weight says, but
            # for a fraction, which the offset decides.
            offset = tf.random.stateless_uniform([], key, dtype=tf.float64)
            places = (tf.cast(order, tf.float64) + offset) / count * cumulative[-1]
            order = tf.minimum(tf.searchsorted(cumulative, places, side="right"), count - 1)
        order = order[: full * source.batch_size]
        if buckets is not None:
            order = tf.gather(order, tf.argsort(tf.gather(buckets, order), stable=True))
        batches = tf.reshape(order, [full, source.batch_size])
        if buckets is not None:
            batches = tf.gather(batches, tf.argsort(tf.random.stateless_uniform([full], key)))
        # Slices, since TensorFlow 1.15 crashes on a constant skip(0) inside such a function.
        done = tf.where(tf.equal(epoch, start_step // full), start_step % full, 0)
        epochs = tf.data.Dataset.from_tensors(epoch).repeat()
        return tf.data.Dataset.zip((epochs, tf.data.Dataset.from_tensor_slices(batches[done:])))

    return tf.data.Dataset.range(start_step // full, ENDLESS).flat_map(epoch_batches)
