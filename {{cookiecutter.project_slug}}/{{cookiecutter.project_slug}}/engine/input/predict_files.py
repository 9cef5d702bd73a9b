"""Files to predict from: whatever they are, they become features as those in training."""

from __future__ import annotations

import glob
import os
from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...data.images import ENDINGS
from ..errors import DataError
from .elements import batched, decoded, elements_of, native


class PredictFiles:
    """Files that are not the dataset's own.

    A dataset that has a method `from_file(path)`, path string [] -> the features of one example,
    says by that how they are read. Else PNG and JPEG files are made what the model expects, in
    size and colour, 0–1; all others are read as the dataset reads its own.

    Args:
        dataset: that the model was trained on.
        paths: files and directories; of these all images count, or all files if there are none.

    Raises:
        DataError: there is no such file, or the model takes no images.
    """

    def __init__(self, dataset: Dataset, paths: Sequence[str]) -> None:
        self.files = [file for path in paths for file in _files(path)]
        if not self.files:
            raise DataError(f"found no file in {paths}; expected files or directories to predict")
        images = any(file.lower().endswith(ENDINGS) for file in self.files)
        self._from_file = getattr(dataset, "from_file", None)
        #: What is wrong with a file that gives no example.
        self.problem = "is damaged, or no PNG or JPEG image"
        if not self._from_file and (images or not dataset.overrides("read")):
            dataset.prepare()
            self._from_file = _image_reader(dataset)
        if not self._from_file:
            self.problem = "holds no record"
            vars(dataset)["files"] = lambda split: self.files  # all else as it is: checks, too
            dataset.prepare()
        self._dataset = dataset

    def batches(self) -> tf.data.Dataset:
        """Batches of (id, features), id int64 [batch]; files that are no images are left out."""
        dataset = self._dataset
        if self._from_file:
            files = tf.data.Dataset.from_tensor_slices(self.files)
            ids = tf.data.Dataset.range(0, len(self.files) * 2**32, 2**32)
            read = native(lambda number, path: (number, self._from_file(path)))
            examples = tf.data.Dataset.zip((ids, files)).map(read, dataset.parallel_calls)
            return examples.apply(tf.data.experimental.ignore_errors()).batch(dataset.batch_size)
        elements = decoded(dataset, elements_of(dataset, dataset.evaluation_split))
        convert = native(lambda ids, record: (ids, dataset.to_batch(None, record)[0]))
        return batched(dataset, elements, drop_remainder=False).map(convert).prefetch(2)

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
    return [file for file in files if file.lower().endswith(ENDINGS)] or files


def _image_reader(dataset: Dataset) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function: path string [] -> float32 [rows, columns, channels], 0–1."""
    with tf.Graph().as_default():
        shapes = tf.data.get_output_shapes(dataset.batches(dataset.evaluation_split))[0]
    sizes = shapes.as_list()[1:] if isinstance(shapes, tf.TensorShape) else []
    if len(sizes) != 3 or None in sizes or sizes[2] not in (1, 3):
        raise DataError(
            f"the model takes features {shapes}, expected images [batch, rows, columns, 1 or 3]; "
            f"give files as {type(dataset).__name__} reads them, or write its from_file(path)"
        )

    def read(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_png(tf.io.read_file(path), sizes[2])  # decodes JPEG, too
        image = tf.image.resize(image, sizes[:2], tf.image.ResizeMethod.AREA)
        return tf.round(image) / 255.0

    return read
