"""The order of training batches, and what evaluation sees."""

import json
from typing import ClassVar

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.data.digits import Digits
from my_project.data.tfrecord import TFRecords, write_tfrecords
from my_project.engine.errors import ConfigError, DataError
from my_project.engine.input.bad_records import locate_bad_record
from my_project.engine.run.metrics import read_metrics


class Numbers(Dataset):
    """The numbers 0 to 9 as features, and their squares as labels; a record is a dict."""

    def records(self, split):
        numbers = np.arange(10, dtype=np.int64)
        return tf.data.Dataset.from_tensor_slices({"x": numbers, "y": numbers**2})

    def convert(self, record):
        return {"number": record["x"]}, (record["y"],)


class Odd(Numbers):
    def keep(self, record):
        return tf.equal(record["x"] % 2, 1)


def batches(dataset, split="train", count=None, **arguments):
    """The first `count` batches, or all."""
    with tf.Graph().as_default(), tf.Session() as session:
        iterator = tf.data.make_initializable_iterator(dataset.batches(split, **arguments))
        following = iterator.get_next()
        session.run(iterator.initializer)
        found = []
        try:
            while count is None or len(found) < count:
                found.append(session.run(following))
        except tf.errors.OutOfRangeError:
            pass
        return found


def numbers_of(found):
    return [features["number"].tolist() for features, _ in found]


def flat(found):
    return [number for batch in numbers_of(found) for number in batch]


def test_evaluation_sees_every_example_once_in_order_with_the_short_last_batch():
    found = batches(Numbers(batch_size=4), "test")
    assert numbers_of(found) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert found[1][1][0].tolist() == [16, 25, 36, 49]


def test_an_epoch_of_training_is_a_permutation_and_the_next_epoch_is_another():
    found = numbers_of(batches(Numbers(batch_size=5), training=True, count=4))
    first, second = found[0] + found[1], found[2] + found[3]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != sorted(first)


def test_full_batches_only_and_other_records_left_out_in_each_epoch():
    found = numbers_of(batches(Numbers(batch_size=4), training=True, count=20))
    assert all(len(batch) == 4 for batch in found)
    left_out = [set(range(10)) - set(a + b) for a, b in zip(found[::2], found[1::2])]
    assert len({tuple(sorted(numbers)) for numbers in left_out}) > 1


@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_the_order_resumes_at_any_step_as_if_it_had_never_stopped(start):
    straight = numbers_of(batches(Numbers(batch_size=4), training=True, count=10))
    continued = batches(Numbers(batch_size=4), training=True, count=10 - start, start_step=start)
    assert numbers_of(continued) == straight[start:]


def test_the_order_depends_on_the_seed_only():
    one, same, other = (
        numbers_of(batches(Numbers(batch_size=5, seed=seed), training=True, count=6))
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_keep_leaves_records_out_of_training_and_evaluation_and_of_the_count():
    dataset = Odd(batch_size=2)
    assert dataset.count("train") == 5
    assert flat(batches(dataset, "test")) == [1, 3, 5, 7, 9]
    trained = flat(batches(dataset, training=True, count=6))
    assert set(trained) == {1, 3, 5, 7, 9}


class Parts(Digits):
    """The obvious validation split: the last records of the training files."""

    splits = ("train", "validation", "test")
    evaluation_split = "validation"
    stems: ClassVar = {**Digits.stems, "validation": "train"}

    def records(self, split):
        records = super().records(split)
        if split == "test":
            return records
        return records.take(500) if split == "train" else records.skip(500)


def test_a_part_of_a_split_needs_no_count_of_its_own(digits_directory, fit, tmp_path):
    sizes = {"train_examples": 640, "test_examples": 130, "batch_size": 50}
    dataset, whole = Parts(digits_directory, **sizes), Digits(digits_directory, **sizes)
    dataset.prepare()
    assert [dataset.count(split) for split in dataset.splits] == [500, 140, 130]
    assert dataset.class_counts("train").sum() == 500
    assert whole.count("train") == 640
    found = np.concatenate([images for images, _ in batches(dataset, training=True, count=10)])
    wanted = np.concatenate([images for images, _ in batches(whole)])[:500]
    assert sorted(map(bytes, found)) == sorted(map(bytes, wanted))
    assert fit(tmp_path / "run", 5, dataset=dataset)["loss"] > 0
    assert [line["split"] for line in read_metrics(f"{tmp_path}/run/metrics.jsonl")][-1:] == [
        "validation"
    ]


class Twice(Digits):
    """Each record twice; counts what its base says."""

    def records(self, split):
        return super().records(split).repeat(2)

    def count(self, split):
        return 2 * super().count(split)


def test_a_count_that_adds_to_that_of_its_base_gets_what_the_base_says(digits_directory):
    dataset = Twice(digits_directory, train_examples=640, test_examples=130, batch_size=64)
    dataset.prepare()
    assert (dataset.count("train"), dataset.count("test")) == (1280, 260)


@pytest.mark.parametrize(("said", "there"), [(8, 10), (12, 10), (2048, 1500), (1500, 2048)])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_count_that_is_wrong_is_an_error_not_zeros(said, there, ragged):
    class Wrong(Numbers):
        padding = {"x": 0, "y": 0} if ragged else None

        def records(self, split):
            return tf.data.Dataset.range(there).map(lambda n: {"x": n, "y": n})

        def count(self, split):
            return said

        def bytes_in_memory(self, split):
            return 1000

    dataset = Wrong(batch_size=4)
    assert dataset.in_memory("train")
    message = f"Wrong.count says .* train split holds {said} records, but {there} were read"
    with pytest.raises(DataError, match=message), locate_bad_record(dataset):
        batches(dataset, training=True, count=1)


def test_evaluation_while_training_takes_the_share_for_validation(fit, digits_directory, tmp_path):
    sizes = {"train_examples": 640, "test_examples": 130, "batch_size": 50}
    for fraction in (0.25, 0.0):
        run = f"{tmp_path}/{fraction}"
        dataset = Digits(digits_directory, validation_share=0.2, memory_fraction=fraction, **sizes)
        fit(run, 10, dataset=dataset)
        dataset = Digits(digits_directory, validation_share=0.2, memory_fraction=fraction, **sizes)
        found = fit(run, 20, dataset=dataset, evaluate_every_n_steps=10)
        assert {line["split"] for line in read_metrics(f"{run}/metrics.jsonl")} == {
            "train",
            "validation",
        }
        with open(f"{run}/best/best.json") as file:
            best = json.load(file)
        assert best["metrics"]["loss"] <= found["loss"]
        assert 90 < dataset.count("validation") < 170
        assert dataset.count("validation") + dataset.count("train") == 640


def test_a_share_of_data_with_validation_files_is_refused(digits_directory):
    with pytest.raises(ConfigError, match="Parts has a validation split of its own; set it to 0"):
        Parts(digits_directory, validation_share=0.1)


def test_a_batch_larger_than_the_data_is_refused_with_both_numbers():
    with pytest.raises(DataError, match="batch_size is 11, but the train split holds only 10"):
        Numbers(batch_size=11).batches("train", training=True)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 0}, "data: found batch_size=0; expected 1 or more"),
        ({"batch_size": np.int64(0)}, "data: found batch_size=0; expected 1 or more"),
        ({"seed": -1}, r"data: found seed=-1; expected 0 to 2\*\*31 - 1"),
        ({"seed": 2**31}, "data: found seed=2147483648; expected 0 to"),
        ({"batch_size": "many"}, "data: found batch_size='many'; expected integers, 1 or more"),
        ({"batch_size": 12.5}, r"data: found batch_size=12\.5; expected integers, 1 or more"),
        ({"shuffle_mb": None}, "data: found shuffle_mb=None; expected integers, 0 or more"),
        ({"seed": "one"}, "data: found seed='one'; expected 0 to"),
        ({"buckets": ["a"]}, r"data: found buckets=\['a'\]; expected integers, 0 or more"),
        ({"memory_fraction": "25%"}, "data: found memory_fraction='25%'; expected a number from"),
        ({"memory_fraction": 1.5}, "data: found memory_fraction=1.5; expected .* from 0 to 1"),
        ({"validation_share": 2}, "data: found validation_share=2; expected .* from 0 to 1"),
        ({"balance": -0.1}, r"data: found balance=-0\.1; expected .* from 0 to 1"),
        ({"buckets": [5]}, r"data: found buckets=\[5\]; expected ascending lengths, and `padding`"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        Numbers(**setting)


@pytest.mark.parametrize(
    ("method", "returned", "found"),
    [
        ("convert", lambda _, record: record["x"], r"\w*Tensor"),
        ("convert", lambda _, record: (record["x"], None), r"\w*Tensor, NoneType"),
        ("convert", lambda _, record: record, "dict"),
        ("augment", lambda _, features, labels, keys: features, "dict"),
    ],
)
def test_what_is_not_features_and_labels_is_refused(method, returned, found):
    wrong = type("Wrong", (Numbers,), {method: returned})(batch_size=2)
    message = rf"Wrong\.{method}: found \({found}\), expected \(features, labels\)"
    with tf.Graph().as_default(), pytest.raises(DataError, match=message):
        wrong.batches("train", training=True)


def test_a_tensor_that_was_made_before_the_graph_is_refused_with_what_to_do():
    class Early(Numbers):
        def __init__(self, **others):
            super().__init__(**others)
            self.two = tf.constant(2, tf.int64)

        def convert(self, record):
            return record["x"] * self.two, ()

    class EarlyKeep(Early):
        def keep(self, record):
            return record["x"] > self.two

    with pytest.raises(DataError, match=r"EarlyKeep\.keep: .*; make tensors"):
        EarlyKeep().count("train")
    early = Early(batch_size=2)
    for training in (False, True):
        with tf.Graph().as_default(), pytest.raises(DataError, match=r"Early: .*; make tensors"):
            early.batches("train", training)


def test_data_without_labels_have_an_empty_tuple_of_them():
    unlabeled = type("Unlabeled", (Numbers,), {"convert": lambda _, record: (record["x"], ())})
    features, labels = batches(unlabeled(batch_size=10))[0]
    assert (features.tolist(), labels) == (list(range(10)), ())


@pytest.mark.parametrize("wrong", [0, (0, 0.5), (0, "a"), (0, 0, 0)])
def test_padding_that_does_not_fit_the_records_is_refused(wrong):
    class Padded(Dataset):
        padding = wrong

        def records(self, split):
            return tf.data.Dataset.from_tensor_slices(([1, 2], [3, 4]))

    message = r"Padded: found padding=.*, expected that of a record of \('int32', 'int32'\)"
    with tf.Graph().as_default(), pytest.raises(DataError, match=message):
        Padded().batches("train")


def test_a_method_that_must_be_implemented_says_so():
    with pytest.raises(NotImplementedError, match="records must be implemented"):
        Dataset().read("file")


def test_mnist_features_and_labels_have_their_stated_shapes_types_and_range(digits):
    digits.prepare()
    features, labels = batches(digits, "test", count=1)[0]
    assert features.shape == (64, 28, 28, 1)
    assert features.dtype == np.float32
    assert 0 <= features.min() < 0.2 < 0.8 < features.max() <= 1
    assert labels.shape == (64,)
    assert labels.dtype == np.int32
    assert set(labels) <= set(range(10))


def test_a_label_that_is_not_a_class_is_refused(digits):
    digits.classes = 9
    with pytest.raises(DataError, match="found 9, expected labels from 0 to 8"):
        digits.prepare()


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_the_model_knows_the_size_of_a_training_batch(digits_directory, tmp_path, memory_fraction):
    images = np.zeros([10, 4, 3, 1], np.uint8)
    for split in ("train", "test"):
        examples = ({"image": image, "label": 0} for image in images)
        write_tfrecords(str(tmp_path), split, examples)
    settings = {"batch_size": 5, "memory_fraction": memory_fraction}
    digits = Digits(digits_directory, train_examples=640, test_examples=130, **settings)
    digits.prepare()
    records = TFRecords(str(tmp_path), [4, 3, 1], classes=1, **settings)
    for dataset in (digits, records):
        for training, size in ((True, 5), (False, None)):
            with tf.Graph().as_default():
                shapes = tf.data.get_output_shapes(dataset.batches("train", training))
            assert [shape.as_list()[0] for shape in shapes] == [size, size]
