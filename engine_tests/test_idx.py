"""Idx files: what is refused, and with which words."""

import gzip
import os

import numpy as np
import pytest
from my_project.engine.errors import DataError
from my_project.engine.input import idx

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
HEADER = b"\x00\x00\x08\x03\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05"
WHOLE = HEADER + IMAGES.tobytes()


def message(function, *args, **kwargs):
    """Returns what the DataError says that this call raises; it must be one line."""
    with pytest.raises(DataError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_written_as_the_format_says(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    assert (tmp_path / "images").read_bytes() == WHOLE
    assert idx.read_header(tmp_path / "images") == ((3, 4, 5), 16, 20)


def test_labels_have_records_of_one_byte(tmp_path):
    idx.write(tmp_path / "labels", np.array([7, 2, 1], np.uint8))
    assert (tmp_path / "labels").read_bytes() == b"\0\0\x08\x01\0\0\0\x03\x07\x02\x01"
    assert idx.read_header(tmp_path / "labels", rank=1) == ((3,), 8, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"ab", "found magic number 0x6162, expected 0x00000803"),
        (WHOLE[:13], "the header is truncated: found 13 bytes, expected 16"),
        (b"\x00\x00\x0d\x03" + WHOLE[4:], "found magic number 0x00000d03, expected 0x00000803"),
        (b"\x00\x00\x08\x01" + WHOLE[4:], "found magic number 0x00000801, expected 0x00000803"),
        (WHOLE[:-1], "the data is truncated: found 75 bytes, expected 76 for shape (3, 4, 5)"),
        (HEADER, "the data is truncated: found 16 bytes, expected 76"),
        (WHOLE + b"\n", "there are trailing bytes: found 77 bytes, expected 76"),
        (WHOLE[:4] + bytes(4) + WHOLE[8:16], "found no examples (shape (0, 4, 5))"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected 79228162458924105385300197391 for shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_a_bad_file_is_refused_with_what_was_found_and_expected(tmp_path, content, words):
    path = tmp_path / "images"
    path.write_bytes(content)
    text = message(idx.read_header, path, rank=3)
    assert text.startswith(f"{path}: ")
    assert words in text
    assert text.endswith("; delete it or put a whole copy in its place")


def test_a_compressed_file_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / "images").write_bytes(gzip.compress(WHOLE))
    text = message(idx.read_header, tmp_path / "images", rank=3)
    assert text.endswith("the file is gzip-compressed, expected plain idx; unpack it")


def test_a_missing_file_and_a_directory_are_refused_in_one_line(tmp_path):
    assert "No such file" in message(idx.read_header, tmp_path / "nowhere")
    assert str(tmp_path) in message(idx.read_header, tmp_path)


def test_images_and_labels_must_be_equally_many(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    idx.write(tmp_path / "labels", np.zeros(3, np.uint8))
    images, labels = idx.check_pair(tmp_path / "images", tmp_path / "labels")
    assert (images.shape, labels.shape) == ((3, 4, 5), (3,))
    idx.write(tmp_path / "labels", np.zeros(2, np.uint8))
    text = message(idx.check_pair, tmp_path / "images", tmp_path / "labels")
    assert "found 3 images, but 2 labels" in text


def test_exchanged_images_and_labels_are_noticed(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    idx.write(tmp_path / "labels", np.zeros(3, np.uint8))
    text = message(idx.check_pair, tmp_path / "labels", tmp_path / "images")
    assert "found magic number 0x00000801, expected 0x00000803" in text


def test_only_bytes_are_written(tmp_path):
    assert "float64" in message(idx.write, tmp_path / "images", IMAGES / 255)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_a_written_file_may_be_read_by_whoever_may_read_other_files(tmp_path):
    idx.write(tmp_path / "images", IMAGES)
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "images").stat().st_mode == (tmp_path / "other").stat().st_mode
