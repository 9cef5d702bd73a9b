"""Random changes of images while training: a batch at once, the same after a restart.

Each function takes images float32 [batch, rows, columns, channels] and keys int64 [batch], and
returns the same shape. What happens to an image depends on its key alone, not on its batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError
from ..engine.input.random_numbers import uniform
from .mnist import MNIST

SHIFT, CROP, FLIP, NOISE = range(1, 5)  # streams: random numbers that do not depend on each other


def shift(images: tf.Tensor, keys: tf.Tensor, pixels: int) -> tf.Tensor:
    """Moves each image vertically and horizontally by up to `pixels`; the edges become 0."""
    _, rows, columns, _ = images.shape.as_list()
    edges = [pixels, pixels]
    padded = tf.pad(images, [[0, 0], edges, edges, [0, 0]])
    first = tf.cast(uniform(keys, [2], SHIFT) * (2 * pixels + 1), tf.int32)
    moved = tf.gather(padded, first[:, :1] + tf.range(rows), batch_dims=1)
    return tf.gather(moved, first[:, 1:] + tf.range(columns), axis=2, batch_dims=1)


def crop(images: tf.Tensor, keys: tf.Tensor, least: float) -> tf.Tensor:
    """Crops at random, and enlarges to the image's size.

    Args:
        images, keys: see above.
        least: the share of the height and width that is kept is drawn from this to 1.
    """
    size, top, left = tf.unstack(uniform(keys, [3], CROP), axis=1)
    size = least + (1 - least) * size
    top, left = top * (1 - size), left * (1 - size)
    boxes = tf.stack([top, left, top + size, left + size], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(tf.size(keys)), images.shape[1:3])


def flip(images: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Mirrors every other image, left to right."""
    return tf.where(uniform(keys, stream=FLIP) < 0.5, tf.reverse(images, [2]), images)


def noise(images: tf.Tensor, keys: tf.Tensor, deviation: float) -> tf.Tensor:
    """Adds normal noise of a standard deviation: Box and Muller 1958."""
    numbers = int(np.prod(images.shape[1:].as_list()))
    first, second = tf.unstack(uniform(keys, [2, -(-numbers // 2)], NOISE), axis=1)
    radius, angle = tf.sqrt(-2 * tf.log(1 - first)), 2 * np.pi * second
    normal = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)[:, :numbers]
    return images + deviation * tf.reshape(normal, tf.shape(images))


class AugmentedMNIST(MNIST):
    """MNIST whose training images change slightly in each epoch.

    Args:
        shift: the most pixels that an image is moved by; 0 is off.
        crop: the least share of an image that is kept, above 0; 1 is off.
        flip: whether to mirror every other image: right for shoes, wrong for digits.
        noise: standard deviation of the noise on pixels 0–1; 0 is off.
        others: directory, classes, batch_size and more: see `MNIST`.
    """

    def __init__(
        self,
        directory: str = "datasets/mnist",
        shift: int = 2,
        crop: float = 0.9,
        flip: bool = False,
        noise: float = 0.05,
        **others: Any,
    ) -> None:
        super().__init__(directory, **others)
        if shift < 0 or not 0 < crop <= 1 or noise < 0:
            raise ConfigError(
                f"data: found shift={shift}, crop={crop}, noise={noise}; expected pixels from 0, "
                "a share above 0 and up to 1, and a deviation from 0"
            )
        self.shift = shift
        self.crop = crop
        self.flip = flip
        self.noise = noise

    def augment(
        self, features: tf.Tensor, labels: tf.Tensor, keys: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Images float32 [batch, rows, columns, 1] and their labels -> the same."""
        if self.shift:
            features = shift(features, keys, self.shift)
        if self.crop < 1:
            features = crop(features, keys, self.crop)
        if self.flip:
            features = flip(features, keys)
        if self.noise:
            features = noise(features, keys, self.noise)
        return features, labels
