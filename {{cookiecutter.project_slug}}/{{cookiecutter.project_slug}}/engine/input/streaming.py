"""The streaming engine: records pass through a shuffle buffer, for data that fit no memory."""

from __future__ import annotations

import glob
import logging
import os
import zlib
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import tensorflow.compat.v1 as tf

from .elements import (
    ENDLESS,
    arguments,
    batch_of_one,
    batched,
    bucket_of,
    decoded,
    elements_of,
    file_names,
    native,
    run_once,
    untuned,
)
from .random_numbers import example_keys, uniform
from .sizes import check_enough_records, class_weights, count_records, describe_files

if TYPE_CHECKING:
    from ...data.dataset import Dataset

logger = logging.getLogger(__name__)

# Settings that change the batches, not the records.
BATCHING = [
    *("batch_size", "seed", "memory_fraction", "shuffle_buffer", "parallel_calls", "cache"),
    *("balance", "buckets"),
]


def streamed_batches(dataset: Dataset, split: str, start_step: Any) -> tf.data.Dataset:
    """Endless shuffled batches; their position is part of the iterator, which can be saved.

    Files come in another order in each epoch and are read side by side; from the shuffle buffer
    on everything is a function of (seed, epoch). A batch may hold the end of an epoch and the
    begin of the next.

    Args:
        dataset: gives the records, and how to make batches of them.
        split: which to read.
        start_step: int or int64 tensor []; where no saved iterator is restored, the number of
            the first epoch, so that its order is another than before.

    Raises:
        DataError: there are fewer records than one batch.
    """
    found = count_records(dataset, split, dataset.shard, most=dataset.batch_size)
    check_enough_records(dataset, split, found)
    cache = _cache(dataset, split) if dataset.cache else ""

    names = file_names(dataset, split)

    @native
    def epoch_elements(epoch: tf.Tensor) -> tf.data.Dataset:
        elements = elements_of(dataset, split, dataset.shard, epoch, names)
        if cache:
            elements = elements.cache(cache)
        if dataset.balance or dataset.overrides("augment"):
            elements = elements.map(native(lambda id_, record: (tf.stack([epoch, id_]), record)))
        seed = epoch * 2**20 + dataset.seed
        return elements.shuffle(dataset.shuffle_buffer, seed, reshuffle_each_iteration=False)

    @native
    def to_batch(ids: tf.Tensor, record: Any) -> Any:
        keys = ids  # which nobody asks for
        if ids.shape.rank == 2:
            keys = example_keys(dataset.seed, ids[:, 0], ids[:, 1])
        return dataset.to_batch(keys, record)

    epochs = tf.data.Dataset.range(tf.cast(start_step, tf.int64), ENDLESS)
    elements = decoded(dataset, epochs.flat_map(epoch_elements))
    if dataset.balance:
        elements = elements.filter(_draw(dataset, class_weights(dataset, split)))
    batches = _full_batches(dataset, elements)
    return untuned(batches.map(to_batch, dataset.parallel_calls).prefetch(2))


def _full_batches(dataset: Dataset, elements: tf.data.Dataset) -> tf.data.Dataset:
    if not dataset.buckets:
        return batched(dataset, elements, drop_remainder=True)
    bucket = native(lambda _, record: bucket_of(dataset, record))
    batch = native(lambda _, window: batched(dataset, window, drop_remainder=True))
    group = tf.data.experimental.group_by_window(bucket, batch, dataset.batch_size)
    return elements.apply(group)


def _cache(dataset: Dataset, split: str) -> str:
    """The path of the cache of these files and settings, which is filled now unless it was before.

    Not while training: what a killed run leaves of a cache, no restored iterator could complete.
    """
    plain = (str, int, float, list, tuple)
    settings = {key: value for key, value in vars(dataset).items() if isinstance(value, plain)}
    own = sorted((key, value) for key, value in settings.items() if key not in BATCHING)
    files = describe_files(dataset.files(split))
    source = (type(dataset).__qualname__, dataset.shard, files, own)
    path = f"{dataset.cache}-{split}-{zlib.crc32(repr(source).encode()):08x}"
    if not os.path.exists(f"{path}.index"):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        for part in glob.glob(f"{glob.escape(path)}*"):
            os.remove(part)

        def fill() -> tf.Tensor:
            elements = elements_of(dataset, split, dataset.shard, tf.zeros([], tf.int64))
            return elements.cache(path).reduce(0, native(lambda total, *_: total))

        logger.info("%s: reading all records into %s", split, path)
        run_once(fill)
    logger.info("%s: using %s*; remove it after a change of `read` or `keep`", split, path)
    return path


def _draw(dataset: Dataset, weights: np.ndarray) -> Callable[..., tf.Tensor]:
    """A filter that lets the rarest class through, and of the others as many as wanted."""
    chances = tf.constant(weights / weights.max(), tf.float32)

    @native
    def draw(ids: tf.Tensor, record: Any) -> tf.Tensor:
        (epoch, number), batch = tf.unstack(ids), batch_of_one(record)
        keys = example_keys(dataset.seed, epoch, number[tf.newaxis])
        chance = tf.gather(chances, dataset.label(*arguments(batch)))
        return tf.reshape(uniform(keys, stream=-1) < chance, [])

    return draw
