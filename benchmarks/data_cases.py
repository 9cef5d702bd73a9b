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
import tensorflow
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.data.digits import Digits
from my_project.data.images import Images
from my_project.data.mnist import MNIST
from my_project.data.tfrecord import TFRecords, write_tfrecords
from PIL import Image

BATCH_SIZE = 128
SHARDS = 8
SMALL = 16  # bytes of a small record
TFRECORDS = "datasets/tfrecord"
IMAGES = {"MNIST": MNIST, "Digits": Digits}
PHOTOS = "datasets/photos"
PHOTO_BATCH = 32  # as Keras and TensorFlow's tutorial on loading images have it
PHOTO_STEPS = 250  # of a stream at least, 50 in a stretch: more than wait in its buffers


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


def photos(size: int, memory_fraction: float) -> Dataset:
    others = {"batch_size": PHOTO_BATCH, "memory_fraction": memory_fraction}
    return Images(PHOTOS, size, size, channels=3, classes=10, **others)


def photos_guide(size: int, cached: bool) -> tf.data.Dataset:
    """list_files, a map for each file, with AUTOTUNE: TensorFlow's tutorial on loading images."""
    tune = tf.data.experimental.AUTOTUNE
    classes = sorted(os.listdir(f"{PHOTOS}/train"))

    def read(path):
        folder = tf.string_split([path], os.sep).values[-2]
        label = tf.argmax(tf.cast(tf.equal(folder, classes), tf.int32))
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, [size, size]) / 255.0, label

    files = tf.data.Dataset.list_files(f"{PHOTOS}/train/*/*", shuffle=False)
    examples = files.map(read, tune).cache() if cached else files.shuffle(10000).map(read, tune)
    return examples.shuffle(1000).repeat().batch(PHOTO_BATCH).prefetch(tune)


def photos_keras(size: int, seconds: float) -> dict[str, float]:
    """Keras' own way to read folders: on 2.x a tf.data pipeline, before that a generator."""
    options = {"directory": f"{PHOTOS}/train", "batch_size": PHOTO_BATCH}
    read = getattr(tensorflow.keras.utils, "image_dataset_from_directory", None)
    if read:

        def build():
            batches = read(**options, image_size=(size, size))
            return batches.map(lambda images, labels: (images / 255.0, labels)).repeat().prefetch(1)

        return measure(build, seconds, PHOTO_BATCH, PHOTO_STEPS)
    generator = tf.keras.preprocessing.image.ImageDataGenerator(rescale=1 / 255)
    generator.apply_transform = lambda image, _: image  # there is none, but it asks for SciPy
    batches = generator.flow_from_directory(
        **options, target_size=(size, size), class_mode="sparse", interpolation="bilinear"
    )
    return fastest(lambda count: [next(batches) for _ in range(count)], seconds, PHOTO_BATCH)


def measure(
    build, seconds: float, batch_size: int = BATCH_SIZE, steps: int = 0
) -> dict[str, float]:
    """Reads batches in a loop inside the graph, as training does.

    Args:
        build: makes the batches.
        seconds: how long to read them, in five stretches; the fastest counts.
        batch_size: examples in a batch.
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
    session = tf.Session()  # not closed: see below
    session.run(tf.global_variables_initializer())
    session.run(iterator.initializer)  # reads the global step: after that is there
    session.run(loop, {limit: 1})
    first_batch_secs = time.perf_counter() - start

    def read(count: int) -> None:
        session.run(loop, {limit: count})

    figures = fastest(read, seconds, batch_size, steps)
    return {**figures, "first_batch_secs": first_batch_secs, "mib": peak_mib() - before}


def fastest(read, seconds: float, batch_size: int, steps: int = 0) -> dict[str, float]:
    """The rate of the fastest of five stretches, and processor time; read(count) reads batches."""

    def rate(count: int) -> float:
        start = time.perf_counter()
        read(count)
        return count / (time.perf_counter() - start)

    rate(20)
    count = max(int(rate(100) * seconds / 5), steps // 5, 1)
    start = time.process_time()
    found = {"examples_per_sec": batch_size * max(rate(count) for _ in range(5))}
    return {**found, "core_us": (time.process_time() - start) / (5 * count * batch_size) * 1e6}


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


def write_photos(number: int) -> None:
    """JPEG files of 500 × 375 in ten classes: windows of smooth noise of nine scales.

    A file takes some 50 kB, as photos of this size do.
    """
    random, side = np.random.RandomState(1), 2048
    noise = np.zeros([side, side, 3], np.float32)
    for octave in range(2, 11):
        for channel in range(3):
            cells = random.randn(2**octave, 2**octave) / 2 ** (octave / 2)
            cells = Image.fromarray(cells.astype(np.float32))
            noise[..., channel] += np.asarray(cells.resize([side, side], Image.BICUBIC))
    pixels = np.clip(128 + 90 * noise, 0, 255).astype(np.uint8)
    for count in range(number):
        folder = f"{PHOTOS}/{'train' if count % 100 > 9 else 'test'}/{count % 10}"
        os.makedirs(folder, exist_ok=True)
        row, column = random.randint(side - 375), random.randint(side - 500)
        window = Image.fromarray(pixels[row : row + 375, column : column + 500])
        window.save(f"{folder}/{count:05}.jpg", quality=95)


def main(case: str, number: int, seconds: float, name: str) -> dict[str, float]:
    if case == "write":
        write_small(number) if number else write_images(name)
        return {}
    if case == "write_photos":
        write_photos(number)
        return {}
    if case == "photos_keras":
        return photos_keras(number, seconds)
    if case in ("photos_guide", "photos_cached"):
        cached = case == "photos_cached"
        steps = 0 if cached else PHOTO_STEPS
        return measure(lambda: photos_guide(number, cached), seconds, PHOTO_BATCH, steps)
    if case in ("photos_streaming", "photos_memory"):
        streams = case == "photos_streaming"
        dataset = photos(number, memory_fraction=0.0 if streams else 1.0)
        steps = PHOTO_STEPS if streams else 0
        return measure(lambda: in_project(dataset), seconds, PHOTO_BATCH, steps)
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
    print(json.dumps(main(case, int(number), float(seconds), name)), flush=True)
    # The end of a session that reads files side by side, tuned, crashes now and then on 1.15.
    os._exit(0)
