"""What records take in memory, and how many a shuffle buffer holds."""

from __future__ import annotations

import os
from typing import Any, Iterable

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError
from ..run.machine import memory_limit
from .elements import decoded, iterate
from .flat import varying
from .source import Source, remembered, split_in_files
from .split import all_elements, elements_of

STRING_BYTES = 100  # what a string in a tensor takes besides its characters, measured
WORD_BYTES = 32  # the same in an array of many


def fits_in_memory(source: Source, split: str) -> bool:
    """Whether a split's records take less than their share of the memory."""
    return fit_in_memory(source, [split])


def fit_in_memory(source: Source, splits: Iterable[str]) -> bool:
    """Whether the records of several splits do together."""
    total = 0
    for split in splits:
        needed = source.bytes_in_memory(split)
        if needed is None:
            return False
        total += needed
    return total < source.memory_fraction * memory_limit()


def file_bytes(source: Source, split: str) -> int:
    """What a split's files take, each asked once; raises DataError if one cannot be read."""

    def add(source: Source, split: str) -> int:
        return sum(map(os.path.getsize, source.files(split)))

    try:
        return int(remembered(source, "file_bytes", split, add))
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
        raise DataError(f"{problem}; expected a readable file") from None


def bytes_in_memory(source: Source, split: str) -> int | None:
    """What a split's records take: strings by the files they are from, arrays by their shapes.

    Of arrays that vary, by the first ones. None where nothing says so. (Override it where files
    are compressed.)

    Raises:
        DataError: a file cannot be read.
    """
    size = file_bytes(source, split_in_files(source, split))
    if size > memory_limit() * source.memory_fraction:
        return size  # too large as it is: no need to count
    with tf.Graph().as_default():
        elements = decoded(source, elements_of(source, split))
        types = tf.nest.flatten(tf.data.get_output_types(elements))
        shapes = tf.nest.flatten(tf.data.get_output_shapes(elements))
    each, vary, strings = 0, False, False  # bytes of a record
    for type_, shape in zip(types, shapes):
        number = varying(shape) if source.padding is not None else 0
        if number:  # its padding, where it begins, and its size
            each += type_.size * shape[number:].num_elements() + 8 + 4 * number
            vary = True
        elif type_ == tf.string:
            each, strings = each + STRING_BYTES, True
        elif shape.is_fully_defined():
            each += type_.size * shape.num_elements()
        else:
            return None
    if (vary or strings) and not size:
        return None
    count = source.count(split)
    if vary:
        return int(each * count + _values_bytes(source, split, size, count))
    return each * count + strings * size


def _values_bytes(source: Source, split: str, size: int, count: int) -> float:
    """What arrays that vary take, by the first records: as many times their files, or `count`.

    The larger one: the first may be the shortest, and files may be compressed.
    """
    try:
        before, after = (_record_bytes(source, split, decodes) for decodes in (False, True))
    except tf.errors.OpError:  # bad data, which are named when they are read
        return size
    return max(after * count, after / before * size if before else 0)


def buffer_size(source: Source, split: str) -> int:
    """How many records the shuffle buffer holds: fewer than are set if they take too much."""
    most = source.shuffle_buffer
    if source.shuffle_mb:
        each = remembered(source, "record_bytes", split, _record_bytes)
        most = min(most, int(source.shuffle_mb * 1e6 / max(each, 1)))
    return max(most, 1)


def _record_bytes(source: Source, split: str, decodes: bool = False) -> float:
    """What a record takes, before or after it is decoded, by the first ones in the files.

    The path of a file takes nothing: where the files lie may change.
    """
    paths = set(map(os.fsencode, source.files(split_in_files(source, split))))

    def records() -> tf.data.Dataset:
        elements = all_elements(source, split).take(source.batch_size)
        return decoded(source, elements) if decodes else elements

    def size(value: Any) -> int:
        array = np.asarray(value, object if isinstance(value, bytes) else None)
        if array.dtype != object:
            return array.nbytes
        texts = [text for text in array.ravel() if text not in paths]
        return sum(map(len, texts)) + WORD_BYTES * len(texts) * decodes

    sizes = [
        sum(size(value) for value in tf.nest.flatten(record)) for _, record in iterate(records)
    ]
    return sum(sizes) / max(len(sizes), 1)
