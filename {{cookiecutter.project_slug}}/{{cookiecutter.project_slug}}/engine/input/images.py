"""Image files, read in the same way for training and for prediction."""

from __future__ import annotations

import collections
import functools
import io
import logging
import os
from typing import Sequence

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DataError
from .elements import native

logger = logging.getLogger(__name__)

ENDINGS = tuple(
    [".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"]
)
LITTER = (".", "@", "__MACOSX")  # what begins so was made by a program: thumbnails, checkpoints

# How a camera was held, 1 to 8 (Exif 2.3, tag 0x0112: one number of 16 bits), in either byte order.
ORIENTATION = (
    r"\C*Exif\x00\x00(II\C*\x12\x01\x03\x00\x01\x00\x00\x00{0}\x00"
    r"|MM\C*\x01\x12\x00\x03\x00\x00\x00\x01\x00{0})\C*"
)

Image.MAX_IMAGE_PIXELS = None  # a scan may be large; the files are the user's own


def is_image(path: str) -> bool:
    """Whether a file is one, by its name."""
    return path.lower().endswith(ENDINGS)


def images_below(directory: str, split: str) -> list[str]:
    """The images in the folders of a split, however deep, sorted; logs what else is there.

    Raises:
        DataError: there are none.
    """
    found, directory = [], os.path.join(directory, split)
    for folder, folders, files in os.walk(directory, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(LITTER)]
        files = [os.path.join(folder, name) for name in files if not name.startswith(LITTER)]
        if folder != directory:
            found += files
        elif any(map(is_image, files)):
            loose = sorted(filter(is_image, files))
            text = "%d images are left out, for they lie in no folder of a class; the first is %s"
            logger.warning(text, len(loose), loose[0])
    others = [path for path in sorted(found) if not is_image(path)]
    if others:
        ends = collections.Counter(os.path.splitext(path)[1].lower() for path in others)
        counts = ", ".join(f"{count} {end or 'without'}" for end, count in ends.items())
        text = "left out, since they are no images by their endings: %s; the first is %s"
        logger.warning(text, counts, others[0])
    images = sorted(filter(is_image, found))
    if not images:
        place = f"{directory}/<class>/*"
        raise DataError(f"{place}: found no image; put them there or set data.directory")
    return images


def read_image(path: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """An image of a size, upright: a pixel is the mean of what it covers; proportions change.

    PNG and JPEG are decoded by TensorFlow, which is fast, large JPEG at a part of their size; JPEG
    that was not taken upright (Exif), PNG of 16 bits, of which 8 are kept, and all other formats by
    Pillow.

    Args:
        path: string [].
        shape: height, width, channels (1 or 3).

    Returns:
        uint8 [height, width, channels].
    """
    data = tf.io.read_file(path)
    head = tf.strings.substr(data, 0, tf.minimum(tf.strings.length(data), 4096))
    jpeg = tf.equal(tf.strings.substr(head, 0, tf.minimum(tf.strings.length(head), 2)), b"\xff\xd8")
    png = tf.strings.regex_full_match(head, r"\CPNG\C{20}[\x01-\x08]\C*")  # byte 24: bits

    def with_pillow() -> tf.Tensor:
        return _with_pillow(data, shape[2])

    def from_jpeg() -> tf.Tensor:
        return tf.cond(_is_plain(head, shape[2]), lambda: _jpeg(data, shape), with_pillow)

    image = tf.case(
        [(jpeg, from_jpeg), (png, lambda: tf.io.decode_png(data, shape[2]))], default=with_pillow
    )
    image.set_shape([None, None, shape[2]])
    image = tf.image.resize(image, shape[:2], tf.image.ResizeMethod.AREA)
    return tf.cast(tf.math.rint(image), tf.uint8)  # the same as round, which is slow on 1.15


def _is_plain(head: tf.Tensor, channels: int) -> tf.Tensor:
    """Whether TensorFlow decodes a JPEG as it is meant, by its first bytes: bool []."""

    def matches(pattern: str) -> tf.Tensor:
        return tf.strings.regex_full_match(head, pattern)

    upright = ~matches(r"\C*Exif\x00\C*") | matches(ORIENTATION.format(r"\x01"))
    plain = upright & ~matches(ORIENTATION.format(r"[\x02-\x08]"))  # a thumbnail may say, too
    # Of what Adobe's programs write in four colors, TensorFlow makes no gray.
    return plain & ~matches(r"\C*Adobe\C*") if channels == 1 else plain


def _jpeg(data: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """The bytes of a JPEG -> uint8 [rows, columns, channels].

    The decoder makes a half, quarter or eighth of the size for less than the whole one takes: the
    smallest that the shape fits into.
    """
    covered = tf.reduce_min(tf.image.extract_jpeg_shape(data)[:2] // shape[:2])  # by a pixel
    return tf.switch_case(
        tf.reduce_sum(tf.cast(covered >= [2, 4, 8], tf.int32)),
        [functools.partial(tf.io.decode_jpeg, data, shape[2], ratio) for ratio in (1, 2, 4, 8)],
    )


def _with_pillow(data: tf.Tensor, channels: int) -> tf.Tensor:
    """The bytes of a file -> uint8 [rows, columns, channels]."""

    @native
    def decode(data: bytes) -> tuple[np.ndarray, str]:
        try:
            with Image.open(io.BytesIO(data)) as image:
                return _pixels(image, channels), ""
        except UnidentifiedImageError:
            problem = "is not an image, or of a format that Pillow does not know"
        except Exception as error:  # of one decoder or another
            problem = str(error) or type(error).__name__
        return np.zeros([1, 1, channels], np.uint8), problem

    # The problem as text: an exception would bring its stack trace. Not stateful: then the
    # position among the records can be saved.
    pixels, problem = tf.py_func(decode, [data], [tf.uint8, tf.string], stateful=False)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, ""), [problem])]):
        return tf.identity(pixels)


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # which phones write: a photo, and smaller ones of it
        raise ValueError(f"found {frames} pictures in the file, expected one")
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        numbers = np.asarray(image)
        if image.mode == "F" or numbers.min() < 0 or numbers.max() > 65535:
            raise ValueError(f"found pixels of mode {image.mode}, expected 8 or 16 bits")
        image = Image.fromarray(np.round(numbers / 257).astype(np.uint8))
    image = image.convert("RGB" if channels == 3 else "L")
    return np.asarray(image).reshape(image.height, image.width, channels)
