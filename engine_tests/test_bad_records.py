"""Bad data end in one line that names the file and the place in it."""

import functools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.data.images import Images
from my_project.data.tfrecord import TFRecords, write_tfrecords
from my_project.engine.errors import DataError, ModelError, RunError
from my_project.engine.input import bad_records
from my_project.engine.input.elements import run_once
from my_project.engine.input.predict_files import PredictFiles
from my_project.engine.tools.predictions import write_predictions
from my_project.engine.tools.restored import Restored
from my_project.model import Model
from my_project.model.mlp import MLP
from my_project.train.trainer import SessionTrainer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def directory(tmp_path):
    """TFRecords: 40 images of 2 × 2 in 2 files to train on, and as many to test."""
    for split in ("train", "test"):
        pixels = np.zeros([2, 2, 1], np.uint8)
        examples = ({"image": pixels, "label": number % 10} for number in range(40))
        write_tfrecords(str(tmp_path / "records"), split, examples, shards=2)
    return str(tmp_path / "records")


def records(directory, **others):
    return TFRecords(directory, [2, 2, 1], **{"classes": 10, "batch_size": 8, **others})


def change(path, place):
    """Changes a byte of a file."""
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def record_bytes(path):
    return os.path.getsize(path) // 20


def truncate(path, place):
    os.truncate(path, place)


@pytest.fixture
def read(batches):
    """Reads training batches as the trainer does, beyond the first epoch."""

    def read(dataset):
        with bad_records.locate_bad_record(dataset):
            batches(dataset, training=True, count=12)

    return read


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
@pytest.mark.parametrize("spoil", [change, truncate])
def test_a_corrupt_record_is_named(read, directory, memory_fraction, spoil):
    path = f"{directory}/train-00001-of-00002.tfrecord"
    spoil(path, 7 * record_bytes(path) + 20)
    with pytest.raises(DataError) as error:
        read(records(directory, memory_fraction=memory_fraction))
    assert re.match(rf"{path}: record 8: (corrupted|truncated) record at", str(error.value))
    assert "\n" not in str(error.value)


def test_a_new_run_that_ends_so_leaves_nothing(fit, tmp_path, directory):
    path = f"{directory}/train-00000-of-00002.tfrecord"
    change(path, 20)
    with pytest.raises(DataError, match=r"train-00000-of-00002\.tfrecord: record 1: corrupted"):
        fit(tmp_path / "run", dataset=records(directory))
    assert not (tmp_path / "run").exists()


def test_damage_that_evaluation_meets_is_named_too(fit, tmp_path, directory):
    path = f"{directory}/test-00001-of-00002.tfrecord"
    change(path, 3 * record_bytes(path) + 20)
    with pytest.raises(DataError, match=r"test-00001-of-00002\.tfrecord: record 4: corrupted"):
        fit(tmp_path / "run", dataset=records(directory))


def test_damage_that_counting_meets_is_named_too(fit, tmp_path, directory):
    change(f"{directory}/train-00000-of-00002.tfrecord", 20)
    with pytest.raises(DataError, match=r"train-00000-of-00002\.tfrecord: record 1: corrupted"):
        fit(tmp_path / "run", dataset=records(directory), last_epoch=1)


def test_the_command_says_it_in_one_line_with_exit_code_1(tmp_path, directory):
    path = f"{directory}/train-00000-of-00002.tfrecord"
    change(path, 2 * record_bytes(path) + 20)
    settings = ["data=tfrecord", f"data.directory={directory}", "data.shape=[2,2,1]"]
    settings += ["data.batch_size=8", f"run_dir={tmp_path}/run"]
    done = subprocess.run(
        [sys.executable, "-m", "my_project.train", *settings],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(f"error: {path}: record 3: corrupted record at")
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_a_label_out_of_range_is_named_with_the_range(read, directory, memory_fraction):
    message = r"train-00000-of-00002\.tfrecord: record 5: expected labels from 0 to 7, found 8"
    with pytest.raises(DataError, match=message):
        read(records(directory, memory_fraction=memory_fraction, classes=8))


def test_a_label_that_the_model_has_no_class_for_is_named(fit, tmp_path, directory):
    message = "a label that is not 0 to 4: the model has 5 classes, TFRecords has 10; set"
    with pytest.raises(ModelError, match=message):
        fit(tmp_path / "run", dataset=records(directory), model=MLP(hidden=4, classes=5))


def test_what_convert_accepts_is_no_bad_record(directory):
    class Ignores(TFRecords):
        def convert(self, examples):
            features, labels = super().convert(examples)
            return features, tf.where(labels > 7, tf.fill(tf.shape(labels), 255), labels)

    bad_records.find_bad_record(Ignores(directory, [2, 2, 1], 10), "train")


@pytest.mark.parametrize("size", [3, 16])
def test_a_record_whose_features_alone_are_bad_is_named(read, tmp_path, size):
    """Nothing but the features fails: what leads to the labels is right."""
    directory = str(tmp_path / "records")
    for split in ("train", "test"):
        sizes = [size if number == 6 else 4 for number in range(40)]
        examples = ({"image": b"x" * n, "label": number % 10} for number, n in enumerate(sizes))
        write_tfrecords(directory, split, examples, shards=1)
    with pytest.raises(DataError, match=rf"train-00000-of-00001\.tfrecord: record 7: .*{size}"):
        read(records(directory))


def test_the_split_that_is_read_is_looked_at_first(directory):
    for split in ("train", "test"):
        path = f"{directory}/{split}-00001-of-00002.tfrecord"
        change(path, 3 * record_bytes(path) + 20)
    for split in ("train", "test"):
        located = bad_records.locate_bad_record(records(directory), split)
        message = rf"{split}-00001-of-00002\.tfrecord: record 4"
        with pytest.raises(DataError, match=message), located:
            raise tf.errors.DataLossError(None, None, "bad\n\t [[IteratorGetNext]]")


def test_records_are_read_one_by_one_in_a_bad_batch_alone(directory, monkeypatch):
    class Pairs(TFRecords):
        def decode(self, example):
            return example, tf.constant(1)

        def convert(self, examples, ones):
            return super().convert(examples)

    runs, run = [], tf.Session.run
    monkeypatch.setattr(
        tf.Session, "run", lambda *arguments: runs.append(arguments) or run(*arguments)
    )
    bad_records.find_bad_record(Pairs(directory, [2, 2, 1], 10, batch_size=10), "train")
    assert len(runs) == 7  # two initializers, four batches, and the end
    runs.clear()
    path = f"{directory}/train-00001-of-00002.tfrecord"
    change(path, 15 * record_bytes(path) + 20)
    with pytest.raises(DataError, match=r"train-00001-of-00002\.tfrecord: record 16: corrupted"):
        bad_records.find_bad_record(Pairs(directory, [2, 2, 1], 10, batch_size=10), "train")
    assert len(runs) < 25


def test_a_record_that_is_held_out_for_validation_is_named_too(directory):
    def fail():
        with bad_records.locate_bad_record(records(directory, classes=8, validation_share=0.99)):
            raise tf.errors.InvalidArgumentError(None, None, "bad\n\t [[IteratorGetNext]]")

    with pytest.raises(DataError, match=r"record 5: expected labels from 0 to 7, found 8"):
        fail()


def test_valid_labels_pass_through_in_any_integer_type_and_shape():
    for type_ in (tf.uint8, tf.int32, tf.int64):
        labels = run_once(
            lambda type_=type_: bad_records.valid_labels(tf.constant([[0, 2]], type_), 3)
        )
        assert labels.tolist() == [[0, 2]]
    for wrong in (-1, 3):
        with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 2, found"):
            run_once(lambda wrong=wrong: bad_records.valid_labels(tf.constant([wrong]), 3))


class Lines(Dataset):
    """One file for each split: a length on each line, and an example of that many numbers."""

    def __init__(self, directory, lines="22", **others):
        super().__init__(**{"batch_size": 2, "memory_fraction": 0.0, **others})
        self.directory = str(directory)
        for split in self.splits:
            with open(self.files(split)[0], "w") as file:
                file.write("\n".join(lines if split == "train" else "22"))

    def files(self, split):
        return [f"{self.directory}/{split}.txt"]

    def read(self, path):
        return tf.data.TextLineDataset(path)

    def keep(self, lines):
        return tf.not_equal(lines, "-")

    def decode(self, line):
        return tf.zeros([tf.strings.to_number(line, tf.int32)])

    def convert(self, numbers):
        first = tf.ensure_shape(numbers[:, 0], [None])
        return first[:, tf.newaxis], tf.cast(first, tf.int32)


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_records_of_different_shape_are_named_if_no_padding_is_stated(
    read, tmp_path, memory_fraction
):
    message = r"train\.txt: record 3: found shapes .*3.*, expected .*2.*`padding`"
    with pytest.raises(DataError, match=message):
        read(Lines(tmp_path, "2-32", memory_fraction=memory_fraction))


def test_what_is_left_out_need_not_be_convertible(tmp_path):
    bad_records.find_bad_record(Lines(tmp_path, "2--2"), "train")
    with pytest.raises(DataError, match=r"record 4: .*could not correctly convert string: x"):
        bad_records.find_bad_record(Lines(tmp_path, "2--x"), "train")


def test_a_dataset_may_say_how_a_place_is_called(tmp_path):
    class Numbered(Lines):
        def describe_bad_record(self, path, number, problem):
            return f"{os.path.basename(path)}, line {number}: {problem}"

    with pytest.raises(DataError, match=r"^train\.txt, line 2: .*convert string: x$"):
        bad_records.find_bad_record(Numbered(tmp_path, "2x"), "train")


class Measured(Lines):
    """Its files are asked for their sizes, before they are read."""

    decode = Dataset.decode


@pytest.mark.parametrize("kind", [Lines, Measured])
def test_a_file_that_is_gone_is_named(read, tmp_path, kind):
    dataset = kind(tmp_path)
    os.remove(f"{tmp_path}/train.txt")
    message = r"train\.txt: No such file or directory; expected a readable file"
    with pytest.raises(DataError, match=message):
        read(dataset)


@pytest.mark.parametrize(
    ("ending", "spoil"),
    [
        (".png", lambda data: data[:-40]),
        (".png", lambda data: data[:60] + b"xyz" + data[63:]),
        (".jpg", lambda data: data[:200]),
        (".jpg", lambda data: b""),
        (".png", lambda data: b"<html>"),
    ],
)
def test_a_corrupt_image_is_named(tmp_path, ending, spoil):
    pixels = np.random.RandomState(1).randint(0, 256, [8, 8, 3]).astype(np.uint8)
    encode = tf.image.encode_png if ending == ".png" else tf.io.encode_jpeg
    folder = tmp_path / "train" / "cat"
    folder.mkdir(parents=True)
    data = run_once(lambda: encode(pixels))
    (folder / f"1{ending}").write_bytes(data)
    bad_records.find_bad_record(Images(str(tmp_path), 8, 8, 3, 1), "train")
    (folder / f"2{ending}").write_bytes(spoil(data))
    with pytest.raises(DataError) as error:
        bad_records.find_bad_record(Images(str(tmp_path), 8, 8, 3, 1), "train")
    assert str(error.value).startswith(f"{folder}/2{ending}: ")
    assert str(error.value).endswith("; put a complete image there, or move it elsewhere")


def test_an_error_of_the_model_passes_as_it_is(fit, tmp_path):
    class Fails(MLP):
        def loss(self, outputs, labels):
            # By the batch: an error without one, in the very first step, may hang on 1.15, where
            # the step waits for a batch whose pipeline the error has ended (1 of 30).
            bug = tf.debugging.Assert(tf.reduce_max(outputs) < -1e9, ["a bug"])
            with tf.control_dependencies([bug]):
                return super().loss(outputs, labels)

    with pytest.raises(tf.errors.InvalidArgumentError, match="a bug"):
        fit(tmp_path / "run", model=Fails(hidden=4))


def test_an_error_of_the_input_that_no_record_explains_passes_as_it_is(tmp_path):
    def fail():
        with bad_records.locate_bad_record(Lines(tmp_path)):
            raise tf.errors.UnknownError(None, None, "a bug\n\t [[IteratorGetNext]]")

    with pytest.raises(tf.errors.UnknownError, match="a bug"):
        fail()


def test_an_empty_evaluation_split_is_one_line(fit, tmp_path):
    dataset = Lines(tmp_path)
    open(f"{tmp_path}/test.txt", "w").close()
    with pytest.raises(DataError, match=r"test\.txt: the test split holds no records"):
        fit(tmp_path / "run", dataset=dataset)


class Floats(Dataset):
    """Files of four numbers a record: three features and a float label."""

    def __init__(self, directory, **others):
        super().__init__(**{"batch_size": 4, **others})
        self.directory = str(directory)
        for split in self.splits:
            for number in range(2):
                path = f"{directory}/{split}{number}.bin"
                if not os.path.exists(path):
                    np.random.RandomState(number).rand(10, 4).astype(np.float32).tofile(path)

    def files(self, split):
        return [f"{self.directory}/{split}{number}.bin" for number in range(2)]

    def read(self, path):
        return tf.data.FixedLengthRecordDataset(path, 16)

    def convert(self, records):
        numbers = tf.ensure_shape(tf.io.decode_raw(records, tf.float32), [None, 4])
        return numbers[:, :3], numbers[:, 3]

    def spoil(self, split, place, value):
        """Writes a value into the second file."""
        path = self.files(split)[1]
        numbers = np.fromfile(path, np.float32).reshape(10, 4)
        numbers[place] = value
        numbers.tofile(path)


class Line(Model):
    """A linear regression."""

    def build(self, input_shape):
        self.out = tf.keras.layers.Dense(1)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return self.out(inputs)[:, 0]

    def loss(self, outputs, labels):
        return tf.reduce_mean((outputs - labels) ** 2)


def test_a_full_disk_is_not_looked_for_in_the_data(directory, caplog):
    located = bad_records.locate_bad_record(records(directory))
    with pytest.raises(tf.errors.ResourceExhaustedError, match="No space left"), located:
        raise tf.errors.ResourceExhaustedError(None, None, "events; No space left on device")
    assert "reading them again" not in caplog.text


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
@pytest.mark.parametrize(("place", "what"), [((6, 1), "features"), ((6, 3), "labels")])
def test_numbers_that_are_not_finite_are_named_in_training_and_evaluation(
    fit, tmp_path, memory_fraction, place, what
):
    problem = f"record 7: {what} hold NaN or an infinity, expected finite numbers; fix or"
    for split, value, kind in (("test", np.nan, DataError), ("train", np.inf, RunError)):
        dataset = Floats(tmp_path, memory_fraction=memory_fraction)
        dataset.spoil(split, place, value)
        with pytest.raises(kind, match=rf"{split}1\.bin: {problem}"):
            fit(tmp_path / split, 10, Line(), dataset)


def test_an_evaluation_that_is_not_finite_names_its_examples(fit, tmp_path):
    class Logarithm(Line):
        def measure(self, outputs, labels):
            return {"log": tf.where(labels > 0.9, labels / 0, labels)}

    dataset = Floats(tmp_path)
    first = next(n for n in range(20) if dataset_labels(dataset)[n] > 0.9) // 4 * 4 + 1
    message = rf"log is inf on examples {first} to {first + 3} of the test split, though"
    with pytest.raises(RunError, match=message):
        fit(tmp_path / "run", 10, Logarithm(), dataset)


def dataset_labels(dataset):
    return np.concatenate([np.fromfile(path, np.float32)[3::4] for path in dataset.files("test")])


class Masked(Line):
    def call(self, inputs, training=False):
        return super().call(tf.where_v2(tf.is_nan(inputs), tf.zeros_like(inputs), inputs), training)


def test_missing_values_that_a_model_masks_are_neither_refused_nor_blamed(fit, tmp_path):
    dataset = Floats(tmp_path)
    for split in dataset.splits:
        dataset.spoil(split, (2, 0), np.nan)
    assert np.isfinite(fit(tmp_path / "masked", 5, Masked(), dataset)["loss"])
    with pytest.raises(RunError, match=r"is not finite after step \d+; nothing was written since"):
        fit(tmp_path / "diverged", 30, Masked(learning_rate=1e38, clip={}), dataset)


def test_predictions_name_the_record_and_write_json(fit, tmp_path):
    class Infinite(Line):
        def predict(self, outputs):
            return {"log": tf.where(outputs > -1e9, outputs / 0, outputs), "out": outputs}

    class Kept(Restored):
        """With the dataset and the model of the test."""

        def __init__(self, dataset, model, checkpoint):
            self.dataset, self.model, self.checkpoint = dataset, model, checkpoint
            self._trainer = SessionTrainer()

    dataset = Floats(tmp_path)
    fit(tmp_path / "run", 3, Infinite(), dataset)
    checkpoint = tf.train.latest_checkpoint(f"{tmp_path}/run/checkpoints")
    paths = dataset.files("test")
    write = functools.partial(write_predictions, path=str(tmp_path / "out.jsonl"))
    write(Kept(dataset, Infinite(), checkpoint), PredictFiles(Floats(tmp_path), paths))
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert len(rows) == 20
    assert all(row["log"] is None for row in rows)
    assert all(isinstance(row["out"], float) for row in rows)
    dataset.spoil("test", (2, 0), np.nan)
    with pytest.raises(DataError, match=r".*test1\.bin, record 3: found NaN or an"):
        write(Kept(dataset, Infinite(), checkpoint), PredictFiles(Floats(tmp_path), paths))
