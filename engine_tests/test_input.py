"""The position of a streamed input: saved with each checkpoint, restored with it."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.data.digits import Digits


def streamed(directory, **others):
    sizes = {"train_examples": 640, "test_examples": 130, "batch_size": 64}
    return Digits(directory, memory_fraction=0.0, shuffle_buffer=100, **sizes, **others)


@pytest.fixture
def fit_streamed(fit, tmp_path, digits_directory):
    """fit_streamed(run, last_step): checkpoints every 10 steps, of which two are kept."""

    def fit_streamed(run, last_step, dataset=None, **arguments):
        arguments = {"checkpoint_every_n_steps": 10, "max_to_keep": 2, **arguments}
        dataset = dataset or streamed(digits_directory)
        return fit(tmp_path / run, last_step, dataset=dataset, **arguments)

    return fit_streamed


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("steps_per_loop", [1, 1000])
def test_a_restart_gives_the_weights_of_a_run_that_was_never_stopped(
    fit_streamed, tmp_path, variables, steps_per_loop
):
    fit_streamed("straight", 50, steps_per_loop=steps_per_loop)
    fit_streamed("stopped", 33, steps_per_loop=steps_per_loop)
    fit_streamed("stopped", 50, steps_per_loop=steps_per_loop)
    assert equal(variables(tmp_path / "straight"), variables(tmp_path / "stopped"))


def test_positions_are_those_of_the_checkpoints_that_are_kept(fit_streamed, tmp_path):
    fit_streamed("run", 30)
    fit_streamed("run", 50)
    steps = {name.partition(".")[0] for name in os.listdir(str(tmp_path / "run" / "input"))}
    assert steps == {"input-40", "input-50"}


def test_records_in_memory_need_no_saved_position(fit, tmp_path):
    fit(tmp_path / "run")
    assert not (tmp_path / "run" / "input").exists()


def test_after_a_lost_or_corrupt_position_training_resumes_with_a_new_epoch(
    fit_streamed, tmp_path, variables, caplog
):
    fit_streamed("straight", 20)
    for damage in (b"", None, "truncated"):
        caplog.clear()
        fit_streamed("run", 10)
        for path in (tmp_path / "run" / "input").iterdir():
            if damage is None:
                path.unlink()
            elif damage == b"" or ".data-" in path.name:
                path.write_bytes(b"")
        fit_streamed("run", 20)
        assert ("cannot be read" in caplog.text) == (damage is not None)
        assert "resumes with a new epoch" in caplog.text
        assert not equal(variables(tmp_path / "straight"), variables(tmp_path / "run"))
        tf.io.gfile.rmtree(str(tmp_path / "run"))


class Counter(Dataset):
    """Endless Python, which no checkpoint can hold."""

    def records(self, split):
        def numbers():
            for number in range(100):
                yield [number / 100.0], number % 10

        shapes = (tf.TensorShape([1]), tf.TensorShape([]))
        return tf.data.Dataset.from_generator(numbers, (tf.float32, tf.int32), shapes)

    def bytes_in_memory(self, split):
        return None

    def convert(self, features, labels):
        return features, labels


def test_a_pipeline_that_cannot_be_saved_says_so_at_start_and_starts_a_new_epoch(
    fit_streamed, tmp_path, caplog
):
    fit_streamed("run", 10, dataset=Counter(batch_size=8))
    assert "position cannot be saved" in caplog.text
    fit_streamed("run", 20, dataset=Counter(batch_size=8))
    assert "resumes with a new epoch" in caplog.text


class Large(Dataset):
    """200 records of 10 kB, whose first byte tells which one it is."""

    path = ""

    def files(self, split):
        return [self.path]

    def read(self, path):
        return tf.data.FixedLengthRecordDataset(path, 10000)

    def convert(self, records):
        numbers = tf.cast(tf.io.decode_raw(records, tf.uint8)[:, :1], tf.int32)
        numbers.set_shape([None, 1])
        return tf.cast(numbers, tf.float32), numbers[:, 0] % 10


def test_a_shuffle_buffer_of_large_records_holds_fewer_and_says_so(
    fit_streamed, tmp_path, batches, same, caplog
):
    (tmp_path / "records").write_bytes(b"".join(bytes([n]) + os.urandom(9999) for n in range(200)))
    large = type("Large", (Large,), {"path": str(tmp_path / "records")})
    settings = {"batch_size": 8, "memory_fraction": 0.0}
    limited = large(**settings, shuffle_mb=1)
    found = batches(limited, count=40, training=True)
    assert same(found, batches(large(**settings, shuffle_buffer=100), count=40, training=True))
    assert same(found[7:], batches(limited, count=33, training=True, saved_after=7))
    every = batches(large(**settings), count=40, training=True)
    assert same(every, batches(large(**settings, shuffle_mb=3), count=40, training=True))
    assert not same(every, found)
    fit_streamed("run", 10, dataset=limited)
    assert "streamed (" in caplog.text
    assert "shuffled among 100 records (data.shuffle_mb: 1 MB)" in caplog.text
    saved = sum(path.stat().st_size for path in (tmp_path / "run" / "input").glob("input-10.*"))
    assert 0.9e6 < saved < 1.3e6


def test_a_position_of_a_buffer_of_another_size_is_not_taken(fit_streamed, tmp_path, caplog):
    (tmp_path / "records").write_bytes(b"".join(bytes([n]) + os.urandom(9999) for n in range(200)))
    large = type("Large", (Large,), {"path": str(tmp_path / "records")})
    fit_streamed("run", 10, dataset=large(batch_size=8, memory_fraction=0.0, shuffle_mb=1))
    caplog.clear()
    fit_streamed("run", 20, dataset=large(batch_size=8, memory_fraction=0.0, shuffle_buffer=90))
    assert "its shuffle buffer held 100 records, now 90" in caplog.text
    assert "the input resumes with a new epoch" in caplog.text


def test_a_position_does_not_grow_with_the_cores(tmp_path, batches):
    class Wide(Large):
        path = str(tmp_path / "records")

        def convert(self, records):
            return tf.cast(tf.io.decode_raw(records, tf.uint8), tf.float32), ()

    (tmp_path / "records").write_bytes(os.urandom(10000 * 200))
    found = []
    for calls in (2, 16):
        settings = {"batch_size": 8, "memory_fraction": 0.0, "shuffle_buffer": 10}
        batches(Wide(**settings, parallel_calls=calls), count=1, training=True, saved_after=20)
        found.append(sum(path.stat().st_size for path in tmp_path.glob("iterator*")))
    assert found[1] < 1.5 * found[0]
