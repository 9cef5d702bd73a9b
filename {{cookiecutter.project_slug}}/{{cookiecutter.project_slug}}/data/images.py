"""A directory tree of images: train/<class>/*.png, test/<class>/**/*.jpg, and so on."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError, DataError
from ..engine.input.images import images_below, read_image
from ..engine.input.source import remembered
from .dataset import Dataset


class Images(Dataset):
    """Image files, whose class is the folder below train or test, resized to one size.

    JPEG, PNG, BMP, GIF, WebP, TIFF, PPM and PGM, by their content, in the folder or deeper.
    Features: float32 [batch, height, width, channels], 0–1. Labels: int32 [batch], the place of
    the folder in `class_names`.

    Args:
        directory: holds a folder for each split, in which is one for each class.
        height, width: to resize to; a pixel is the mean of what it covers, proportions change.
        channels: 3 for color, 1 for gray.
        classes: the number of different folders.
        others: batch_size, seed and more: see `Dataset`.
    """

    def __init__(
        self, directory: str, height: int, width: int, channels: int, classes: int, **others: Any
    ) -> None:
        super().__init__(**others)
        self.directory = directory
        self.image_shape = (height, width, channels)
        if min(height, width) < 1 or channels not in (1, 3):
            found = f"{self.image_shape}, expected sizes above 0, and 1 or 3 channels"
            raise ConfigError(f"data: found height, width, channels {found}")
        self.classes = classes

    def prepare(self) -> None:
        """Checks that each split has images of the same classes; raises DataError."""
        for split in self.splits:
            names = self._names(split)
            if names != self.class_names or len(names) != self.classes:
                raise DataError(
                    f"{self.directory}/{split}: found images of {len(names)} classes ("
                    f"{', '.join(names[:9])}), expected {self.classes}, the same in all splits; "
                    "put images into a folder for each, or set data.classes"
                )

    @property
    def class_names(self) -> list[str]:
        """The names of the training split's folders, sorted."""
        return remembered(self, "class_names", self.training_split, Images._names)

    def _names(self, split: str) -> list[str]:
        return sorted(set(self._folders(split)))

    def _folders(self, split: str) -> list[str]:
        start = len(os.path.join(self.directory, split, ""))
        return [path[start:].partition(os.sep)[0] for path in self.files(split)]

    def files(self, split: str) -> list[str]:
        """The paths of all images of a split, sorted; raises DataError if there are none."""
        return remembered(self, "files", split, lambda *_: images_below(self.directory, split))

    def read(self, path: tf.Tensor) -> tf.data.Dataset:
        """The path itself: it alone goes through the shuffle buffer."""
        return tf.data.Dataset.from_tensors(path)

    def decode(self, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String [] -> uint8 [height, width, channels] and int32 []."""
        depth = len(list(filter(None, self.directory.split(os.sep)))) + 1  # of the class's folder
        folder = tf.string_split([path], os.sep).values[depth]
        label = tf.where(tf.equal(list(map(os.fsencode, self.class_names)), folder))[0, 0]
        return read_image(path, self.image_shape), tf.cast(label, tf.int32)

    def convert(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 [batch, height, width, channels] -> float32, 0–1; the labels stay."""
        return tf.cast(images, tf.float32) / 255.0, labels

    def from_file(self, path: tf.Tensor) -> tf.Tensor:
        """Any image, for `predict`: string [] -> features [height, width, channels]."""
        image = read_image(path, self.image_shape)
        if type(self).decode is not Images.decode:
            image, _ = self.decode(path)  # your own, which must not need the folder then
        return self.convert(image[tf.newaxis], tf.constant([-1]))[0][0]

    def count(self, split: str) -> int:
        return len(self.files(split))

    def class_counts(self, split: str) -> np.ndarray:
        return np.unique(self._folders(split), return_counts=True)[1]

    def describe_bad_record(self, path: str, number: int, problem: str) -> str:
        return f"{path}: {problem}; put a complete image there, or move it elsewhere"
