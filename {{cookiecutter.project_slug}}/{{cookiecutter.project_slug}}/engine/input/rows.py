"""The rows of each batch that a worker in step converts and augments: its own, if that is exact."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from .elements import batched, decoded, dense, iterate, native, to_batch
from .source import Source
from .split import elements_of

TRIES = 8  # keys by which a batch is augmented, to see whether its examples are mixed


def own_rows(source: Source) -> slice:
    """The rows of a training batch in memory to convert: all, unless `take_rows` chose."""
    return vars(source).get("_own_rows", slice(None))


def take_rows(source: Source, index: int, number: int) -> bool:
    """Lets training batches in memory hold the index-th of `number` equal parts of each.

    Only if a part of a batch is converted and augmented to what it is in the whole batch, which
    one batch shows, by several keys: not where examples are mixed.

    Returns:
        Whether they do.
    """
    take_all_rows(source)
    size = source.batch_size // number
    parts = [slice(size * each, size * (each + 1)) for each in range(number)]
    in_memory = not source.overrides("batches") and source.in_memory(source.training_split)
    if in_memory and _are_alike(source, parts):
        vars(source)["_own_rows"] = parts[index]
        return True
    return False


def take_all_rows(source: Source) -> None:
    """Undoes `take_rows`."""
    vars(source).pop("_own_rows", None)


def _are_alike(source: Source, parts: list[slice]) -> bool:
    @native
    def both(number: tf.Tensor, batch: tuple[tf.Tensor, object]) -> object:
        ids, record = batch
        keys = (ids + number * 104729) * 7919  # of any epoch
        whole = to_batch(source, record, keys)
        divided = [to_batch(source, record, keys, rows) for rows in parts]
        return dense(whole), tuple(dense(each) for each in divided)

    def build() -> tf.data.Dataset:
        elements = decoded(source, elements_of(source, source.training_split))
        batches = batched(source, elements, drop_remainder=True).take(1).cache().repeat(TRIES)
        return tf.data.Dataset.zip((tf.data.Dataset.range(TRIES), batches)).map(both)

    tried = 0
    for whole, divided in iterate(build):
        tried += 1
        parts_of_each = zip(*(tf.nest.flatten(each) for each in divided))
        for array, each in zip(tf.nest.flatten(whole), parts_of_each):
            if len({np.shape(part)[1:] for part in each}) > 1:  # each as wide as its own longest
                return False
            if not np.array_equal(array, np.concatenate(each) if np.ndim(array) else each[0]):
                return False
    return tried > 0
