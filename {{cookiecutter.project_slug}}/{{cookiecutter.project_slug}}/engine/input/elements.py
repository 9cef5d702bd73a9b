"""Records on their way to batches: read, numbered, filtered, divided among workers, batched.

An element is (id, record): the id, int64 [], says where the record is in the files, in whatever
order they are read.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import OTHER_GRAPH, DataError, explained
from .random_numbers import example_keys
from .source import VALIDATION, Source, features_and_labels, split_in_files

ENDLESS = np.iinfo(np.int64).max
CONSTANTS = 100e6  # the most bytes of data in a graph
OPEN_FILES = 16  # read side by side, in turn
CPU = tf.ConfigProto(device_count={"GPU": 0})  # the GPU's settings are the trainer's

#: AutoGraph would rewrite Python's `if` and `for` on tensors; it takes a second to start.
native = tf.autograph.experimental.do_not_convert


def arguments(record: Any) -> tuple[Any, ...]:
    """A record as `keep`, `decode` and `convert` take it."""
    return record if isinstance(record, tuple) else (record,)


def elements_of(
    source: Source,
    split: str,
    shard: tuple[int, int] = (0, 1),
    epoch: tf.Tensor | None = None,
    names: tf.Tensor | None = None,
) -> tf.data.Dataset:
    """The elements of a split that `keep` lets through, not decoded.

    Args:
        source: where they come from.
        split: one of its splits.
        shard: (index, number) of a share: every number-th file if there are as many, else every
            number-th record.
        epoch: int64 []; given, files are read side by side, in an order that it is the key of.
        names: see `file_names`; default: made here.
    """
    index, number = shard
    in_files = split_in_files(source, split)
    if source.overrides("records"):
        elements = _numbered(_records(source, in_files), 0)
    else:
        paths = source.files(in_files)
        if not paths:
            name = type(source).__name__
            raise DataError(f"{name}: there are no files of the {split} split; check data.*")
        names = file_names(source, split) if names is None else names
        order = tf.range(len(paths), dtype=tf.int64)
        if len(paths) >= number:
            order, index, number = order[index::number], 0, 1
        if epoch is not None:
            key = tf.stack([tf.constant(source.seed, tf.int64), epoch])
            order = tf.gather(order, tf.argsort(tf.random.stateless_uniform(order.shape, key)))
        files = tf.data.Dataset.from_tensor_slices((order, tf.gather(names, order)))
        read = native(lambda file, path: _numbered(source.read(path), file * 2**32))
        if epoch is None:
            elements = files.flat_map(read)
        else:
            calls = min(source.parallel_calls, OPEN_FILES)
            elements = files.interleave(read, OPEN_FILES, OPEN_FILES, num_parallel_calls=calls)
    shared = source.validation_share and split in (source.training_split, VALIDATION)
    if shared or source.overrides("keep"):
        held_out = _held_out(source, in_files, names) if shared else None
        elements = _kept(source, elements, held_out, split == VALIDATION)
    return elements.shard(number, index) if number > 1 else elements


def _records(source: Source, split: str) -> tf.data.Dataset:
    """The source's own; raises DataError if they write their data into the graph."""
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
    return records


def file_names(source: Source, split: str) -> tf.Tensor:
    """The paths of a split's files, string [files], handed over when the pipeline starts.

    As a constant, a million of them would be in the event file, too. Call it outside of functions
    that run again: a call of Python while the process ends crashes it.
    """
    in_files = split_in_files(source, split)
    files = [] if source.overrides("records") else source.files(in_files)
    paths = np.array(list(map(os.fsencode, files)), object)
    return tf.py_func(lambda: paths, [], tf.string, stateful=False)


def _numbered(records: tf.data.Dataset, first: Any) -> tf.data.Dataset:
    return tf.data.Dataset.zip((tf.data.Dataset.range(first, ENDLESS), records))


def _held_out(source: Source, split: str, names: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function: ids int64 [batch] -> whether each record is for validation, bool [batch].

    A hash decides, of the record's number in its file and of the file's path below the folder that
    all are in: so records and files that are added move no others, nor does another data.seed.
    """
    if source.overrides("records"):
        hashes = tf.zeros([1], tf.int64)
    else:
        shared = os.path.commonprefix(source.files(split))  # noqa: RUF071, it is cut at a folder
        folder = len(os.fsencode(shared[: shared.rfind(os.sep) + 1]))
        names = tf.strings.substr(tf.reshape(names, [-1]), folder, 2**30)
        hashes = tf.strings.to_hash_bucket_fast(names, 2**32)
    limit = int(source.validation_share * 2**32)
    return lambda ids: example_keys(0, tf.gather(hashes, ids // 2**32), ids % 2**32) < limit


def _kept(
    source: Source,
    elements: tf.data.Dataset,
    held_out: Callable[[tf.Tensor], tf.Tensor] | None,
    wanted: bool,
) -> tf.data.Dataset:
    @native
    def mask(ids: tf.Tensor, record: Any) -> Any:
        kept = source.keep(*arguments(record))
        if held_out:
            kept &= tf.equal(held_out(ids), wanted)
        return tf.nest.map_structure(lambda array: tf.boolean_mask(array, kept), (ids, record))

    # Records of different length are a batch each: `keep` sees them without padding.
    shapes = tf.nest.flatten(tf.data.get_output_shapes(elements))
    alike = source.padding is None or all(shape.is_fully_defined() for shape in shapes)
    with explained(f"{type(source).__name__}.keep", DataError, OTHER_GRAPH):
        return elements.batch(1024 if alike else 1).map(mask).unbatch()


def decoded(source: Source, elements: tf.data.Dataset) -> tf.data.Dataset:
    """Elements whose records have gone through `decode`, in the same order."""
    if not source.overrides("decode"):
        return elements
    decode = native(lambda ids, record: (ids, source.decode(*arguments(record))))
    return elements.map(decode, source.parallel_calls)


def batched(source: Source, elements: tf.data.Dataset, drop_remainder: bool) -> tf.data.Dataset:
    """Batches of elements, filled up with `padding` where records may differ in length."""
    if source.padding is None:
        return elements.batch(source.batch_size, drop_remainder)
    types, shapes = tf.data.get_output_types(elements), tf.data.get_output_shapes(elements)
    try:
        padding = tf.nest.map_structure(tf.constant, source.padding, types[1])
    except (TypeError, ValueError):
        raise DataError(
            f"{type(source).__name__}: found padding={source.padding!r}, expected that of a record "
            f"of {tf.nest.map_structure(lambda type_: type_.name, types[1])}"
        ) from None
    return elements.padded_batch(
        source.batch_size, shapes, (tf.zeros([], types[0]), padding), drop_remainder
    )


def to_batch(source: Source, record: Any, keys: tf.Tensor | None = None) -> tuple[Any, Any]:
    """A batch of records -> (features, labels); keys: int64 [batch], to augment with."""
    what = type(source).__name__
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
    threading.private_threadpool_size = source.parallel_calls
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
