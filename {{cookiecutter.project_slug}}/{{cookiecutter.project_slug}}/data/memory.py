"""The in-memory engine: records live once as raw bytes, an epoch is a permutation of indices."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import tensorflow.compat.v1 as tf


def shuffled_batches(
    records: tf.data.Dataset,
    count: int,
    batch_size: int,
    convert: Callable[..., Any],
    seed: int,
    start_step: Any,
) -> tf.data.Dataset:
    """Endless shuffled batches whose order is a function of (seed, step) alone.

    So a restart continues with the very batches that would have come: there is no state to save.
    Each epoch is a full shuffle, not one through a buffer.

    Args:
        records: the raw records; read once, when the iterator is initialised.
        count: how many there are.
        batch_size: records in a batch, at most `count`.
        convert: a batch of records -> (features, labels).
        seed: the key of the order.
        start_step: int or int64 tensor []; batches to skip.
    """
    # Made outside of the function below: inside, TensorFlow 1.15 crashes when it optimises a skip
    # by a constant 0 away.
    indices = batch_indices(count, batch_size, seed, start_step)

    @tf.autograph.experimental.do_not_convert
    def from_memory(*everything: Any) -> tf.data.Dataset:
        def batch(chosen: tf.Tensor) -> Any:
            # One gather and one conversion for the batch, not one for each of its examples.
            return convert(*tf.nest.map_structure(lambda all_: tf.gather(all_, chosen), everything))

        return indices.map(batch)

    # The one element that holds all records is the argument of the function above: TensorFlow
    # hands it on without a copy, and neither the graph nor Python ever holds the data.
    return records.batch(count).flat_map(from_memory).prefetch(2)


def batch_indices(count: int, batch_size: int, seed: int, start_step: Any) -> tf.data.Dataset:
    """Endless int32 [batch_size] indices below `count`: a new permutation in each epoch."""
    batches_per_epoch = count // batch_size
    start_step = tf.cast(start_step, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.argsort(tf.random.stateless_uniform([count], seed=key))
        full = tf.reshape(order[: batches_per_epoch * batch_size], [batches_per_epoch, batch_size])
        return tf.data.Dataset.from_tensor_slices(full)

    epochs = tf.data.Dataset.range(start_step // batches_per_epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch_batches).skip(start_step % batches_per_epoch)
