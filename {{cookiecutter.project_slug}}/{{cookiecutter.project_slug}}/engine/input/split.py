"""Which records of the files a split has: those to keep, a worker's share, that for validation."""

from __future__ import annotations

import os
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import OTHER_GRAPH, ConfigError, DataError, explained
from .elements import arguments, batched, decoded, iterate, native, numbered, numbered_records
from .random_numbers import example_keys
from .source import VALIDATION, Source, remembered, split_in_files

OPEN_FILES = 16  # read side by side, in turn
MOST_CLASSES = 10**7


class Given(NamedTuple):
    """What a pipeline is handed when it starts: a constant would be in the event file, too."""

    names: tf.Tensor  # the paths of the files, string [files]
    held_out: tf.Tensor | None = None  # ids for validation, ascending int64 [records]


def given(source: Source, split: str) -> Given:
    """For `elements_of` in functions that run again: there, a call of Python while the process
    ends crashes it."""
    if not (source.stratify and _is_shared(source, split)):
        return _names(source, split)
    held_out = remembered(source, "stratified", source.training_split, _stratified)
    ids = tf.py_func(lambda: held_out, [], tf.int64, stateful=False)
    return _names(source, split)._replace(held_out=tf.ensure_shape(ids, [None]))


def _names(source: Source, split: str) -> Given:
    in_files = split_in_files(source, split)
    files = [] if source.overrides("records") else source.files(in_files)
    paths = np.array(list(map(os.fsencode, files)), object)
    return Given(tf.py_func(lambda: paths, [], tf.string, stateful=False))


def elements_of(
    source: Source,
    split: str,
    shard: tuple[int, int] = (0, 1),
    epoch: tf.Tensor | None = None,
    handed: Given | None = None,
) -> tf.data.Dataset:
    """The elements of a split that `keep` lets through, not decoded.

    Args:
        source: where they come from.
        split: one of its splits.
        shard: (index, number) of a share: every number-th file if there are as many, else every
            number-th record.
        epoch: int64 []; given, files are read side by side, in an order that it is the key of.
        handed: see `given`; default: made here.
    """
    handed = handed or given(source, split)
    return _elements(source, split, shard, epoch, handed, _is_shared(source, split))


def all_elements(source: Source, split: str) -> tf.data.Dataset:
    """Those of a split's files: with what `validation_share` takes from it, or leaves."""
    return _elements(source, split, (0, 1), None, _names(source, split), shared=False)


def _elements(
    source: Source,
    split: str,
    shard: tuple[int, int],
    epoch: tf.Tensor | None,
    handed: Given,
    shared: bool,
) -> tf.data.Dataset:
    index, number = shard
    in_files = split_in_files(source, split)
    if source.overrides("records"):
        elements = numbered_records(source, in_files)
    else:
        count = len(source.files(in_files))
        if not count:
            name = type(source).__name__
            raise DataError(f"{name}: there are no files of the {split} split; check data.*")
        order = tf.range(count, dtype=tf.int64)
        if count >= number:
            order, index, number = order[index::number], 0, 1
        if epoch is not None:
            key = tf.stack([tf.constant(source.seed, tf.int64), epoch])
            order = tf.gather(order, tf.argsort(tf.random.stateless_uniform(order.shape, key)))
        files = tf.data.Dataset.from_tensor_slices((order, tf.gather(handed.names, order)))
        read = native(lambda file, path: numbered(source.read(path), file * 2**32))
        if epoch is None:
            elements = files.flat_map(read)
        else:
            calls = min(source.parallel_calls, OPEN_FILES)
            elements = files.interleave(read, OPEN_FILES, OPEN_FILES, num_parallel_calls=calls)
    if shared or source.overrides("keep"):
        held_out = _held_out(source, in_files, handed) if shared else None
        elements = _kept(source, elements, held_out, split == VALIDATION)
    return elements.shard(number, index) if number > 1 else elements


def _is_shared(source: Source, split: str) -> bool:
    return bool(source.validation_share) and split in (source.training_split, VALIDATION)


def _held_out(source: Source, split: str, handed: Given) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function: ids int64 [batch] -> whether each record is for validation, bool [batch]."""
    if handed.held_out is not None:
        held_out = tf.concat([handed.held_out, [-1]], 0)
        place = native(lambda ids: tf.searchsorted(held_out[:-1], ids))
        return lambda ids: tf.equal(tf.gather(held_out, place(ids)), ids)
    limit = int(source.validation_share * 2**32)
    hashes = _hashes(source, split, handed.names)
    return lambda ids: hashes(ids) < limit


def _hashes(source: Source, split: str, names: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function: ids int64 [batch] -> int64 [batch], 0 to 2**32 - 1.

    Of a record's number in its file and, of several files, of the file's path below the folder
    that all are in: so records and files that are added change no others' (but the second file
    those of the first, whose name did not count), nor does another data.seed.
    """
    if source.overrides("records"):
        files = tf.zeros([1], tf.int64)
    else:
        shared = len(os.fsencode(shared_path(source.files(split))))
        names = tf.strings.substr(tf.reshape(names, [-1]), shared, 2**30)
        files = tf.strings.to_hash_bucket_fast(names, 2**32)
    return lambda ids: example_keys(0, tf.gather(files, ids // 2**32), ids % 2**32)


def shared_path(paths: list[str]) -> str:
    """The folder that all are in, with a slash at its end; of one path, the path itself."""
    shared = os.path.commonprefix(paths)  # noqa: RUF071, it is cut at a folder
    return shared[: shared.rfind(os.sep) + 1] if len(paths) > 1 else shared


def _stratified(source: Source, split: str) -> np.ndarray:
    """Ids of the same share of each class, those of the least hashes: ascending int64 [records]."""

    def labeled() -> tf.data.Dataset:
        elements = decoded(source, all_elements(source, split))
        hashes = _hashes(source, split, _names(source, split).names)
        look = native(lambda ids, record: (ids, hashes(ids), classes_of(source, record)))
        return batched(source, elements, drop_remainder=False).map(look)

    parts = [[np.zeros(0, np.int64)] * 3, *iterate(labeled)]
    ids, hashes, labels = map(np.concatenate, zip(*parts))
    counts = count_classes(source, split, labels)
    order = np.lexsort((ids, hashes, labels))
    rank = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = np.minimum(np.floor(source.validation_share * counts + 0.5), np.maximum(counts - 1, 0))
    return np.sort(ids[order][rank < np.repeat(most, counts)])


def classes_of(source: Source, record: Any) -> tf.Tensor:
    """The classes of a batch of records, by `label`: int64 [batch]; raises ConfigError."""
    labels = source.label(*arguments(record))
    is_list = isinstance(labels, tf.Tensor) and labels.shape.rank in (1, None)
    if not is_list or not labels.dtype.is_integer:
        text = str(tf.nest.map_structure(lambda t: shape_text(t.dtype, t.shape), labels))
        raise ConfigError(
            f"{type(source).__name__}: found labels {text}, expected integers [batch] for classes, "
            "as data.balance and data.stratify need; write its `label`"
        )
    return tf.cast(labels, tf.int64)


def count_classes(source: Source, split: str, labels: np.ndarray) -> np.ndarray:
    """How many records each class has: int64 [classes]; raises DataError."""
    for value in [labels.min(), labels.max()] if len(labels) else []:
        if not 0 <= value < MOST_CLASSES:
            raise DataError(
                f"{type(source).__name__}: found the label {value} in the {split} split, expected "
                f"classes from 0 to {MOST_CLASSES - 1}; number them in `convert`, or in `label`"
            )
    return np.bincount(labels)


def shape_text(type_: tf.DType, shape: tf.TensorShape) -> str:
    """Such as `float32 [?, 28, 28]`."""
    return f"{type_.name} {shape.as_list()}".replace("None", "?")


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
