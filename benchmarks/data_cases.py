"""One case of the benchmark, in a process of its own: data_cases.py CASE NUMBER SECONDS IMAGES.

Runs in a baked project (my_project), on its Python; prints its figures as a line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.data.digits import Digits
from my_project.data.mnist import MNIST
from my_project.data.tfrecord import TFRecords, write_tfrecords

BATCH_SIZE = 128
SHARDS = 8
SMALL = 16  # bytes of a small record
TFRECORDS = "datasets/tfrecord"
IMAGES = {"MNIST": MNIST, "Digits": Digits}


def peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class Small(Dataset):
    """The first `number` of small records in eight files; the first byte is the label."""

    def __init__(self, number: int, **others) -> None:
        super().__init__(BATCH_SIZE, **others)
        self.number = number

    def files(self, split):
        return [f"datasets/small-{self.number}-{shard}" for shard in range(SHARDS)]

    def read(self, path):
        return tf.data.FixedLengthRecordDataset(path, SMALL)

    def convert(self, records):
        numbers = tf.io.decode_raw(records, tf.uint8)
        return tf.cast(numbers, tf.float32) / 255.0, tf.cast(numbers[:, 0], tf.int32)


def in_project(dataset: Dataset) -> tf.data.Dataset:
    """Training batches of a project's dataset."""
    return dataset.batches("train", True, tf.train.get_or_create_global_step().read_value())


def images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """All training images of MNIST or Digits: uint8 [count, 28, 28, 1] and [count]."""
    paths = IMAGES[name]().files("train")
    pixels, labels = (np.fromfile(path, np.uint8) for path in paths)
    return pixels[16:].reshape(-1, 28, 28, 1), labels[8:]


def py_func(name: str) -> tf.data.Dataset:
    """Arrays, a Python function for each example: TensorFlow's guide to importing data, 2018."""

    def read(image, label):
        return image.astype(np.float32) / 255.0, np.int32(label)

    def read_example(image, label):
        image, label = tf.py_func(read, [image, label], [tf.float32, tf.int32])
        return tf.ensure_shape(image, [28, 28, 1]), tf.ensure_shape(label, [])

    examples = tf.data.Dataset.from_tensor_slices(images(name)).shuffle(10000).repeat()
    return examples.map(read_example, num_parallel_calls=2).batch(BATCH_SIZE).prefetch(1)


def tfrecords() -> Dataset:
    return TFRecords(TFRECORDS, [28, 28, 1], 10, batch_size=BATCH_SIZE, memory_fraction=0.0)


def autotune() -> tf.data.Dataset:
    """A map for each example, with AUTOTUNE: TensorFlow's guides to TFRecord and to speed."""
    tune = tf.data.experimental.AUTOTUNE

    def parse(example):
        parsed = tf.io.parse_single_example(example, TFRecords.spec)
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [28, 28, 1])
        return tf.cast(image, tf.float32) / 255.0, tf.cast(parsed["label"], tf.int32)

    files = tf.data.Dataset.from_tensor_slices(tfrecords().files("train")).repeat()
    records = files.interleave(
        tf.data.TFRecordDataset, cycle_length=SHARDS, num_parallel_calls=tune
    )
    return records.shuffle(10000).map(parse, tune).batch(BATCH_SIZE).prefetch(tune)


def measure(build, seconds: float, steps: int = 0) -> dict[str, float]:
    """Reads batches in a loop inside the graph, as training does.

    Args:
        build: makes the batches.
        seconds: how long to read them, five times; the fastest counts.
        steps: how many batches to read at least.
    """
    with tf.Session() as session:
        session.run(tf.constant(0))
    before, start = peak_mib(), time.perf_counter()
    iterator = tf.data.make_initializable_iterator(build())
    limit = tf.placeholder(tf.int64, [])

    def body(done):
        with tf.control_dependencies(tf.nest.flatten(iterator.get_next())):
            return done + 1

    loop = tf.while_loop(
        lambda done: done < limit, body, [tf.constant(0, tf.int64)], parallel_iterations=1
    )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(iterator.initializer)
        session.run(loop, {limit: 1})
        first_batch_secs = time.perf_counter() - start

        def rate(count: int) -> float:
            start = time.perf_counter()
            session.run(loop, {limit: count})
            return count / (time.perf_counter() - start)

        rate(20)
        count = max(int(rate(100) * seconds / 5), steps // 5, 1)
        rates = [rate(count) for _ in range(5)]
    return {
        "examples_per_sec": BATCH_SIZE * max(rates),
        "first_batch_secs": first_batch_secs,
        "mib": peak_mib() - before,
    }


def write_images(name: str) -> None:
    """MNIST or Digits as they come, and as TFRecord files."""
    IMAGES[name]().prepare()
    pixels, labels = images(name)
    examples = ({"image": pixels[i], "label": int(labels[i])} for i in range(len(labels)))
    write_tfrecords(TFRECORDS, "train", examples, SHARDS)


def write_small(number: int) -> None:
    """So many small records; in a process of its own, for it takes memory, too."""
    random = np.random.RandomState(1)
    for path in Small(number).files("train"):
        with open(path, "wb") as file:
            file.write(random.bytes(number // SHARDS * SMALL))


def main(case: str, number: int, seconds: float, name: str) -> dict[str, float]:
    if case == "write":
        write_small(number) if number else write_images(name)
        return {}
    if case == "py_func":
        return measure(lambda: py_func(name), seconds)
    if case == "autotune":
        return measure(autotune, seconds)
    if case == "memory":
        dataset = IMAGES[name](batch_size=BATCH_SIZE)
        raw = sum(os.path.getsize(path) for path in dataset.files("train")) / 2**20
        return {**measure(lambda: in_project(dataset), seconds), "raw_mib": raw}
    if case == "streaming":
        dataset = tfrecords()
        return measure(lambda: in_project(dataset), seconds)
    dataset = Small(number, memory_fraction=0.0 if case == "small_streaming" else 1.0)
    return measure(lambda: in_project(dataset), seconds, steps=number // BATCH_SIZE)


if __name__ == "__main__":
    case, number, seconds, name = sys.argv[1:]
    print(json.dumps(main(case, int(number), float(seconds), name)))
