"""Any Python for each record: what it may return, in which order, and what is refused."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.engine.errors import DataError
from my_project.engine.input.elements import iterate
from my_project.engine.input.numpy_map import numpy_map


def mapped(function, dtypes, shapes, count=9, **others):
    def build():
        return numpy_map(tf.data.Dataset.range(count), function, dtypes, shapes, **others)

    return list(iterate(build))


def split(number):
    """Leaves every third number out, and makes `number` examples of every other third."""
    if number % 3 == 0:
        return None
    if number % 3 == 1:
        return np.full([2], number, np.float32), number
    return [(np.full([n], n, np.float32), number) for n in range(number)]


class Numbers(Dataset):
    """The numbers below 9, each split; lengths differ."""

    padding = (-1.0, 0)

    def records(self, split_):
        return numpy_map(tf.data.Dataset.range(9), split, [tf.float32, tf.int64], [[None], []])

    def convert(self, numbers, labels):
        return numbers, labels


def test_none_leaves_a_record_out_and_a_list_gives_several_in_the_records_order():
    found = mapped(split, [tf.float32, tf.int64], [[None], []], parallel_calls=4)
    assert [int(label) for _, label in found] == [1] + 2 * [2] + [4] + 5 * [5] + [7] + 8 * [8]
    assert [numbers.tolist() for numbers, _ in found[:4]] == [[1, 1], [], [1], [4, 4]]


def test_text_and_booleans_pass():
    def texts(number):
        return str(number), [b"a", b"bc"], np.bool_(number)

    found = mapped(texts, [tf.string, tf.string, tf.bool], [[], [2], []], count=2)
    assert [(a, b.tolist(), bool(c)) for a, b, c in found] == [
        (b"0", [b"a", b"bc"], False),
        (b"1", [b"a", b"bc"], True),
    ]


def test_a_record_of_names_reaches_the_function_as_one_argument():
    records = {"x": np.arange(3), "y": np.arange(3) * 2}

    def build():
        dataset = tf.data.Dataset.from_tensor_slices(records)
        return numpy_map(dataset, lambda record: (record["x"] + record["y"],), [tf.int64], [[]])

    assert [int(total) for (total,) in iterate(build)] == [0, 3, 6]


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_its_examples_are_counted_padded_and_shuffled_as_all_others(batches, memory_fraction):
    dataset = Numbers(batch_size=18, memory_fraction=memory_fraction)
    assert dataset.count("train") == 18
    numbers, labels = batches(dataset, training=True, count=1)[0]
    assert numbers.shape == (18, 7)
    assert sorted(labels) == [1] + 2 * [2] + [4] + 5 * [5] + [7] + 8 * [8]
    assert (numbers[labels == 1] == [1, 1, -1, -1, -1, -1, -1]).all()


def test_its_position_can_be_saved(batches, same):
    dataset = Numbers(batch_size=3, memory_fraction=0.0, shuffle_buffer=4)
    straight = batches(dataset, training=True, count=12)
    assert same(batches(dataset, training=True, count=7, saved_after=5), straight[5:])


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (3, "returned 3"),
        ((np.float32(1),), r"returned \(float32 \(\)\)"),
        ((1.0, np.zeros(3, np.float32)), r"returned \(float64 \(\), float32 \(3,\)\)"),
        ((np.float32(1), np.zeros(2, np.float32)), r"returned \(float32 \(\), float32 \(2,\)\)"),
    ],
)
def test_a_wrong_dtype_or_shape_names_the_function_what_it_returned_and_what_was_expected(
    returned, found
):
    def measure(number):
        return returned

    with pytest.raises(tf.errors.OpError) as error:
        mapped(measure, [tf.float32, tf.float32], [[], [3]])
    expected = r"expected \(float32 \(\), float32 \(3,\)\)"
    error.match(rf"DataError: .*\.measure, given record 1, {found}, {expected}")
    assert "Traceback" not in error.value.message


def test_an_error_in_the_function_is_one_line_with_its_place(fit, tmp_path):
    classes = dict.fromkeys([0, 1, 2, 3, 4, 6, 7, 8], 0)

    class Fails(Numbers):
        def records(self, split):
            def classify(number):
                if number < 2:
                    return None
                return np.zeros(1, np.float32), np.int32(classes[int(number)])

            records = tf.data.Dataset.range(9)
            return numpy_map(records, classify, [tf.float32, tf.int32], [[1], []])

    message = (
        r"^Fails, train split: record 4: .*\.classify, given record 6, raised KeyError in line "
        r"\d+: 5; fix or remove it, or change how it is read$"
    )
    with pytest.raises(DataError, match=message):
        fit(tmp_path / "run", dataset=Fails(batch_size=4, memory_fraction=0.0))
    assert not (tmp_path / "run").exists()
