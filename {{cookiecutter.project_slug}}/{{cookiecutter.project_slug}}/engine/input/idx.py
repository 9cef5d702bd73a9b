"""The IDX format of MNIST: magic number, one big-endian uint32 per dimension, then the data.

Described at http://yann.lecun.com/exdb/mnist/; this project uses its unsigned bytes only.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from ..run.files import atomic_write

TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}


class IdxHeader(NamedTuple):
    """What precedes the data; sizes in bytes."""

    shape: tuple[int, ...]  # of the file: the number of examples comes first
    offset: int  # where the data start
    record_bytes: int  # of one example


def read_header(path: str | os.PathLike[str], rank: int) -> IdxHeader:
    """Reads the header of an idx file of unsigned bytes and checks the file's size against it.

    Args:
        path: of the file.
        rank: the number of dimensions that it must have: 3 for images, 1 for labels.

    Raises:
        DataError: the file cannot be read, is corrupt, or holds something else.
    """
    offset = 4 + 4 * rank
    try:
        with open(path, "rb") as file:
            head = file.read(offset)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; put a readable idx file there") from error
    magic = struct.pack(">I", 0x0800 + rank)  # 8: unsigned bytes
    if head[:4] != magic and head[:2] == b"\0\0" and len(head) > 3 and head[2] in TYPES:
        raise DataError(
            f"{path}: found {TYPES[head[2]]} of {head[3]} dimensions, expected uint8 of "
            f"{rank}; convert the array, and write it by `write` of engine/input/idx.py"
        )
    shape = struct.unpack(f">{rank}I", head[4:].ljust(4 * rank, b"\0"))
    record_bytes = int(np.prod(np.array(shape[1:], object)))  # Python's integers: no overflow
    expected = offset + shape[0] * record_bytes
    if head[:4] != magic or 0 in shape or size != expected:
        raise DataError(
            f"{path}: corrupt, or not a big-endian idx file: found {size} bytes that start with "
            f"0x{head[:4].hex()} and are of shape {shape}, expected {expected} bytes that start "
            f"with 0x{magic.hex()}; put a complete copy there"
        )
    return IdxHeader(shape, offset, record_bytes)


def check_pair(
    images_path: str | os.PathLike[str], labels_path: str | os.PathLike[str]
) -> tuple[IdxHeader, IdxHeader]:
    """Reads the headers of images [count, rows, columns] and of their labels [count].

    Raises DataError if one file is corrupt or the counts differ.
    """
    images, labels = read_header(images_path, rank=3), read_header(labels_path, rank=1)
    if images.shape[0] != labels.shape[0]:
        raise DataError(
            f"{images_path}: found {images.shape[0]} images, but {labels.shape[0]} labels in "
            f"{labels_path}, expected equal counts; take both files from one data set"
        )
    return images, labels


def write(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Writes a uint8 array of any shape as an idx file; raises DataError for other types."""
    if array.dtype != np.uint8:
        raise DataError(f"{path}: found an array of {array.dtype}, expected uint8; convert it")
    with atomic_write(path) as file:
        file.write(struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape))
        file.write(np.ascontiguousarray(array).data)
