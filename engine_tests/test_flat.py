"""Records of different size in memory: what comes back is what they are, padded in a batch."""

import os
from typing import ClassVar

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.engine.compat import RUNTIME
from my_project.engine.errors import DataError
from my_project.engine.input.elements import batched, iterate, native

COUNT = 2500  # more than are joined at once


class Sizes(Dataset):
    """A record of the number n: a picture, words, columns, all of which may be empty, and n."""

    padding: ClassVar = {"picture": 7, "words": "none", "columns": -1.5, "n": 0}
    largest = 5

    def records(self, split):
        return tf.data.Dataset.range(COUNT)

    def bytes_in_memory(self, split):
        return 1000

    def decode(self, n):
        height, width = n * 7 % self.largest, n % self.largest
        picture = tf.cast(tf.fill([height, width, 3], n % 200), tf.uint8)
        words = tf.strings.as_string(tf.range(n, n + n * 3 % self.largest))
        columns = tf.fill([2, width], tf.cast(n, tf.float32))
        columns.set_shape([2, None])
        return {"picture": picture, "words": words, "columns": columns, "n": n}

    def convert(self, record):
        return record, record["n"] % 2


@pytest.mark.parametrize("largest", [5, 1])
def test_a_batch_is_what_padded_batch_makes_of_its_records(batches, same, largest):
    dataset = Sizes(batch_size=10)
    dataset.largest = largest  # 1: all are empty

    def as_they_come(numbers):
        elements = tf.data.Dataset.from_tensor_slices(numbers)
        elements = elements.map(native(lambda n: (n, dataset.decode(n))))
        return batched(dataset, elements, True).map(lambda _, record: dataset.convert(record))

    found = batches(dataset, count=COUNT // 10, training=True)
    numbers = np.concatenate([features["n"] for features, _ in found])
    assert sorted(numbers) == list(range(COUNT))
    assert same(found, [*iterate(lambda: as_they_come(numbers))])


def test_a_batch_has_the_shapes_of_its_records():
    with tf.Graph().as_default():
        shapes = tf.data.get_output_shapes(Sizes(batch_size=10).batches("train", True))[0]
    found = {name: shape.as_list() for name, shape in shapes.items()}
    assert found == {
        "picture": [10, None, None, 3],
        "words": [10, None],
        "columns": [10, 2, None],
        "n": [10],
    }


class Estimated(Sizes):
    """The same, of a file."""

    bytes_in_memory = Dataset.bytes_in_memory

    def files(self, split):
        return [__file__]


def test_sizes_are_those_of_the_first_records_and_of_what_each_needs_besides():
    dataset = Estimated(batch_size=10)
    assert os.path.getsize(__file__) < 8 * COUNT  # so the number of records tells more
    pictures = sum(3 * (n * 7 % 5) * (n % 5) for n in range(10))
    words = sum(32 + len(str(n + i)) for n in range(10) for i in range(n * 3 % 5))
    columns = sum(2 * 4 * (n % 5) for n in range(10))
    picture, word, column = 3 + 8 + 4 * 2, tf.string.size + 8 + 4, 4 + 8 + 4 * 2
    each = picture + word + column + 8 + 8  # n, and the record's id
    values = (pictures + words + columns) / 10 + 8  # n is counted with them, too
    assert dataset.bytes_in_memory("train") == int((each + values) * COUNT)


class Small(Dataset):
    """Lines of bytes, each of which becomes that many numbers of eight bytes."""

    padding = 0

    def files(self, split):
        return [self.path]

    def read(self, path):
        return tf.data.TextLineDataset(path)

    def decode(self, line):
        return tf.cast(tf.io.decode_raw(line, tf.uint8), tf.int64)

    def convert(self, numbers):
        return numbers, numbers[:, 0]


def test_numbers_that_take_more_than_their_files_are_estimated_by_the_first_records(tmp_path):
    # The first records are the shortest.
    lines = [b"a" * length for length in range(1, 400)]
    dataset = Small(batch_size=8)
    dataset.path = str(tmp_path / "lines")
    (tmp_path / "lines").write_bytes(b"\n".join(lines))
    taken = 8 * sum(map(len, lines))
    assert taken < dataset.bytes_in_memory("train") < 1.2 * taken


def test_arrays_of_unknown_rank_are_refused():
    class Unknown(Sizes):
        def decode(self, n):
            return {**super().decode(n), "picture": tf.py_func(lambda n: n, [n], tf.int64)}

    with pytest.raises(DataError, match="found an array of unknown rank, expected it to be known"):
        Unknown(batch_size=10).batches("train", training=True)


@pytest.mark.skipif(RUNTIME != "tf1", reason="TensorFlow 2.x gathers them")
def test_a_type_that_cannot_be_gathered_is_refused():
    class Wide(Sizes):
        def decode(self, n):
            return {**super().decode(n), "n": tf.cast(n, tf.uint32)}

    with pytest.raises(DataError, match=r"found uint32, which TensorFlow 1\.15 cannot gather"):
        Wide(batch_size=10).batches("train", training=True)
