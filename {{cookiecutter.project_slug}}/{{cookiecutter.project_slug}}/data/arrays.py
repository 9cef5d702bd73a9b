"""NumPy's files: .npy, or arrays in an .npz, read in place, record by record."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from ..engine.errors import DataError
from ..engine.input.bad_records import valid_labels
from ..engine.input.batches import check_names_split
from ..engine.input.source import check_same_shape
from .dataset import Dataset

# What tf.io.decode_raw makes of bytes.
FLOATS = ("float16", "float32", "float64")
DTYPES = (*FLOATS, "bool", "int8", "int16", "int32", "int64", "uint8", "uint16")


class Arrays(Dataset):
    """Two arrays of equal length: features and labels.

    Features: float32 [batch, ...]. Labels: int32 [batch].

    Args:
        features, labels: the path of an .npy each, or `some.npz/name` for an array in an archive;
            {split} in it stands for train or test.
        classes: the number of different labels.
        scale: what features are multiplied by; 1/255 maps bytes to 0–1.
        others: batch_size, seed and more: see `Dataset`.
    """

    def __init__(
        self, features: str, labels: str, classes: int, scale: float = 1.0, **others: Any
    ) -> None:
        super().__init__(**others)
        check_names_split(self, Arrays, features=features, labels=labels)
        self.paths = (features, labels)
        self.classes = classes
        self.scale = scale

    def prepare(self) -> None:
        """Checks the headers and sizes of the files; raises DataError."""
        shapes = {}
        for split in self.splits:
            features, labels = self.arrays(split)
            shapes[self.paths[0].replace("{split}", split)] = features.shape[1:]
            path = self.paths[1].replace("{split}", split)
            if labels.shape != features.shape[:1] or labels.dtype.kind not in "iu":
                advice = 'convert them, as by labels.astype("int64")'
                if len(labels) != len(features):
                    advice = "the lengths differ, so find out which label belongs to which example"
                elif labels.ndim > 1:
                    advice = "convert them, as by numpy.argmax(labels, 1) or labels.ravel()"
                raise DataError(
                    f"{path}: found {labels.dtype} of shape {labels.shape}, expected integers of "
                    f"shape {features.shape[:1]}, one for each example of the features; {advice}"
                )
        check_same_shape(shapes)

    def arrays(self, split: str) -> list[np.memmap]:
        """Features and labels of a split, mapped, not read; raises DataError."""
        return [map_array(path.replace("{split}", split)) for path in self.paths]

    def files(self, split: str) -> list[str]:
        """The files of the arrays, which may be one archive."""
        paths = [re.sub(r"\.npz/.*", ".npz", path) for path in self.paths]
        return [path.replace("{split}", split) for path in dict.fromkeys(paths)]

    def records(self, split: str) -> tf.data.Dataset:
        """Pairs of bytes: an example's features and its label."""
        self.stored = self.arrays(split)
        return tf.data.Dataset.zip(tuple(_records(array) for array in self.stored))

    def convert(self, *records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strings [batch] and [batch] -> float32 [batch, ...] and int32 [batch]."""
        features, labels = (_decode(*pair) for pair in zip(records, self.stored))
        labels = tf.cast(valid_labels(labels, self.classes), tf.int32)
        return tf.cast(features, tf.float32) * self.scale, labels


def _records(array: np.memmap) -> tf.data.Dataset:
    """The bytes of each example."""
    path, start = str(array.filename), array.offset
    footer = os.path.getsize(path) - start - array.nbytes
    return tf.data.FixedLengthRecordDataset(path, array[0].nbytes, start, footer)


def _decode(records: tf.Tensor, array: np.memmap) -> tf.Tensor:
    """String [batch] -> numbers [batch, *shape of an example]."""
    little_endian = array.dtype == array.dtype.newbyteorder("<")
    numbers = tf.io.decode_raw(records, tf.as_dtype(array.dtype.name), little_endian)
    decoded = tf.reshape(numbers, [-1, *array.shape[1:]])
    decoded.set_shape([records.shape[0], *array.shape[1:]])  # -1 is not a static shape
    return decoded


def map_array(path: str) -> np.memmap:
    """Maps an array, .npy or `some.npz/name`, by its header: see numpy.lib.format.

    Raises DataError if the file is of another kind or truncated, or if its records cannot be read
    in place: compressed ones, those in Fortran's order, Python's objects.
    """
    archive, _, name = path.partition(".npz/")
    try:
        with open(f"{archive}.npz" if name else path, "rb") as file:
            if name:
                archived = zipfile.ZipFile(file)
                if f"{name}.npy" not in archived.namelist():
                    names = ", ".join(stem[: -len(".npy")] for stem in archived.namelist())
                    raise DataError(f"{path}: found {names} in the archive; set one of these")
                member = archived.getinfo(f"{name}.npy")
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("the array is compressed")
                file.seek(member.header_offset + 26)  # the lengths of two more fields
                file.seek(sum(struct.unpack("<2H", file.read(4))), os.SEEK_CUR)
            elif zipfile.is_zipfile(path):
                raise DataError(f"{path}: is an archive; add the array's name: {path}/<name>")
            version, _ = np.lib.format.read_magic(file)
            read = f"read_array_header_{min(version, 2)}_0"  # 3 is 2 with names in UTF-8
            shape, fortran_order, dtype = getattr(np.lib.format, read)(file)
            if not shape or 0 in shape:
                raise ValueError(f"found shape {shape}, expected one example or more")
            if dtype.name not in DTYPES:
                raise DataError(
                    f"{path}: found {dtype} of shape {shape}, expected numbers of a type in "
                    f"{', '.join(DTYPES)}; save it again, by numpy.save (or savez) of "
                    'array.astype("int64") or, for features, array.astype("float32")'
                )
            if fortran_order:
                raise ValueError(f"found shape {shape} in Fortran order, expected C order")
            return np.memmap(file, dtype, "r", file.tell(), shape)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a readable file") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: {error}; save it again, by numpy.save (or savez) of "
            "numpy.ascontiguousarray(examples)"
        ) from None
