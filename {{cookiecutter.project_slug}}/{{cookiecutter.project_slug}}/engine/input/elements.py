"""Records on their way to batches: read, numbered, decoded, batched.

An element is (id, record): the id, int64 [], says where the record is in the files, in whatever
order they are read.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError
from .source import Source, features_and_labels

ENDLESS = np.iinfo(np.int64).max
CONSTANTS = 100e6  # the most bytes of data in a graph
CPU = tf.ConfigProto(device_count={"GPU": 0})  # the GPU's settings are the trainer's

#: AutoGraph would rewrite Python's `if` and `for` on tensors; it takes a second to start.
native = tf.autograph.experimental.do_not_convert


def arguments(record: Any) -> tuple[Any, ...]:
    """A record as `keep`, `decode` and `convert` take it."""
    return record if isinstance(record, tuple) else (record,)


def numbered_records(source: Source, split: str) -> tf.data.Dataset:
    """The source's own `records` as elements.

    Raises:
        DataError: they come in another order each time, or write their data into the graph.
    """
    graph = tf.get_default_graph()
    before, size = len(graph.get_operations()), 0
    try:
        records = source.records(split)
    except ValueError as error:
        if "2GB" not in str(error):
            raise
        size = 2**31
    operations = graph.get_operations()[before:]
    if any(op.type.startswith("Shuffle") for op in operations):
        raise DataError(
            f"{type(source).__name__}.records: found a shuffle, expected the same order each time; "
            "leave shuffle() out, which training does, and give list_files shuffle=False"
        )
    made = [op.outputs[0] for op in operations if op.type == "Const"]
    size += sum(array.shape.num_elements() * array.dtype.size for array in made)
    if size > CONSTANTS:
        raise DataError(
            f"{type(source).__name__}.records: {size / 1e6:.0f} MB of data are constants of the "
            "graph, and so in each event file; take numpy_slices of engine/input/numpy_slices.py "
            "in place of from_tensor_slices"
        )
    return numbered(records, 0)


def numbered(records: tf.data.Dataset, first: Any) -> tf.data.Dataset:
    """Records -> elements, whose ids begin with `first`, int64 []."""
    return tf.data.Dataset.zip((tf.data.Dataset.range(first, ENDLESS), records))


def decoded(source: Source, elements: tf.data.Dataset) -> tf.data.Dataset:
    """Elements whose records have gone through `decode`, in the same order."""
    if not source.overrides("decode"):
        return elements
    decode = native(lambda ids, record: (ids, source.decode(*arguments(record))))
    # Twice as many, for those that are done wait for the ones before them.
    return elements.map(decode, 2 * source.parallel_calls)


def batched(source: Source, elements: tf.data.Dataset, drop_remainder: bool) -> tf.data.Dataset:
    """Batches of elements, filled up with `padding` where records may differ in length."""
    if source.padding is None:
        return elements.batch(source.batch_size, drop_remainder)
    types, shapes = tf.data.get_output_types(elements), tf.data.get_output_shapes(elements)
    padding = (tf.zeros([], types[0]), padding_of(source, types[1]))
    return elements.padded_batch(source.batch_size, shapes, padding, drop_remainder)


def padding_of(source: Source, types: Any) -> Any:
    """`padding` in the types of a record; raises DataError if it is of another structure."""
    try:
        return tf.nest.map_structure(tf.constant, source.padding, types)
    except (TypeError, ValueError):
        raise DataError(
            f"{type(source).__name__}: found padding={source.padding!r}, expected that of a record "
            f"of {tf.nest.map_structure(lambda type_: type_.name, types)}"
        ) from None


def to_batch(
    source: Source, record: Any, keys: tf.Tensor | None = None, rows: slice = slice(None)
) -> tuple[Any, Any]:
    """A batch of records -> (features, labels); keys: int64 [batch], to augment with.

    rows: which of them to take.
    """
    what = type(source).__name__
    if rows != slice(None):
        record, keys = tf.nest.map_structure(lambda array: array[rows], (record, keys))
    batch = features_and_labels(f"{what}.convert", source.convert(*arguments(record)))
    if keys is not None and source.overrides("augment"):
        batch = features_and_labels(f"{what}.augment", source.augment(*batch, keys))
    return batch


def in_threads(batches: tf.data.Dataset, source: Source) -> tf.data.Dataset:
    """The same with threads of its own for `parallel_calls`; 1.15 would take the session's.

    The position of what has these cannot be saved.
    """
    options = tf.data.Options()
    threading = getattr(options, "threading", None) or options.experimental_threading
    # Two at least: one may be busy with the order of an epoch.
    threading.private_threadpool_size = max(source.parallel_calls, 2)
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


def bucket_of(source: Source, record: Any) -> tf.Tensor:
    """How many of the `buckets` a record's length reaches: int64 []."""
    reached = source.length(*arguments(record)) >= source.buckets
    return tf.reduce_sum(tf.cast(reached, tf.int64))


def run_once(build: Callable[[], Any]) -> Any:
    """Builds tensors in a graph of their own and returns their values."""
    with tf.Graph().as_default(), tf.Session(config=CPU) as session:
        return session.run(build())


def dense(*batch: Any) -> Any:
    """A batch whose sparse tensors are dense ones."""
    return tf.nest.map_structure(
        lambda x: tf.sparse.to_dense(x) if isinstance(x, tf.SparseTensor) else x, batch
    )


def iterate(build: Callable[[], tf.data.Dataset]) -> Iterator[Any]:
    """Builds a dataset in a graph of its own and gives its elements as NumPy arrays."""
    with tf.Graph().as_default(), tf.Session(config=CPU) as session:
        iterator = tf.data.make_initializable_iterator(build())  # it may use lookup tables
        element = iterator.get_next()
        session.run(tf.tables_initializer())
        session.run(iterator.initializer)
        with contextlib.suppress(tf.errors.OutOfRangeError):
            while True:
                yield session.run(element)
