"""Images and labels in four idx files, the format of MNIST."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import DataError
from ..engine.input.idx import check_pair
from ..engine.input.images import read_image
from ..engine.input.source import check_same_shape
from .dataset import Dataset


class IdxImages(Dataset):
    """Images and their classes, http://yann.lecun.com/exdb/mnist/ explains the files.

    Features: float32 [batch, rows, columns, 1], 0–1. Labels: int32 [batch], below `classes`.

    Args:
        directory: of the four files, which have MNIST's names.
        classes: the number of different labels.
        others: batch_size, seed and more: see `Dataset`.
    """

    stems: ClassVar[dict[str, str]] = {"train": "train", "test": "t10k"}

    def __init__(self, directory: str, classes: int = 10, **others: Any) -> None:
        super().__init__(**others)
        self.directory = directory
        self.classes = classes
        self.image_shape: tuple[int, ...] = ()  # rows, columns: the files say it

    def prepare(self) -> None:
        """Checks the four files against each other, and the labels' range; raises DataError."""
        shapes = {}
        for split in self.splits:
            images, labels = self.files(split)
            pixels, header = check_pair(images, labels)
            shapes[images] = self.image_shape = pixels.shape[1:]
            highest = np.fromfile(labels, np.uint8)[header.offset :].max()
            if highest >= self.classes:
                found = f"found {highest}, expected labels from 0 to {self.classes - 1}"
                raise DataError(f"{labels}: {found}; set data.classes")
        check_same_shape(shapes)

    def files(self, split: str) -> list[str]:
        """The idx files of a split: images, labels."""
        stem = os.path.join(self.directory, self.stems[split])
        return [f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"]

    def records(self, split: str) -> tf.data.Dataset:
        """Pairs of bytes: an image's pixels and its label."""
        files = self.files(split)
        headers = check_pair(*files)
        self.image_shape = headers[0].shape[1:]
        images, labels = (
            tf.data.FixedLengthRecordDataset(path, header.record_bytes, header_bytes=header.offset)
            for path, header in zip(files, headers)
        )
        return tf.data.Dataset.zip((images, labels))

    def convert(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings [batch] and [batch] -> float32 [batch, rows, columns, 1] and int32 [batch]."""
        pixels = tf.reshape(tf.io.decode_raw(images, tf.uint8), (-1, *self.image_shape, 1))
        pixels.set_shape([images.shape[0], *self.image_shape, 1])  # the -1 forgot their number
        classes = tf.io.decode_raw(labels, tf.uint8)[:, 0]
        return tf.cast(pixels, tf.float32) / 255.0, tf.cast(classes, tf.int32)

    def from_file(self, path: tf.Tensor) -> tf.Tensor:
        """An image file, for `predict`: string [] -> features [rows, columns, 1]."""
        if not self.image_shape:
            IdxImages.prepare(self)
        pixels = tf.reshape(read_image(path, (*self.image_shape, 1)), [-1])
        letters = [bytes([number]) for number in range(256)]
        image = tf.strings.reduce_join(tf.gather(letters, tf.cast(pixels, tf.int32)))
        return self.convert(image[tf.newaxis], tf.constant([b"\0"]))[0][0]

    def count(self, split: str) -> int:
        return check_pair(*self.files(split))[0].shape[0]  # the headers say it
