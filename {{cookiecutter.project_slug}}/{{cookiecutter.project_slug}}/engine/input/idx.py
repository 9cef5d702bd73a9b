"""The IDX format of MNIST: magic number, one big-endian uint32 per dimension, then the data.

Described at http://yann.lecun.com/exdb/mnist/; this project uses its unsigned bytes only.
"""

from __future__ import annotations

import functools
import operator
import os
import struct
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from ..run.files import atomic_write


class IdxHeader(NamedTuple):
    """What precedes the data; sizes in bytes."""

    shape: tuple[int, ...]  # of the whole file: the number of examples comes first
    offset: int  # where the data starts
    record_bytes: int  # of one example


def read_header(path: str | os.PathLike[str], rank: int | None = None) -> IdxHeader:
    """Reads the header of an idx file of unsigned bytes and checks the file's size against it.

    rank: how many dimensions there must be (3 for images, 1 for labels); None takes any.
    Raises DataError.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4 + 4 * 255)  # the longest header there can be
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; put a readable idx file there") from error

    def refuse(problem: str) -> DataError:
        return DataError(f"{path}: {problem}; delete it or put a whole copy in its place")

    if not head:
        raise refuse("the file is empty, expected an idx file")
    if head[:2] == b"\x1f\x8b":
        raise DataError(f"{path}: the file is gzip-compressed, expected plain idx; unpack it")
    rank = rank or int.from_bytes(head[3:4], "big") or 1
    magic = bytes([0, 0, 8, rank])  # 8: unsigned bytes
    if head[:4] != magic:
        raise refuse(f"found magic number 0x{head[:4].hex()}, expected 0x{magic.hex()}")
    offset = 4 + 4 * rank
    if len(head) < offset:
        raise refuse(f"the header is truncated: found {len(head)} bytes, expected {offset}")
    shape = struct.unpack(f">{rank}I", head[4:offset])
    if 0 in shape:
        raise refuse(f"found no examples (shape {shape}), expected at least one")
    record_bytes = functools.reduce(operator.mul, shape[1:], 1)
    expected = offset + shape[0] * record_bytes
    if size != expected:
        problem = "the data is truncated" if size < expected else "there are trailing bytes"
        raise refuse(f"{problem}: found {size} bytes, expected {expected} for shape {shape}")
    return IdxHeader(shape, offset, record_bytes)


def check_pair(
    images_path: str | os.PathLike[str], labels_path: str | os.PathLike[str]
) -> tuple[IdxHeader, IdxHeader]:
    """Reads the headers of images [count, rows, columns] and of their labels [count].

    Raises DataError if one file is bad or the counts differ.
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
