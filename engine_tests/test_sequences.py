"""Sequences of different length: how they are padded, and what is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.sequences import Sequences, Waves
from my_project.data.tfrecord import _feature, write_tfrecords
from my_project.engine.errors import DataError
from my_project.engine.input.bad_records import find_bad_record
from my_project.engine.input.sizes import padding_wasted
from my_project.engine.settings.config import instantiate, load_config
from my_project.model.rnn import RNN


@pytest.fixture
def words(tmp_path):
    """words(**arguments): twelve sequences of 0, 1, 2, … equal words, in two files."""
    for split in ("train", "test"):
        examples = [{"sequence": np.full(n, n + 1), "label": n % 3} for n in range(12)]
        write_tfrecords(str(tmp_path), split, examples, shards=2)

    def words(**arguments):
        return Sequences(str(tmp_path), 0, 3, **{"batch_size": 4, **arguments})

    return words


def test_words_are_integers_padded_with_zeros(words, batches):
    (features, labels), *_ = batches(words(), "test")
    assert features["sequence"].dtype == np.int32
    # The first file holds every other sequence.
    assert features["sequence"][1].tolist() == [3, 3, 0, 0, 0, 0]
    assert features["length"].tolist() == [0, 2, 4, 6]
    assert labels.tolist() == [0, 2, 1, 0]


def test_several_numbers_at_each_time_are_of_one_width(tmp_path, batches):
    examples = [{"sequence": np.full([n, 2], 0.5), "label": 0} for n in (3, 1)]
    write_tfrecords(str(tmp_path), "test", examples)
    ((features, _),) = batches(Sequences(str(tmp_path), 2, 1, batch_size=2), "test")
    assert features["sequence"].dtype == np.float32
    assert features["sequence"].shape == (2, 3, 2)
    assert features["sequence"][1].tolist() == [[0.5, 0.5], [0, 0], [0, 0]]


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_training_in_buckets_resumes_after_a_restart(words, batches, same, memory_fraction):
    dataset = words(memory_fraction=memory_fraction, buckets=[4, 8], shuffle_buffer=5)
    straight = batches(dataset, count=9, training=True)
    lengths = [length for features, _ in straight for length in features["length"]]
    assert set(lengths) == set(range(12))
    stop = {"start_step" if memory_fraction else "saved_after": 4}
    assert same(straight[4:], batches(dataset, count=5, training=True, **stop))


def test_buckets_save_padding_of_the_drawn_waves_and_a_model_learns_them(tmp_path, fit):
    dataset = Waves(str(tmp_path / "waves"), batch_size=32)
    dataset.prepare()
    plain = Waves(str(tmp_path / "waves"), batch_size=32, buckets=[])
    assert dataset.in_memory("train")
    assert dataset.count("test") == 600
    assert 0.4 < padding_wasted(plain, "train") < 0.5
    assert padding_wasted(dataset, "train") < 0.22
    model = RNN(units=16, classes=3, learning_rate=0.01)
    assert fit(tmp_path / "run", 150, model, dataset)["accuracy"] > 0.6


def test_numbers_that_do_not_fill_the_width_are_named(tmp_path):
    examples = [{"sequence": np.zeros(size), "label": 0} for size in (4, 3)]
    write_tfrecords(str(tmp_path), "test", examples)
    message = r"test-00000-of-00001\.tfrecord: record 2: .*data\.width=2 .* 'sequence', found 3"
    with pytest.raises(DataError, match=message):
        find_bad_record(Sequences(str(tmp_path), 2, 1), "test")


def test_a_sequence_that_is_missing_is_not_an_empty_one(tmp_path):
    write_tfrecords(str(tmp_path), "test", [{"sequence": np.zeros(0), "label": 0}])
    find_bad_record(Sequences(str(tmp_path), 1, 1), "test")
    numbers = tf.train.Features(feature={"label": _feature(0)})
    lists = tf.train.FeatureLists(feature_list={"sequence": tf.train.FeatureList()})
    (path,) = tmp_path.glob("*.tfrecord")
    for record in (
        tf.train.Example(features=numbers),
        tf.train.SequenceExample(context=numbers, feature_lists=lists),
    ):
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(record.SerializeToString())
        with pytest.raises(DataError, match="with a feature 'sequence', found none"):
            find_bad_record(Sequences(str(tmp_path), 1, 1), "test")


@pytest.mark.parametrize("wrong", [2, 2**32 + 1])
def test_a_label_that_is_not_a_class_is_named(tmp_path, wrong):
    examples = [{"sequence": np.zeros(3), "label": label} for label in (0, 1, wrong)]
    write_tfrecords(str(tmp_path), "test", examples)
    with pytest.raises(DataError, match=f"record 3: expected labels from 0 to 1, found .*{wrong}"):
        find_bad_record(Sequences(str(tmp_path), 1, 2), "test")


def test_a_word_beyond_32_bits_is_named(tmp_path):
    examples = [{"sequence": np.array([1, word]), "label": 0} for word in (1, 2**32 + 5)]
    write_tfrecords(str(tmp_path), "test", examples)
    with pytest.raises(DataError, match=r"record 2: expected integers of 32 bits .*4294967301"):
        find_bad_record(Sequences(str(tmp_path), 0, 2), "test")


def test_its_settings_make_it():
    assert isinstance(instantiate(load_config(["data=sequences"]).data), Waves)


# Prints the bytes that a training iterator of the second directory's sequences takes, and what is
# expected; the first one's are for what any would take, such as threads.
MEASURE = """
import sys, psutil
import tensorflow.compat.v1 as tf
from my_project.data.sequences import Sequences
for directory in sys.argv[1:]:
    dataset = Sequences(directory, 1, 3, memory_fraction=0.9)
    before = psutil.Process().memory_info().rss
    with tf.Graph().as_default(), tf.Session() as session:
        iterator = tf.data.make_initializable_iterator(dataset.batches("train", True))
        following = iterator.get_next()
        session.run(iterator.initializer)
        session.run(following)
        taken = psutil.Process().memory_info().rss - before
print(taken, dataset.bytes_in_memory("train"))
"""


def test_the_memory_that_sequences_take_is_what_is_expected(tmp_path):
    for name, count in ("few", 200), ("many", 60000):
        lengths = np.random.RandomState(1).randint(10, 101, count)
        examples = ({"sequence": np.zeros(length), "label": 0} for length in lengths)
        write_tfrecords(str(tmp_path / name), "train", examples)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "few"), str(tmp_path / "many")]
    returned = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}  # when freed
    printed = subprocess.check_output(
        command, cwd=root, encoding="utf-8", env={**os.environ, **returned}
    )
    taken, expected = map(int, printed.split())
    assert expected / 2 < taken < expected * 1.8  # as serialized strings they took twice as much
