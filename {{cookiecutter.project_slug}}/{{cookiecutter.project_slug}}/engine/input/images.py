"""PNG and JPEG files, read in the same way for training and for prediction."""

from __future__ import annotations

from typing import Sequence

import tensorflow.compat.v1 as tf

ENDINGS = (".png", ".jpg", ".jpeg")


def is_image(path: str) -> bool:
    """Whether a file is one, by its name."""
    return path.lower().endswith(ENDINGS)


def read_image(path: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """An image of a size: a pixel is the mean of what it covers; proportions change.

    Args:
        path: string [].
        shape: height, width, channels (1 or 3).

    Returns:
        uint8 [height, width, channels].
    """
    image = tf.io.decode_png(tf.io.read_file(path), shape[2])  # decodes JPEG, too
    image = tf.image.resize(image, shape[:2], tf.image.ResizeMethod.AREA)
    return tf.cast(tf.round(image), tf.uint8)
