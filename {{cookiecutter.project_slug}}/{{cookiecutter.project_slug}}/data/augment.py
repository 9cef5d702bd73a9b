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
EDGE = 1e-3  # of a pixel


def warp(
    images: tf.Tensor, keys: tf.Tensor, shift: int = 0, crop: float = 1.0, flip: bool = False
) -> tf.Tensor:
    """Shifts, crops and mirrors each image, all at once; what was beyond its edges is 0.

    Args:
        images, keys: see above.
        shift: the most pixels to move by, vertically and horizontally.
        crop: the share of the height and width that is kept, and enlarged by linear interpolation,
            is drawn from this to 1; 1 leaves the pixels as they are.
        flip: whether to mirror every other image, left to right.
    """
    rows, columns, _ = images.shape.as_list()[1:]
    size = tf.constant([rows - 1, columns - 1], tf.float32)  # from the first pixel to the last
    share, place = tf.split(uniform(keys, [3], CROP), [1, 2], axis=1)
    share = crop + (1 - crop) * share
    first = tf.floor(uniform(keys, [2], SHIFT) * (2 * shift + 1)) - shift
    if crop < 1:  # rounding must not lead beyond an edge, where there is nothing
        first, size = first + EDGE, size - 2 * EDGE
    first += place * (1 - share) * size
    corners = tf.concat([first, first + share * size], axis=1)  # top, left, bottom, right
    if flip:
        mirrored = tf.gather(corners, [0, 3, 2, 1], axis=1)
        corners = tf.where(uniform(keys, stream=FLIP) < 0.5, mirrored, corners)
    if crop == 1:
        return _moved(images, tf.cast(corners, tf.int32))
    boxes = corners / tf.tile(tf.maximum(size + 2 * EDGE, 1), [2])
    return tf.image.crop_and_resize(images, boxes, tf.range(tf.size(keys)), [rows, columns])


def _moved(images: tf.Tensor, corners: tf.Tensor) -> tf.Tensor:
    """The pixels from corner to corner, int32 [batch, 4]: top, left, bottom, right."""
    _, rows, columns, channels = images.shape.as_list()
    top, left, _, right = tf.unstack(corners[:, :, tf.newaxis], axis=1)

    def offsets(places: tf.Tensor, count: int, each: int) -> tf.Tensor:
        outside = tf.cast((places < 0) | (places >= count), tf.int32)
        return places * each - outside * 2**29  # below 0: a batch has fewer pixels

    down = offsets(top + tf.range(rows), rows, columns)
    across = offsets(left + tf.sign(right - left) * tf.range(columns), columns, 1)
    down += 1 + rows * columns * tf.range(tf.shape(images)[0])[:, tf.newaxis]
    pixels = tf.concat([tf.zeros([1, channels]), tf.reshape(images, [-1, channels])], axis=0)
    return tf.gather(pixels, tf.maximum(down[:, :, tf.newaxis] + across[:, tf.newaxis], 0))


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
        features = warp(features, keys, self.shift, self.crop, self.flip)
        if self.noise:
            features = noise(features, keys, self.noise)
        return features, labels
