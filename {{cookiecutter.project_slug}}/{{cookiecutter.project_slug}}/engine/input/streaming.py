"""The streaming mode: records pass through a shuffle buffer, for data too large for memory."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import tensorflow.compat.v1 as tf

from .elements import (
    ENDLESS,
    arguments,
    batch_of_one,
    batched,
    bucket_of,
    decoded,
    native,
    to_batch,
    untuned,
)
from .footprint import buffer_size
from .random_numbers import example_keys, uniform
from .sizes import class_weights, count_records, full_batches
from .source import Source
from .split import elements_of, given


def streamed_batches(source: Source, split: str, start_step: Any) -> tf.data.Dataset:
    """Endless shuffled batches; their position is part of the iterator, which can be saved.

    Files come in another order in each epoch and are read side by side; from the shuffle buffer
    on everything is a function of (seed, epoch). A batch may hold the end of an epoch and the
    start of the next.

    Args:
        source: gives the records, and how to make batches of them.
        split: which to read.
        start_step: int or int64 tensor []; where no saved iterator is restored, the number of
            the first epoch, so that its order is another than before.

    Raises:
        DataError: there are fewer records than one batch.
    """
    full_batches(source, split, count_records(source, split, source.shard, source.batch_size))
    handed, buffer = given(source, split), buffer_size(source, split)
    augmented = source.overrides("augment")

    @native
    def epoch_elements(epoch: tf.Tensor) -> tf.data.Dataset:
        elements = elements_of(source, split, source.shard, epoch, handed)
        if source.balance or augmented:
            elements = elements.map(native(lambda id_, record: (tf.stack([epoch, id_]), record)))
        tf.set_random_seed(source.seed)  # of this function: else the trainer's would matter, too
        seed = epoch * 2**20 + source.seed
        return elements.shuffle(buffer, seed, reshuffle_each_iteration=False)

    @native
    def convert(ids: tf.Tensor, record: Any) -> Any:
        keys = example_keys(source.seed, ids[:, 0], ids[:, 1]) if augmented else None
        return to_batch(source, record, keys)

    epochs = tf.data.Dataset.range(tf.cast(start_step, tf.int64), ENDLESS)
    elements = decoded(source, epochs.flat_map(epoch_elements))
    if source.balance:
        elements = elements.filter(_draw(source, class_weights(source, split)))
    batches = _full_batches(source, elements)
    # Those that are done are part of the position, and so of each checkpoint: not one for a core.
    return untuned(batches.map(convert, min(source.parallel_calls, 2)).prefetch(2))


def _full_batches(source: Source, elements: tf.data.Dataset) -> tf.data.Dataset:
    if not source.buckets:
        return batched(source, elements, drop_remainder=True)
    bucket = native(lambda _, record: bucket_of(source, record))
    batch = native(lambda _, window: batched(source, window, drop_remainder=True))
    return elements.apply(tf.data.experimental.group_by_window(bucket, batch, source.batch_size))


def _draw(source: Source, weights: np.ndarray) -> Callable[..., tf.Tensor]:
    """A filter that keeps the rarest class, and of the others a share."""
    chances = tf.constant(weights / weights.max(), tf.float32)

    @native
    def draw(ids: tf.Tensor, record: Any) -> tf.Tensor:
        (epoch, number), batch = tf.unstack(ids), batch_of_one(record)
        keys = example_keys(source.seed, epoch, number[tf.newaxis])
        chance = tf.gather(chances, source.label(*arguments(batch)))
        return tf.reshape(uniform(keys, stream=-1) < chance, [])

    return draw
