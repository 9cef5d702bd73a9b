"""A directory tree of images: train/<class>/*.png, test/<class>/*.jpg, and so on."""

from __future__ import annotations

import glob
import os
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError, DataError
from .dataset import Dataset

ENDINGS = (".png", ".jpg", ".jpeg")


class Images(Dataset):
    """PNG and JPEG files, whose class is the folder they are in, resized to one size.

    Features: float32 [batch, height, width, channels], 0–1. Labels: int32 [batch], the place of
    the folder in `class_names`.

    Args:
        directory: holds a folder for each split, in which is one for each class.
        height, width: of all images: a pixel is the mean of what it covers; proportions change.
        channels: 3 for colour, 1 for grey.
        classes: the number of different folders.
        others: batch_size, seed and more: see `Dataset`.
    """

    def __init__(
        self, directory: str, height: int, width: int, channels: int, classes: int, **others: Any
    ) -> None:
        super().__init__(**others)
        if min(height, width) < 1 or channels not in (1, 3):
            found = f"height={height}, width={width}, channels={channels}"
            raise ConfigError(f"data: found {found}; expected sizes above 0, and 1 or 3 channels")
        self.directory = directory
        self.image_shape = (height, width, channels)
        self.classes = classes
        self._files: dict[str, list[str]] = {}

    def prepare(self) -> None:
        """Checks that each split has images of the same classes; raises DataError."""
        for split in self.splits:
            names = sorted(set(self._folders(split)))
            if names != self.class_names or len(names) != self.classes:
                raise DataError(
                    f"{os.path.join(self.directory, split)}: found images of {len(names)} classes "
                    f"({', '.join(names[:9])}), expected {self.classes}, the same in all splits; "
                    "put a folder for each class there, or set data.classes"
                )

    @property
    def class_names(self) -> list[str]:
        """The names of the training split's folders, sorted."""
        return sorted(set(self._folders(self.training_split)))

    def _folders(self, split: str) -> list[str]:
        return [os.path.basename(os.path.dirname(path)) for path in self.files(split)]

    def files(self, split: str) -> list[str]:
        """The paths of all images of a split, sorted; raises DataError if there are none."""
        if split not in self._files:
            pattern = os.path.join(glob.escape(self.directory), split, "*", "*")
            images = (path for path in glob.glob(pattern) if path.lower().endswith(ENDINGS))
            self._files[split] = sorted(images)
            if not self._files[split]:
                endings = " or ".join(ENDINGS)
                raise DataError(f"{pattern}{endings}: no file matches; set data.directory")
        return self._files[split]

    def count(self, split: str) -> int:
        return super().count(split) if self.overrides("keep") else len(self.files(split))

    def class_counts(self, split: str) -> np.ndarray:
        if self.overrides("keep"):
            return super().class_counts(split)
        return np.unique(self._folders(split), return_counts=True)[1]

    def read(self, path: tf.Tensor) -> tf.data.Dataset:
        """The path itself: it alone goes through the shuffle buffer."""
        return tf.data.Dataset.from_tensors(path)

    def decode(self, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """String [] -> uint8 [height, width, channels] and int32 []."""
        *size, channels = self.image_shape
        image = tf.io.decode_png(tf.io.read_file(path), channels)  # decodes JPEG, too
        image = tf.image.resize(image, size, tf.image.ResizeMethod.AREA)
        folder = tf.string_split([path], os.sep).values[-2]
        label = tf.where(tf.equal(self.class_names, folder))[0, 0]
        return tf.cast(tf.round(image), tf.uint8), tf.cast(label, tf.int32)

    def convert(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 [batch, height, width, channels] -> float32, 0–1; the labels stay."""
        return tf.cast(images, tf.float32) / 255.0, labels

    def describe_bad_record(self, path: str, number: int, problem: str) -> str:
        return f"{path}: {problem}; put a whole image there, or remove it"
