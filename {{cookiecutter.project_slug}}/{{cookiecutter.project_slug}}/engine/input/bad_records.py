"""Errors about bad data that name file and record, which TensorFlow's own do not."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import Any, Callable, Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError, ModelError
from ..graph.safe import FRACTION
from .elements import (
    CPU,
    arguments,
    batch_of_one,
    batched,
    decoded,
    iterate,
    native,
    to_batch,
)
from .memory import WRONG_COUNT
from .sizes import count_records
from .source import Source, split_in_files, splits_of
from .split import all_elements, elements_of

logger = logging.getLogger(__name__)

# What the message says of an error in the input, and of a label that a loss on a CPU rejects.
INPUT = re.compile(
    r"\[\[[^\]]*(IteratorGetNext|MakeIterator|ReduceDataset)"
    r"|\{\{function_node \S*Dataset_|transformation with iterator"
)
LABEL = re.compile(r"label value of .*outside the valid range of \[0, (\d+)\)")


def valid_labels(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """The same labels, numbers of any shape, checked to be 0 to classes - 1; for `convert`.

    The loss of any other label is an error on a CPU, but NaN on a GPU.
    """
    # A uint8 is below any 1000; uint16 cannot be compared.
    wide = labels if labels.dtype.is_floating else tf.cast(labels, tf.int64)
    valid = tf.reduce_all((wide >= 0) & (wide < tf.cast(classes, wide.dtype)))
    text = f"expected labels from 0 to {classes - 1}, found"
    with tf.control_dependencies([tf.debugging.Assert(valid, [text, labels])]):
        return tf.identity(labels)


@contextlib.contextmanager
def locate_bad_record(source: Source, split: str = "") -> Iterator[None]:
    """Turns an error of TensorFlow that bad data caused into one that names the record.

    Args:
        source: prepared.
        split: the one that is read, looked at before the others.

    Raises:
        DataError: see `find_bad_record`; errors of other causes pass as they are.
        ModelError: the loss knows fewer classes than the dataset.
    """
    try:
        yield
    except (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.UnavailableError):
        raise  # another machine is gone, or the session is closing
    except tf.errors.OpError as error:
        if WRONG_COUNT in error.message:
            raise _wrong_count(source) from None
        if FRACTION in error.message:
            raise ModelError(
                "the loss found labels that are no integers, expected the number of a class; a "
                "regression needs another loss, such as tf.squared_difference"
            ) from None
        if re.search(r"Cast \w+ to \w+ is not supported|Unhandled data type", error.message):
            advice = "let convert return numbers of another type, or look text up in a table"
            raise ModelError(f"TensorFlow cannot: {_reason(error.message)}; {advice}") from None
        label = LABEL.search(error.message)
        cut = isinstance(error, tf.errors.InvalidArgumentError) and "[[" not in error.message
        if not (label or cut or INPUT.search(error.message)):  # cut by a NUL of the data
            raise
        declared = getattr(source, "classes", None)
        classes = int(label.group(1)) if label else 0
        if classes and declared not in (None, classes):
            raise ModelError(
                f"the loss found a label that is not 0 to {classes - 1}: the model has {classes} "
                f"classes, {type(source).__name__} has {declared}; set model.classes"
            ) from None
        logger.warning("bad data; reading them again to find the record")
        for each in sorted(splits_of(source), key=lambda each: each != split):
            find_bad_record(source, each, classes)
        raise


def _wrong_count(source: Source) -> DataError:
    name, split = type(source).__name__, source.training_split
    return DataError(
        f"{name}.count says that the {split} split holds {source.count(split)} records, but "
        f"{count_records(source, split)} were read; leave `count` out, or correct it"
    )


def find_bad_record(source: Source, split: str, classes: int = 0) -> None:
    """Reads, keeps, decodes and converts a split: in batches to the first bad one, then one by one.

    Args:
        source: prepared.
        split: one of its splits.
        classes: if given, labels must be below it; else `convert` alone says what is right.

    Raises:
        DataError: about the first bad record: its file and number, what was found and expected.
    """

    def convert(record: Any) -> list[tf.Tensor]:
        features, labels = source.convert(*arguments(record))
        if classes and isinstance(labels, tf.Tensor):
            labels = valid_labels(labels, classes)
        return tf.nest.flatten((features, labels), expand_composites=True)

    begin, first = _first_bad_batch(source, split, convert)
    if begin is None:
        return
    file, skipped = divmod(begin, 2**32)
    split = split_in_files(source, split)
    with tf.Graph().as_default(), tf.Session(config=CPU) as session:
        path, skip = tf.placeholder(tf.string, []), tf.placeholder(tf.int64, [])
        records = source.records(split) if source.overrides("records") else source.read(path)
        iterator = tf.data.make_initializable_iterator(records.skip(skip))
        record = iterator.get_next()
        kept = source.keep(*arguments(batch_of_one(record)))
        decoded = source.decode(*arguments(record))
        converted = convert(batch_of_one(decoded))
        shapes = [tf.shape(array) for array in tf.nest.flatten(decoded)]
        session.run(tf.tables_initializer())
        for place in _places(source, split)[file:]:
            number, skipped = skipped + 1, 0
            try:
                session.run(iterator.initializer, {path: place, skip: number - 1})
                while True:
                    arrays = tf.nest.flatten(session.run(record))
                    feeds = dict(zip(tf.nest.flatten(record), arrays))
                    if np.all(session.run(kept, feeds)):
                        found = str(session.run([shapes, converted], feeds)[0])
                        first = first or found
                        if found != first and source.padding is None:
                            problem = f"found shapes {found}, expected {first}, or `padding`"
                            break
                    number += 1
            except tf.errors.OutOfRangeError:
                continue  # the end of the file
            except tf.errors.OpError as error:
                problem = _reason(error.message)
            raise DataError(source.describe_bad_record(place, number, problem))


def _first_bad_batch(
    source: Source, split: str, convert: Callable[[Any], list[tf.Tensor]]
) -> tuple[int | None, str]:
    """The least id that a bad batch may have, None if there is none; the shapes of one record."""

    @native
    def look(ids: tf.Tensor, record: Any) -> Any:
        shapes = [tf.shape(array)[1:] for array in tf.nest.flatten(record)]
        # All of them are fetched: what nobody fetches, TensorFlow need not compute.
        return ids, tuple(shapes), tuple(convert(record))

    def looked() -> tf.data.Dataset:
        elements = decoded(source, all_elements(source, split))
        return batched(source, elements, drop_remainder=False).map(look, source.parallel_calls)

    begin, first = 0, ""
    try:
        for ids, shapes, _ in iterate(looked):
            found = str(list(shapes))
            first = first or found
            if found != first and source.padding is None:
                return begin, first
            begin = int(ids[-1]) + 1
    except (tf.errors.OpError, ValueError):  # a bad batch, or data that make no batches at all
        return begin, first
    return None, first


def finite_examples(batch: Any) -> tf.Tensor:
    """Which examples of a nest of tensors [batch, ...] hold finite numbers alone: bool [batch].

    Sparse ones are not looked at; without others the result is [True].
    """
    arrays = [array for array in tf.nest.flatten(batch) if isinstance(array, tf.Tensor)]
    size = tf.shape(arrays[0])[0] if arrays else 1
    finite = tf.fill([size], True)
    for array in arrays:
        if array.dtype.is_floating:
            finite &= tf.reduce_all(tf.is_finite(tf.reshape(array, [size, -1])), axis=1)
    return finite


def find_not_finite(source: Source, split: str, first: int = 0, count: int = -1) -> None:
    """Reads the examples of a split from the first on, and looks for NaN and infinities.

    Args:
        source: prepared.
        split: one of its splits.
        first, count: the examples to look at, in the order of an evaluation; -1: to the end.

    Raises:
        DataError: about the first record that has any: its file and number.
    """
    if source.overrides("batches"):
        return  # which need not be made of records

    @native
    def look(ids: tf.Tensor, record: Any) -> Any:
        features, labels = to_batch(source, record)
        return ids, finite_examples(features), finite_examples((features, labels))

    def found() -> tf.data.Dataset:
        elements = decoded(source, elements_of(source, split)).skip(first).take(count)
        return batched(source, elements, drop_remainder=False).map(look, source.parallel_calls)

    for ids, features, both in iterate(found):
        if not both.all():
            first = both.argmin()
            what = "labels" if features[first] else "features"
            file, number = divmod(int(ids[first]), 2**32)
            place = _places(source, split_in_files(source, split))[file]
            problem = f"{what} hold NaN or an infinity, expected finite numbers"
            raise DataError(source.describe_bad_record(place, number + 1, problem))


def _places(source: Source, split: str) -> list[str]:
    """What the records of each file, or of all, are said to be in."""
    if source.overrides("records"):
        return [" and ".join(source.files(split)[:4]) or f"{type(source).__name__}, {split} split"]
    return source.files(split)


def _reason(message: str) -> str:
    """The line of a message of TensorFlow, of either runtime, that says what is wrong."""
    own = re.search(r"DataError: (.+)", message)  # of numpy_map
    if own:
        return own.group(1)
    text = message.partition("\n\t [[")[0]
    text = re.sub(r"(?s)^Graph execution error:(.*(Node: '\S+'\n| iterator: \S+: ))?", "", text)
    text = re.sub(r"\d+ root error\(s\) found\.\s+\(0\) [\w ]+: |\{\{\w+ \S+\}\} ", "", text)
    text = re.sub(r"assertion failed: \[(.*?)\](?: \[(.*)\])?", r"\1 \2", text)
    return text.strip().splitlines()[0].replace("\\'", "'").rstrip(". ")
