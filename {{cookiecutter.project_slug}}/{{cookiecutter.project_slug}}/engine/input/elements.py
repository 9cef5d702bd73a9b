"""Records on their way to batches: read, numbered, filtered, divided among workers, batched.

An element is (id, record): the id, int64 [], says where the record is in the files, in whatever
order they are read.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Callable, Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError
from ..interrupts import leave_if_told

if TYPE_CHECKING:
    from ...data.dataset import Dataset

ENDLESS = np.iinfo(np.int64).max
OPEN_FILES = 16  # read side by side, in turn
CPU = tf.ConfigProto(device_count={"GPU": 0})  # the GPU's settings are the trainer's

#: AutoGraph would rewrite Python's `if` and `for` on tensors; it takes a second to start.
native = tf.autograph.experimental.do_not_convert


def arguments(record: Any) -> tuple[Any, ...]:
    """A record as `keep`, `decode` and `convert` take it."""
    return record if isinstance(record, tuple) else (record,)


def elements_of(
    dataset: Dataset,
    split: str,
    shard: tuple[int, int] = (0, 1),
    epoch: tf.Tensor | None = None,
    names: tf.Tensor | None = None,
) -> tf.data.Dataset:
    """The elements of a split that `keep` lets through, not decoded.

    Args:
        dataset: where they come from.
        split: one of its splits.
        shard: (index, number) of a share: every number-th file if there are so many, else every
            number-th record.
        epoch: int64 []; given, files come in an order that it is the key of, side by side.
        names: see `file_names`; default: made here.
    """
    index, number = shard
    if dataset.overrides("records"):
        elements = _numbered(dataset.records(split), 0)
    else:
        paths = dataset.files(split)
        if not paths:
            name = type(dataset).__name__
            raise DataError(f"{name}: there are no files of the {split} split; check data.*")
        names = file_names(dataset, split) if names is None else names
        order = tf.range(len(paths), dtype=tf.int64)
        if len(paths) >= number:
            order, index, number = order[index::number], 0, 1
        if epoch is not None:
            key = tf.stack([tf.constant(dataset.seed, tf.int64), epoch])
            order = tf.gather(order, tf.argsort(tf.random.stateless_uniform(order.shape, key)))
        files = tf.data.Dataset.from_tensor_slices((order, tf.gather(names, order)))

        @native
        def read(file: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
            return _numbered(dataset.read(path), file * 2**32)

        if epoch is None:
            elements = files.flat_map(read)
        else:
            calls = min(dataset.parallel_calls, OPEN_FILES)
            elements = files.interleave(read, OPEN_FILES, OPEN_FILES, num_parallel_calls=calls)
    if dataset.overrides("keep"):
        elements = _kept(dataset, elements)
    return elements.shard(number, index) if number > 1 else elements


def file_names(dataset: Dataset, split: str) -> tf.Tensor:
    """The paths of a split's files, string [files], handed over when the pipeline starts.

    As a constant, a million of them would be in the event file, too. Call it outside of functions
    that run again: Python that is asked for while the process ends brings it down.
    """
    paths = np.array([] if dataset.overrides("records") else dataset.files(split), object)
    return tf.py_func(lambda: paths, [], tf.string, stateful=False)


def _numbered(records: tf.data.Dataset, first: Any) -> tf.data.Dataset:
    return tf.data.Dataset.zip((tf.data.Dataset.range(first, ENDLESS), records))


def _kept(dataset: Dataset, elements: tf.data.Dataset) -> tf.data.Dataset:
    @native
    def mask(ids: tf.Tensor, record: Any) -> Any:
        kept = dataset.keep(*arguments(record))
        return tf.nest.map_structure(lambda array: tf.boolean_mask(array, kept), (ids, record))

    @native
    def keep_one(_: tf.Tensor, record: Any) -> tf.Tensor:
        return tf.reshape(dataset.keep(*arguments(batch_of_one(record))), [])

    if dataset.padding is not None:  # their lengths differ: no batch without it
        return elements.filter(keep_one)
    return elements.batch(1024).map(mask).unbatch()


def decoded(dataset: Dataset, elements: tf.data.Dataset) -> tf.data.Dataset:
    """Elements whose records have gone through `decode`, in the same order."""

    @native
    def decode(ids: tf.Tensor, record: Any) -> Any:
        return ids, dataset.decode(*arguments(record))

    return elements.map(decode, dataset.parallel_calls) if dataset.overrides("decode") else elements


def batched(dataset: Dataset, elements: tf.data.Dataset, drop_remainder: bool) -> tf.data.Dataset:
    """Batches of elements, filled up with `padding` where records may differ in length."""
    if dataset.padding is None:
        return elements.batch(dataset.batch_size, drop_remainder)
    types, shapes = tf.data.get_output_types(elements), tf.data.get_output_shapes(elements)
    padding = tf.nest.map_structure(tf.constant, dataset.padding, types[1])
    return elements.padded_batch(
        dataset.batch_size, shapes, (tf.zeros([], types[0]), padding), drop_remainder
    )


def in_threads(batches: tf.data.Dataset, dataset: Dataset) -> tf.data.Dataset:
    """The same with threads of its own for `parallel_calls`; 1.15 would take the session's.

    What has these can be saved no more.
    """
    options = tf.data.Options()
    threading = getattr(options, "threading", None) or options.experimental_threading
    threading.private_threadpool_size = dataset.parallel_calls
    return batches.with_options(options)


def untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The same without TensorFlow's search for the best numbers of calls, which we set.

    On 1.15 what it notes of files that are read side by side may be freed, where a session ends,
    before a file is closed: one process in fifty crashed.
    """
    options = tf.data.Options()
    if hasattr(options, "autotune"):
        options.autotune.enabled = False
    else:
        options.experimental_optimization.autotune = False
    return batches.with_options(options)


def batch_of_one(record: Any) -> Any:
    """A record -> a batch that holds it alone."""
    return tf.nest.map_structure(lambda array: array[tf.newaxis], record)


def bucket_of(dataset: Dataset, record: Any) -> tf.Tensor:
    """How many of the dataset's `buckets` a record's length reaches: int64 []."""
    reached = dataset.length(*arguments(record)) >= dataset.buckets
    return tf.reduce_sum(tf.cast(reached, tf.int64))


def run_once(build: Callable[[], Any]) -> Any:
    """Builds tensors in a graph of their own and returns their values."""
    with tf.Graph().as_default(), tf.Session(config=CPU) as session:
        return session.run(build())


def iterate(build: Callable[[], tf.data.Dataset]) -> Iterator[Any]:
    """Builds a dataset in a graph of its own and gives its elements as NumPy arrays."""
    with tf.Graph().as_default(), tf.Session(config=CPU) as session:
        element = tf.data.make_one_shot_iterator(build()).get_next()
        with contextlib.suppress(tf.errors.OutOfRangeError):
            while True:
                value = session.run(element)
                leave_if_told()  # a pass over many records may be long
                yield value
