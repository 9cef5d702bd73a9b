"""TFRecord files: what is written is what is read, and no half set is ever read."""

import gzip
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.tfrecord import TFRecords, write_tfrecords
from my_project.engine.errors import DataError
from my_project.engine.input.bad_records import find_bad_record
from my_project.engine.input.elements import iterate

IMAGES = np.random.RandomState(1).randint(0, 256, [50, 4, 6, 3]).astype(np.uint8)
LABELS = np.arange(50, dtype=np.uint8) % 10


def examples(count=50):
    return ({"image": IMAGES[i], "label": LABELS[i]} for i in range(count))


@pytest.fixture
def directory(tmp_path):
    """50 examples to train on in 4 files, 10 to test on in one."""
    path = str(tmp_path / "records")
    write_tfrecords(path, "train", examples(), shards=4)
    write_tfrecords(path, "test", examples(10))
    return path


def dataset(directory, **others):
    return TFRecords(directory, [4, 6, 3], **{"classes": 10, "batch_size": 8, **others})


def test_every_example_is_read_as_it_was_written(directory, batches):
    features, labels = map(np.concatenate, zip(*batches(dataset(directory), "test")))
    assert features.dtype == np.float32
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, LABELS[:10])
    np.testing.assert_allclose(features, IMAGES[:10] / 255.0, atol=1e-7)


def test_examples_go_to_the_files_in_turn(directory, batches):
    assert sorted(os.listdir(directory)) == [
        "test-00000-of-00001.tfrecord",
        *(f"train-0000{index}-of-00004.tfrecord" for index in range(4)),
    ]
    _, labels = map(np.concatenate, zip(*batches(dataset(directory), "train")))
    assert labels.tolist() == [LABELS[i] for start in range(4) for i in range(start, 50, 4)]


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_an_epoch_holds_every_example_once(directory, batches, memory_fraction):
    records = dataset(directory, batch_size=50, memory_fraction=memory_fraction)
    found = batches(records, training=True, count=1)
    assert sorted(found[0][1].tolist()) == sorted(LABELS.tolist())


def test_a_restored_position_resumes_with_the_next_batch(directory, batches, same):
    streamed = dataset(directory, memory_fraction=0.0, shuffle_buffer=20)
    straight = batches(streamed, training=True, count=10)
    assert same(batches(streamed, training=True, count=7, saved_after=3), straight[3:])


def test_numbers_text_and_arrays_are_stored_by_their_kind(tmp_path):
    example = {"a": [1.5, 2.0], "b": b"text", "c": -1, "d": np.arange(3), "e": np.uint8(7)}
    write_tfrecords(str(tmp_path), "train", [example])
    path = str(tmp_path / "train-00000-of-00001.tfrecord")
    (record,) = iterate(lambda: tf.data.TFRecordDataset(path))
    found = tf.train.Example.FromString(record).features.feature
    assert found["a"].float_list.value == [1.5, 2.0]
    assert found["b"].bytes_list.value == [b"text"]
    assert [list(found[name].int64_list.value) for name in "cde"] == [[-1], [0, 1, 2], [7]]


def test_writing_that_fails_changes_no_file(directory):
    def state():
        return {name: os.stat(f"{directory}/{name}").st_mtime_ns for name in os.listdir(directory)}

    def broken():
        yield from examples(20)
        raise RuntimeError("a bug")

    before = state()
    with pytest.raises(RuntimeError, match="a bug"):
        write_tfrecords(directory, "train", broken(), shards=4)
    with pytest.raises(DataError, match="found 3 examples for 4 train files"):
        write_tfrecords(directory, "train", examples(3), shards=4)
    assert state() == before


def test_a_new_set_replaces_one_of_another_number_of_files(directory):
    write_tfrecords(directory, "train", examples(30), shards=2)
    assert [os.path.basename(path) for path in dataset(directory).files("train")] == [
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]
    assert dataset(directory).count("train") == 30


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: os.remove(path.format(2, 4)), "train-00002-of-00004.tfrecord: is missing"),
        (lambda path: os.truncate(path.format(1, 4), 0), "00001-of-00004.tfrecord: is empty"),
        (lambda path: open(path.format(0, 2), "w").close(), "of-00002.tfrecord: is .*another set"),
    ],
)
def test_an_incomplete_set_is_refused_by_the_name_of_the_file(directory, damage, message):
    damage(os.path.join(directory, "train-0000{}-of-0000{}.tfrecord"))
    with pytest.raises(DataError, match=message):
        dataset(directory).batches("train", training=True)


def test_compressed_files_are_told_from_corrupt_ones(directory):
    for path in dataset(directory).files("train"):
        with open(path, "r+b") as file:
            packed = gzip.compress(file.read())
            file.seek(0)
            file.write(packed)
            file.truncate()
    with pytest.raises(DataError, match=r"is compressed \(gzip\), expected .*; unpack it, or let"):
        find_bad_record(dataset(directory), "train")


def test_no_files_are_refused_with_the_place_where_they_were_expected(tmp_path):
    with pytest.raises(DataError, match=r"none/train-00000-of-00001\.tfrecord: is missing"):
        dataset(str(tmp_path / "none")).count("train")


def test_a_label_that_is_not_a_class_fails_before_it_reaches_a_gpu(directory, batches):
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected labels from 0 to 8, found"):
        batches(dataset(directory, classes=9), "test")
