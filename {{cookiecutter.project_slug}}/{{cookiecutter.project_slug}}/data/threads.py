"""Threads of the pipeline's own, and what they make possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow.compat.v1 as tf

if TYPE_CHECKING:
    from .dataset import Dataset


def in_threads(batches: tf.data.Dataset, dataset: Dataset) -> tf.data.Dataset:
    """The same with threads of its own for `parallel_calls`; 1.15 would take the session's.

    What has these can be saved no more.
    """
    options = tf.data.Options()
    _threading(options).private_threadpool_size = dataset.parallel_calls
    return batches.with_options(options)


def make_iterator(batches: tf.data.Dataset) -> tf.data.Iterator | DirectIterator:
    """An iterator to be initialised; a direct one, if what it gives is made `in_threads`.

    Else the batch that a thread of the session waits for might be waiting for that thread; so
    might Python in the pipeline that opens a session, where `inter_op_threads` is 1.
    """
    iterator = tf.data.make_initializable_iterator(batches)
    own = _threading(batches.options()).private_threadpool_size
    kinds = tf.nest.flatten(tf.data.get_output_classes(batches))
    dense = all(kind is tf.Tensor for kind in kinds)
    return DirectIterator(iterator) if own and dense else iterator


class DirectIterator:
    """Takes the next batch in the thread that asks for it.

    That of TensorFlow asks another thread, and the session waits until it has woken up.

    Args:
        iterator: gives tensors, no sparse ones.
    """

    def __init__(self, iterator: tf.data.Iterator) -> None:
        self.initializer = iterator.initializer
        # By this name TensorFlow looks for it when an iterator is saved.
        self._iterator_resource = iterator._iterator_resource
        self._types = tf.data.get_output_types(iterator)
        self._shapes = tf.data.get_output_shapes(iterator)

    def get_next(self) -> Any:
        """The next batch, in the structure of the dataset's elements."""
        batch = tf.raw_ops.IteratorGetNextSync(
            iterator=self._iterator_resource,
            output_types=tf.nest.flatten(self._types),
            output_shapes=tf.nest.flatten(self._shapes),
        )
        return tf.nest.pack_sequence_as(self._types, batch)


def _threading(options: tf.data.Options) -> Any:
    return getattr(options, "threading", None) or options.experimental_threading
