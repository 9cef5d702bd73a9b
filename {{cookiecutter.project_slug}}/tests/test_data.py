"""What every data set promises, checked with each one that conf/data/ names."""

import contextlib
import copy
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from {{ cookiecutter.project_slug }}.engine.errors import DataError
from {{ cookiecutter.project_slug }}.engine.settings import config

# The settings that a data set is tested with; one line for yours. One without a line is tested as
# it is, and skipped if its files are not there: nothing is downloaded.
SETTINGS = {
    "digits": ["data.train_examples=300", "data.test_examples=70", "data.directory={tmp}"],
    "sequences": ["data.directory={tmp}"],
}


def make(name, tmp=""):
    settings = [text.format(tmp=tmp) for text in SETTINGS.get(name, [])]
    return config.instantiate(config.load_config([f"data={name}", *settings]).data)


def is_there(name):
    dataset = make(name)
    with contextlib.suppress(DataError):
        paths = [path for split in dataset.splits for path in dataset.files(split)]
        return (paths or dataset.overrides("records")) and all(map(os.path.exists, paths))


NAMES = sorted(file[:-5] for file in os.listdir(os.path.join(config.CONF, "data")))
ABSENT = [name for name in NAMES if name not in SETTINGS and not is_there(name)]
SKIP = pytest.mark.skip(reason=f"no files of {', '.join(ABSENT)}; SETTINGS can name some")
PARAMS = [pytest.param(name, marks=[SKIP] * (name in ABSENT)) for name in NAMES]


@pytest.fixture(scope="module", params=PARAMS)
def dataset(request, tmp_path_factory):
    dataset = make(request.param, tmp_path_factory.mktemp(request.param))
    dataset.prepare()
    return dataset


def read(dataset, split, count=5, **arguments):
    """The first batches of (features, labels)."""
    with tf.Graph().as_default(), tf.Session() as session:
        iterator = tf.data.make_initializable_iterator(dataset.batches(split, **arguments))
        following = iterator.get_next()
        session.run(iterator.initializer)
        found = []
        with contextlib.suppress(tf.errors.OutOfRangeError):
            while len(found) < count:
                found.append(session.run(following))
        return found


def same(one, other):
    one, other = tf.nest.flatten(one), tf.nest.flatten(other)
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.fixture(scope="module")
def found(dataset):
    """(split, training) -> its first batches."""
    kinds = [(dataset.training_split, True), *((split, False) for split in dataset.splits)]
    return {kind: read(dataset, kind[0], training=kind[1]) for kind in kinds}


def test_types_and_shapes_are_the_same_in_all_splits(dataset, found):
    signatures = []
    for (split, training), batches in found.items():
        with tf.Graph().as_default():
            shapes = tf.nest.flatten(tf.data.get_output_shapes(dataset.batches(split, training)))
        for arrays in map(tf.nest.flatten, batches):
            assert all(shape.is_compatible_with(a.shape) for shape, a in zip(shapes, arrays))
            assert len({len(array) for array in arrays}) == 1
            signatures.append([(a.dtype, shape[1:].as_list()) for shape, a in zip(shapes, arrays)])
    assert all(found.values())
    assert all(signature == signatures[0] for signature in signatures)


def test_no_number_is_nan_or_infinite(found):
    arrays = [array for array in tf.nest.flatten(list(found.values())) if array.dtype.kind == "f"]
    assert all(np.isfinite(array).all() for array in arrays)


def test_labels_are_below_the_number_of_classes(dataset, found):
    if not hasattr(dataset, "classes"):
        pytest.skip("it has no classes")
    labels = [labels for batches in found.values() for _, labels in batches]
    for array in tf.nest.flatten(labels):
        assert 0 <= array.min() <= array.max() < dataset.classes


def test_the_order_is_the_same_each_time(dataset, found):
    for (split, training), batches in found.items():
        assert same(read(dataset, split, training=training), batches)


def test_training_is_shuffled_by_the_seed(dataset, found):
    split = dataset.training_split
    other = copy.copy(dataset)
    other.seed += 1
    for order in (found[split, False], read(other, split, training=True)):
        assert not same(order, found[split, True])


def test_a_restart_in_memory_gives_the_very_next_batch(dataset, found):
    split = dataset.training_split
    if not dataset.in_memory(split):
        pytest.skip("it is streamed")
    assert same(read(dataset, split, 3, training=True, start_step=2), found[split, True][2:])


def test_a_streamed_restart_gives_the_very_next_batch(dataset, tmp_path):
    streamed = copy.copy(dataset)
    streamed.memory_fraction = 0.0
    path = str(tmp_path / "position")
    with tf.Graph().as_default(), tf.Session() as session:
        batches = streamed.batches(streamed.training_split, training=True)
        iterator = tf.data.make_initializable_iterator(batches)
        following = iterator.get_next()
        saver = tf.train.Saver([tf.data.experimental.make_saveable_from_iterator(iterator)])
        session.run(iterator.initializer)
        session.run(following)
        try:
            saver.save(session, path, write_meta_graph=False)
        except tf.errors.OpError:
            pytest.skip("its position cannot be saved: a restart starts a new epoch")
        straight = [session.run(following) for _ in range(3)]
        session.run(iterator.initializer)
        saver.restore(session, path)
        assert same([session.run(following) for _ in range(3)], straight)
