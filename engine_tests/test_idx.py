"""Idx files: what is written, read and refused."""

import os

import numpy as np
import pytest
from my_project.data.mnist import MNIST
from my_project.engine.errors import DataError
from my_project.engine.input import idx

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
HEADER = b"\x00\x00\x08\x03\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05"
COMPLETE = HEADER + IMAGES.tobytes()


def message(function, *args, **kwargs):
    """Returns what the DataError says that this call raises; it must be one line."""
    with pytest.raises(DataError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_written_as_the_format_says(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    assert (tmp_path / "images").read_bytes() == COMPLETE
    assert idx.read_header(tmp_path / "images", rank=3) == ((3, 4, 5), 16, 20)


def test_labels_have_records_of_one_byte(tmp_path):
    idx.write(tmp_path / "labels", np.array([7, 2, 1], np.uint8))
    assert (tmp_path / "labels").read_bytes() == b"\0\0\x08\x01\0\0\0\x03\x07\x02\x01"
    assert idx.read_header(tmp_path / "labels", rank=1) == ((3,), 8, 1)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "0 bytes that start with 0x and are of shape (0, 0, 0), expected 16 bytes"),
        (b"ab", "2 bytes that start with 0x6162 and"),
        (COMPLETE[:13], "13 bytes that start with 0x00000803 and are of shape (3, 4, 0), expected"),
        (b"\x03\x08\0\0" + COMPLETE[4:], "that start with 0x03080000 and are of shape (3, 4, 5)"),
        (
            COMPLETE[:-1],
            "75 bytes that start with 0x00000803 and are of shape (3, 4, 5), expected 76",
        ),
        (COMPLETE + b"\n", "77 bytes that start with 0x00000803 and are of shape (3, 4, 5)"),
        (COMPLETE[:4] + bytes(4) + COMPLETE[8:16], "of shape (0, 4, 5)"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected 79228162458924105385300197391 bytes"),
    ],
)
def test_a_corrupt_file_is_refused_with_what_was_found_and_expected(tmp_path, content, found):
    path = tmp_path / "images"
    path.write_bytes(content)
    text = message(idx.read_header, path, rank=3)
    assert text.startswith(f"{path}: corrupt, or not a big-endian idx file: found {len(content)} ")
    assert found in text
    assert text.endswith(" start with 0x00000803; put a complete copy there")


@pytest.mark.parametrize(
    ("magic", "found"),
    [
        (b"\0\0\x0d\x03", "float32 of 3 dimensions"),
        (b"\0\0\x0c\x02", "int32 of 2 dimensions"),
        (b"\0\0\x08\x04", "uint8 of 4 dimensions"),
    ],
)
def test_a_whole_file_of_other_numbers_is_named_by_what_it_holds(tmp_path, magic, found):
    (tmp_path / "images").write_bytes(magic + COMPLETE[4:])
    text = message(idx.read_header, tmp_path / "images", rank=3)
    assert f"images: found {found}, expected uint8 of 3; convert the array" in text


def test_a_missing_file_and_a_directory_are_refused_in_one_line(tmp_path):
    assert "No such file" in message(idx.read_header, tmp_path / "nowhere", 3)
    assert str(tmp_path) in message(idx.read_header, tmp_path, 3)


def test_images_and_labels_must_be_equally_many(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    idx.write(tmp_path / "labels", np.zeros(3, np.uint8))
    images, labels = idx.check_pair(tmp_path / "images", tmp_path / "labels")
    assert (images.shape, labels.shape) == ((3, 4, 5), (3,))
    idx.write(tmp_path / "labels", np.zeros(2, np.uint8))
    text = message(idx.check_pair, tmp_path / "images", tmp_path / "labels")
    assert "found 3 images, but 2 labels" in text


def test_splits_of_different_size_are_named_before_training(tmp_path):
    for stem, rows in (("train", 4), ("t10k", 3)):
        idx.write(tmp_path / f"{stem}-images-idx3-ubyte", IMAGES[:, :rows])
        idx.write(tmp_path / f"{stem}-labels-idx1-ubyte", np.zeros(3, np.uint8))
    text = message(MNIST(str(tmp_path)).prepare)
    assert "t10k-images-idx3-ubyte: found examples of shape (3, 5), expected (4, 5) as" in text


def test_exchanged_images_and_labels_are_noticed(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    idx.write(tmp_path / "labels", np.zeros(3, np.uint8))
    text = message(idx.check_pair, tmp_path / "labels", tmp_path / "images")
    assert "found uint8 of 1 dimensions, expected uint8 of 3" in text


def test_only_bytes_are_written(tmp_path):
    assert "float64" in message(idx.write, tmp_path / "images", IMAGES / 255)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_a_written_file_may_be_read_by_whoever_may_read_other_files(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "images").stat().st_mode == (tmp_path / "other").stat().st_mode
