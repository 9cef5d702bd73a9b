"""TFRecord files of tf.train.Example, in shards; a reader and a writer."""

from __future__ import annotations

import contextlib
import glob
import os
from typing import Any, ClassVar, Iterable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import DataError
from ..engine.input.bad_records import valid_labels
from ..engine.run.files import atomic_write
from .dataset import Dataset


class TFRecords(Dataset):
    """Images and labels from files such as train-00000-of-00004.tfrecord.

    For other contents change `spec` and `convert`. Features: float32 [batch, *shape], 0–1.
    Labels: int32 [batch], below `classes`.

    Args:
        directory: where the files of all splits are.
        shape: height, width and channels of each image, whose pixels are uint8.
        classes: the number of different labels.
        others: batch_size, seed and more: see `Dataset`.
    """

    spec: ClassVar[dict[str, Any]] = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def __init__(self, directory: str, shape: Sequence[int], classes: int, **others: Any) -> None:
        super().__init__(**others)
        self.directory = directory
        self.shape = shape
        self.classes = classes

    def files(self, split: str) -> list[str]:
        """The shards of a split, in order; raises DataError if one is missing or empty."""
        found = _shards(self.directory, split)
        number = int(found[-1][-len("00004.tfrecord") : -len(".tfrecord")]) if found else 1
        expected = [_shard(self.directory, split, index, number) for index in range(number)]
        wrong = sorted(set(found) ^ set(expected)) or [p for p in found if not os.path.getsize(p)]
        if wrong:
            problem = "empty or of another set" if wrong[0] in found else "missing"
            problem = f"is {problem}, expected {number} complete files of one set"
            advice = "write them again, or return files of other names from files()"
            raise DataError(f"{wrong[0]}: {problem}; {advice}")
        return found

    def read(self, path: tf.Tensor) -> tf.data.Dataset:
        """The serialized examples of one file: string []."""
        return tf.data.TFRecordDataset(path)

    def describe_bad_record(self, path: str, number: int, problem: str) -> str:
        """The error about a record; a complete file of another kind is not to be removed."""
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if number == 1 and file.read(2) == b"\x1f\x8b":
                advice = 'unpack it, or let read() return tf.data.TFRecordDataset(path, "GZIP")'
                return f"{path}: is compressed (gzip), expected TFRecords as they are; {advice}"
        return super().describe_bad_record(path, number, problem)

    def convert(self, examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String [batch] -> float32 [batch, *shape] and int32 [batch]."""
        parsed = tf.io.parse_example(examples, self.spec)
        labels = valid_labels(parsed["label"], self.classes)
        pixels = tf.io.decode_raw(parsed["image"], tf.uint8)
        images = tf.reshape(pixels, [tf.size(labels), *self.shape])
        images.set_shape([labels.shape[0], *self.shape])  # tf.size is not a static shape
        return tf.cast(images, tf.float32) / 255.0, tf.cast(labels, tf.int32)


def write_tfrecords(
    directory: str, split: str, examples: Iterable[dict[str, Any]], shards: int = 1
) -> None:
    """Writes examples in turn to the files of a split, which replace its old ones when complete.

    Args:
        directory: made if it is not there.
        split: the start of the files' names.
        examples: name -> value: bytes and uint8 arrays are stored as bytes, other integers as
            int64, floats as float32; arrays lose their shape.
        shards: the number of files; each of several workers reads files of its own.

    Raises:
        DataError: there are fewer examples than files, or a file cannot be written.
    """
    count = 0
    with contextlib.ExitStack() as named:
        with contextlib.ExitStack() as written:
            writers = []
            for index in range(shards):
                file = named.enter_context(atomic_write(_shard(directory, split, index, shards)))
                writers.append(written.enter_context(tf.io.TFRecordWriter(file.name)))
            for count, example in enumerate(examples, 1):
                features = {name: _feature(value) for name, value in example.items()}
                record = tf.train.Example(features=tf.train.Features(feature=features))
                writers[(count - 1) % shards].write(record.SerializeToString())
        if count < shards:
            raise DataError(f"{directory}: found {count} examples for {shards} {split} files")
        for path in _shards(directory, split):
            os.remove(path)


def _feature(value: Any) -> tf.train.Feature:
    if not isinstance(value, bytes):
        array = np.asarray(value)
        if array.dtype.kind == "f":
            return tf.train.Feature(float_list=tf.train.FloatList(value=array.ravel()))
        if array.dtype != np.uint8 or array.ndim == 0:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=array.ravel().tolist()))
        value = array.tobytes()
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _shard(directory: str, split: str, index: Any, number: Any) -> str:
    return os.path.join(directory, f"{split}-{index:0>5}-of-{number:0>5}.tfrecord")


def _shards(directory: str, split: str) -> list[str]:
    return sorted(glob.glob(_shard(glob.escape(directory), split, "?????", "?????")))
