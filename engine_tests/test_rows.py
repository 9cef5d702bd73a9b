"""A worker in step makes only its rows of each batch, where that is exact."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.input.random_numbers import uniform
from my_project.engine.input.rows import take_all_rows, take_rows
from toy import FirstWords, Toy


class Noisy(Toy):
    """Each example changes by its own key."""

    def augment(self, features, labels, keys):
        return features + uniform(keys, [4]), labels


class Mixed(Toy):
    """Each example is mixed with another one of its batch."""

    def augment(self, features, labels, keys):
        return 0.5 * features + 0.5 * tf.reverse(features, [0]), labels


class Centered(Toy):
    """What an example becomes depends on its batch."""

    def convert(self, x, y):
        return x - tf.reduce_mean(x, axis=0), y


@pytest.mark.parametrize("make", [Noisy, FirstWords])
def test_the_rows_of_all_workers_are_the_batch(batches, make):
    dataset = make(batch_size=20)
    whole = batches(dataset, "train", 3, training=True)
    parts = []
    for index in range(2):
        assert take_rows(dataset, index, 2)
        parts.append(batches(dataset, "train", 3, training=True))
        assert len(batches(dataset, "test", 1)[0][1]) == 20  # to evaluate, all
    take_all_rows(dataset)
    assert len(batches(dataset, "train", 1, training=True)[0][1]) == 20
    for batch, halves in zip(whole, zip(*parts)):
        for array, *each in zip(*map(tf.nest.flatten, (batch, *halves))):
            assert [len(half) for half in each] == [10, 10]
            np.testing.assert_array_equal(array, np.concatenate(each))


class NowAndThen(Toy):
    """Examples are mixed in a quarter of the batches."""

    def augment(self, features, labels, keys):
        mixes = uniform(keys[:1], [1])[0, 0] > 0.75
        return tf.cond(mixes, lambda: tf.reverse(features, [0]), lambda: features), labels


class Trimmed(FirstWords):
    """As wide as the longest example of the batch, which is the last one."""

    def records(self, split):
        return super().records(split).enumerate().map(self.grown)

    def grown(self, number, record):
        return {**record, "length": tf.cast(number % 4 + 1, tf.int32)}

    def convert(self, record):
        words = record["sequence"][:, : tf.reduce_max(record["length"])]
        return words, record["sequence"][:, 0]


@pytest.mark.parametrize("make", [Mixed, Centered, NowAndThen])
def test_a_batch_is_made_whole_where_its_examples_depend_on_each_other(batches, make):
    dataset = make(batch_size=20)
    assert not take_rows(dataset, 0, 2)
    assert len(batches(dataset, "train", 1, training=True)[0][1]) == 20


def test_a_batch_is_made_whole_where_a_part_would_be_of_another_width():
    assert not take_rows(Trimmed(batch_size=4), 0, 2)


def test_a_stream_is_made_whole_since_its_position_is_that_of_all_workers():
    assert not take_rows(Toy(batch_size=20, memory_fraction=0.0), 0, 2)
