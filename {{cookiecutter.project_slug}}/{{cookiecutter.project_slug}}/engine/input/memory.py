"""The in-memory mode: records are held once as raw bytes, an epoch is a permutation of indices."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from .elements import (
    ENDLESS,
    arguments,
    batch_of_one,
    bucket_of,
    decoded,
    native,
    padding_of,
    to_batch,
)
from .flat import flattened, gathered, joined, located
from .random_numbers import example_keys
from .rows import own_rows
from .sizes import class_weights, count_records, full_batches
from .source import Source
from .split import elements_of

#: What an error says if `count` is not the number of records.
WRONG_COUNT = "more or fewer records than count() says"


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
    types, shapes = tf.data.get_output_types(elements)[1], tf.data.get_output_shapes(elements)[1]
    ragged = source.padding is not None
    paddings = tf.nest.flatten(padding_of(source, types)) if ragged else []

    @native
    def pack(number: tf.Tensor, record: Any) -> Any:
        bucket = bucket_of(source, record) if source.buckets else 0
        label = source.label(*arguments(batch_of_one(record))) if source.balance else [0]
        arrays = tuple(map(flattened, tf.nest.flatten(record), paddings))
        return number, arrays, bucket, label[0]

    @native
    def from_memory(
        ids: tf.Tensor, everything: Any, buckets: Any = None, labels: Any = None
    ) -> tf.data.Dataset:
        arrays = [located(*array) for array in everything] if ragged else []

        @native
        def batch(epoch: tf.Tensor, examples: tuple[tf.Tensor, ...]) -> Any:
            chosen, *repeats = examples
            keys = example_keys(source.seed, epoch, tf.gather(ids, chosen), *repeats)
            if ragged:
                found = [gathered(chosen, *array) for array in arrays]
                record = tf.nest.map_structure(
                    lambda array, shape: tf.ensure_shape(array, [source.batch_size, *shape]),
                    tf.nest.pack_sequence_as(types, found),
                    shapes,
                )
            else:
                record = tf.nest.map_structure(lambda all_: tf.gather(all_, chosen), everything)
            return to_batch(source, record, keys, rows)

        rows = own_rows(source)
        weights = None
        if shares is not None:
            labels = labels if ragged else source.label(*arguments(everything))
            weights = tf.gather(shares, labels)
        indices = _indices(
            source, count, full, start_step, weights, buckets if source.buckets else None
        )
        # One gather and one conversion for the batch, not one for each of its examples.
        return indices.map(batch, source.parallel_calls)

    if ragged:
        elements = elements.map(pack, source.parallel_calls)
    checked = native(lambda ids, *all_: (_checked(ids, tf.size(ids), count), *all_))
    # The one element that holds all records is the argument of the function above: TensorFlow
    # hands it on without a copy, and neither the graph nor Python ever holds the data.
    return joined(elements).map(checked).flat_map(from_memory).prefetch(2)


def _checked(ids: tf.Tensor, found: tf.Tensor, count: int) -> tf.Tensor:
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(found, count), [WRONG_COUNT])]):
        return tf.identity(ids)


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

    @native
    def ordered(epoch: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        key = tf.stack([tf.constant(source.seed, tf.int64), epoch])
        order = tf.argsort(tf.random.stateless_uniform([count], key))
        examples = [order]
        if weights is not None:
            examples = [tf.gather(each, order) for each in _drawn(weights, count, key)]
        examples = [each[: full * source.batch_size] for each in examples]
        if buckets is not None:
            sorted_ = tf.argsort(tf.gather(buckets, examples[0]), stable=True)
            examples = [tf.gather(each, sorted_) for each in examples]
        batches = [tf.reshape(each, [full, source.batch_size]) for each in examples]
        if buckets is not None:
            shuffled = tf.argsort(tf.random.stateless_uniform([full], key))
            batches = [tf.gather(each, shuffled) for each in batches]
        return epoch, tuple(batches)

    @native
    def one_by_one(epoch: tf.Tensor, batches: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
        # Slices, since TensorFlow 1.15 crashes on a constant skip(0) inside such a function.
        done = tf.where(tf.equal(epoch, start_step // full), start_step % full, 0)
        following = tf.data.Dataset.from_tensor_slices(tuple(each[done:] for each in batches))
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(epoch).repeat(), following))

    # An epoch's order is made while the one before runs, for many records take seconds to sort: by
    # a parallel map, since a prefetch(1) here crashes 1.15 while it optimizes functions.
    epochs = tf.data.Dataset.range(start_step // full, ENDLESS)
    return epochs.map(ordered, 1).flat_map(one_by_one)


def _drawn(weights: tf.Tensor, count: int, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws `count` records; returns them, and how often each came before: int32 [count] both.

    Systematic sampling, Kitagawa 1996: each record as often as its weight says, but for a
    fraction, which the offset decides. The weights run along a permutation of their own, lest of
    neighbors in the files every n-th is taken.
    """
    offset = tf.random.stateless_uniform([], key, dtype=tf.float64)
    along = tf.argsort(tf.random.stateless_uniform([count], tf.stack([key[0], -1 - key[1]])))
    cumulative = tf.cumsum(tf.gather(weights, along))
    places = (tf.cast(tf.range(count), tf.float64) + offset) / count * cumulative[-1]
    found = tf.minimum(tf.searchsorted(cumulative, places, side="right"), count - 1)
    return tf.gather(along, found), tf.range(count) - tf.searchsorted(found, found)
