"""Files to predict from: whatever they are, they become features as those in training."""

from __future__ import annotations

import glob
import os
from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ..errors import DataError
from .elements import batched, decoded, elements_of, native, to_batch
from .images import is_image, read_image
from .source import Source


class PredictFiles:
    """Files that are not the dataset's own.

    A dataset with a method `from_file(path)`, path string [] -> the features of one example,
    defines by that how they are read. Otherwise PNG and JPEG files are resized and colored as the
    model expects, 0–1; all others are read as the dataset reads its own.

    Args:
        source: the dataset that the model was trained on.
        paths: files and directories; of these all images count, or all files if there are none.

    Raises:
        DataError: there is no such file, or the model takes no images.
    """

    def __init__(self, source: Source, paths: Sequence[str]) -> None:
        self.files = [file for path in paths for file in _files(path)]
        if not self.files:
            raise DataError(f"found no file in {paths}; expected files or directories to predict")
        self._source = source
        self._from_file = getattr(source, "from_file", None)
        #: What is wrong with a file that gives no example.
        self.problem = "is corrupt, or not a PNG or JPEG image"
        if self._from_file:
            return
        if any(map(is_image, self.files)) or not source.overrides("read"):
            source.prepare()
            self._from_file = _image_reader(source)
        else:
            self.problem = "holds no record"
            source.validation_share = 0.0  # all of them
            vars(source)["files"] = lambda split: self.files  # all else as it is: checks, too
            source.prepare()

    def batches(self) -> tf.data.Dataset:
        """Batches of (id, features), id int64 [batch]; files that are not images are skipped."""
        source = self._source
        if self._from_file:
            files = tf.data.Dataset.from_tensor_slices(self.files)
            ids = tf.data.Dataset.range(0, len(self.files) * 2**32, 2**32)
            read = native(lambda number, path: (number, self._from_file(path)))
            examples = tf.data.Dataset.zip((ids, files)).map(read, source.parallel_calls)
            return examples.apply(tf.data.experimental.ignore_errors()).batch(source.batch_size)
        elements = decoded(source, elements_of(source, source.evaluation_split))
        convert = native(lambda ids, record: (ids, to_batch(source, record)[0]))
        return batched(source, elements, drop_remainder=False).map(convert).prefetch(2)

    def place(self, number: int) -> dict[str, Any]:
        """Where the example of an id is from: its file, and which of its records it is."""
        file = {"file": self.files[number >> 32]}
        return file if self._from_file else {**file, "record": number % 2**32 + 1}


def _files(path: str) -> list[str]:
    if os.path.isfile(path):
        return [path]
    inside = sorted(glob.glob(os.path.join(glob.escape(path), "**"), recursive=True))
    files = [file for file in inside if os.path.isfile(file)]
    if not files:
        raise DataError(f"{path}: there is no such file, and no directory with files")
    return list(filter(is_image, files)) or files


def _image_reader(source: Source) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function: path string [] -> float32 [rows, columns, channels], 0–1."""
    with tf.Graph().as_default():
        shapes = tf.data.get_output_shapes(source.batches(source.evaluation_split))[0]
    shape = shapes.as_list()[1:] if isinstance(shapes, tf.TensorShape) else []
    if len(shape) != 3 or None in shape or shape[2] not in (1, 3):
        raise DataError(
            f"the model takes features {shapes}, expected images [batch, rows, columns, 1 or 3]; "
            f"give files as {type(source).__name__} reads them, or write its from_file(path)"
        )
    return lambda path: tf.cast(read_image(path, shape), tf.float32) / 255.0
