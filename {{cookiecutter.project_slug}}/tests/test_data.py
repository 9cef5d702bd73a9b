"""What every data set promises, checked with each one that conf/data/ names."""

import collections
import contextlib
import copy
import os
import pickle
import warnings

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from {{ cookiecutter.project_slug }}.engine.errors import DataError
from {{ cookiecutter.project_slug }}.engine.input.elements import dense, iterate
from {{ cookiecutter.project_slug }}.engine.input.source import splits_of
from {{ cookiecutter.project_slug }}.engine.settings import config
from {{ cookiecutter.project_slug }}.engine.tools.contact_sheet import contact_sheet

# The settings that a data set is tested with; one line for yours. One without a line is tested as
# it is, and skipped if its files are not there: nothing is downloaded.
SETTINGS = {
    "digits": ["data.train_examples=300", "data.test_examples=70", "data.directory={tmp}"],
    "sequences": ["data.directory={tmp}"],
}


MOST = 50_000  # examples of a split that are compared and counted


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


def batches_of(dataset, split, **arguments):
    """Its batches of (features, labels), dense."""
    return dataset.batches(split, **arguments).map(dense)


def read(dataset, split, count=5, **arguments):
    """The first batches of (features, labels)."""
    with tf.Graph().as_default(), tf.Session() as session:
        iterator = tf.data.make_initializable_iterator(batches_of(dataset, split, **arguments))
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
            shapes = tf.data.get_output_shapes(batches_of(dataset, split, training=training))
            shapes = tf.nest.flatten(shapes)
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
    for labels in [labels for batches in found.values() for _, labels in batches]:
        if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
            pytest.skip("its labels are not classes alone")
        if dataset.padding is not None:
            labels = labels[labels != tf.nest.flatten(dataset.padding)[-1]]
        assert np.all((labels >= 0) & (labels < dataset.classes))


@pytest.fixture(scope="module")
def examples(dataset):
    """split -> [(hash of features and labels, labels), ...]"""
    examples = collections.defaultdict(list)
    if dataset.padding is not None:
        dataset = copy.copy(dataset)
        dataset.batch_size = 1  # for an example is padded as the others of its batch need it
    for split in splits_of(dataset):
        for batch in iterate(lambda split=split: batches_of(dataset, split, training=False)):
            arrays = tf.nest.flatten(batch)
            for number in range(len(arrays[0])):
                example = pickle.dumps([array[number] for array in arrays])
                label = batch[1][number] if isinstance(batch[1], np.ndarray) else None
                examples[split].append((hash(example), label))
            if len(examples[split]) >= MOST:
                break
    return examples


def test_other_splits_hold_no_training_examples_and_a_few_are_said(dataset, examples):
    training = {example for example, _ in examples[dataset.training_split]}
    for split in set(examples) - {dataset.training_split}:
        found = sum(example in training for example, _ in examples[split])
        said = f"{found} of {len(examples[split])} examples of {split} are in training, too"
        assert found <= 0.01 * len(examples[split]), said
        if found:
            warnings.warn(said, stacklevel=1)


def test_each_class_is_in_training_and_a_rare_one_is_said(dataset, examples):
    labels = {split: [label for _, label in found] for split, found in examples.items()}
    first = labels[dataset.training_split][0]
    if not hasattr(dataset, "classes") or not isinstance(first, np.integer):
        pytest.skip("its labels are not one class for each example")
    for split, found in labels.items():
        counts = np.bincount(found, minlength=dataset.classes)
        if split == dataset.training_split and len(found) < MOST:
            assert counts.all(), f"no training example of class {np.flatnonzero(counts == 0)}"
        if counts.max() > 10 * counts.min():
            said = f"{split}: from {counts.min()} to {counts.max()} examples of a class"
            warnings.warn(said, stacklevel=1)


def test_a_picture_of_it_can_be_drawn(dataset, tmp_path):
    contact_sheet(dataset, dataset.training_split, 9).savefig(str(tmp_path / "examples.png"))
    assert (tmp_path / "examples.png").stat().st_size > 2000


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
