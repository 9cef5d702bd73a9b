"""The predict command: files in, predictions out, batch by batch."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import Dataset
from my_project.data.arrays import Arrays
from my_project.data.digits import Digits
from my_project.data.images import Images
from my_project.data.tfrecord import write_tfrecords
from my_project.engine.errors import ConfigError, DataError
from my_project.engine.input.elements import iterate, run_once
from my_project.engine.input.predict_files import PredictFiles
from my_project.engine.run.files import check_target
from my_project.engine.run.metrics import last_metrics
from my_project.engine.tools.predictions import Lines, write_predictions
from my_project.evaluate import evaluate
from my_project.predict import predict
from my_project.train.__main__ import train


def write_image(path, pixels, encode=tf.image.encode_jpeg):
    path.write_bytes(run_once(lambda: encode(pixels)))


@pytest.fixture
def pictures(digits, tmp_path):
    """The 130 digits of the test split as PNG files, and their labels."""
    digits.prepare()
    batches = list(iterate(lambda: digits.batches("test")))
    pixels = np.concatenate([features for features, _ in batches]) * 255
    folder = tmp_path / "pictures"
    folder.mkdir()
    images = pixels.round().astype("u1")
    encoded = run_once(lambda: [tf.image.encode_png(image) for image in images])
    for number, contents in enumerate(encoded):
        (folder / f"{number:03}.png").write_bytes(contents)
    return folder, pixels, np.concatenate([labels for _, labels in batches])


def test_images_are_predicted_as_accurately_as_the_split_that_they_were_made_of(
    trained, pictures, capsysbinary
):
    folder, _, labels = pictures
    assert predict([f"run_dir={trained()}", str(folder)]) == 0
    rows = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [os.path.basename(row["file"]) for row in rows] == sorted(os.listdir(str(folder)))
    accuracy = np.mean([row["class"] == label for row, label in zip(rows, labels)])
    logged = last_metrics(f"{trained()}/metrics.jsonl", "test")["accuracy"]
    assert accuracy == pytest.approx(logged)
    for row in rows:
        assert np.argmax(row["probabilities"]) == row["class"]
        assert sum(row["probabilities"]) == pytest.approx(1)


def test_a_large_color_photo_becomes_what_the_model_was_trained_on(
    trained, pictures, tmp_path, capsysbinary
):
    folder, pixels, _ = pictures
    large = np.kron(pixels[3], np.ones((10, 10, 3))).astype("u1")
    write_image(tmp_path / "photo.JPG", large)
    assert predict([f"run_dir={trained()}", f"{folder}/003.png", f"{tmp_path}/photo.JPG"]) == 0
    small, photo = map(json.loads, capsysbinary.readouterr().out.splitlines())
    assert small["class"] == photo["class"]
    np.testing.assert_allclose(small["probabilities"], photo["probabilities"], atol=0.03)


def test_a_file_that_is_not_an_image_is_named_and_the_others_are_done(trained, pictures, capsys):
    folder, _, _ = pictures
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:80])
    (folder / "notes.txt").write_text("not asked for")
    (folder / "text.png").write_text("no image")
    output = folder.parent / "out.jsonl"
    assert predict([f"run_dir={trained()}", str(folder), f"file={output}"]) == 1
    assert len(output.read_text().splitlines()) == 129
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: {folder}/{name}.png: is corrupt, or not an image" for name in ("001", "text")
    ]


def test_csv_holds_the_same_numbers_as_json_lines(trained, pictures, tmp_path):
    for ending in ("csv", "jsonl"):
        file = tmp_path / f"out.{ending}"
        assert predict([f"run_dir={trained()}", str(pictures[0]), f"file={file}"]) == 0
    with open(str(tmp_path / "out.csv"), newline="") as file:
        table = list(csv.DictReader(file))
    with open(str(tmp_path / "out.jsonl")) as file:
        rows = [json.loads(line) for line in file]
    assert list(table[0]) == ["file", "class", *(f"probabilities.{n}" for n in range(10))]
    assert len(table) == len(rows) == 130
    for cells, row in zip(table, rows):
        assert (cells["file"], int(cells["class"])) == (row["file"], row["class"])
        assert float(cells["probabilities.7"]) == row["probabilities"][7]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pictures/007.png", "is one of the files that are read"),
        ("link.csv", "is one of the files that are read"),
        ("notes.txt", r"exists, and its name does not end in .csv or .json or .jsonl"),
        ("pictures", r"exists, and its name does not end in .csv"),
    ],
)
def test_predictions_do_not_replace_what_they_were_made_of(
    trained, pictures, tmp_path, file, message
):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "link.csv").symlink_to(pictures[0] / "007.png")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=f"file={tmp_path}/{file}: {message}"):
        predict([f"run_dir={trained()}", str(pictures[0]), f"file={tmp_path}/{file}"])
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "notes.txt").read_text() == "notes"


def test_predictions_are_written_batch_by_batch_and_the_file_appears_only_when_complete(
    trained, pictures, tmp_path, monkeypatch
):
    written, encode = [], Lines.encode

    def encode_some(lines, rows):
        written.append(len(rows))
        assert not (tmp_path / "out.jsonl").exists()
        if len(written) == 5:
            raise KeyboardInterrupt
        return encode(lines, rows)

    monkeypatch.setattr(Lines, "encode", encode_some)
    arguments = [f"run_dir={trained()}", str(pictures[0]), f"file={tmp_path}/out.jsonl"]
    assert predict(arguments) == 0
    assert written == [64, 64, 2]
    (tmp_path / "out.jsonl").unlink()
    with pytest.raises(KeyboardInterrupt):
        predict(arguments)
    assert os.listdir(str(tmp_path)) == ["pictures"]


class Pairs(Dataset):
    """Lines such as "0.5,1.5,1": two numbers and a label."""

    def __init__(self, **others):
        super().__init__(**others)
        self.prepared = []

    def prepare(self):
        self.prepared = self.files("test")

    def files(self, split):
        raise AssertionError("the dataset's own files are not needed")

    def read(self, path):
        return tf.data.TextLineDataset(path)

    def keep(self, lines):
        return tf.not_equal(lines, "")

    def convert(self, lines):
        *numbers, labels = tf.io.decode_csv(lines, [[0.0], [0.0], [0]])
        return tf.stack(numbers, axis=1), labels


class LessMean(Pairs):
    """Less the mean of the first column of its training files."""

    def __init__(self, directory, **others):
        super().__init__(**others)
        self.directory = directory

    def files(self, split):
        if not os.path.isdir(self.directory):
            raise DataError(f"{self.directory}: no such directory")
        return [f"{self.directory}/{split}.txt"]

    def prepare(self):
        (path,) = self.files("train")
        with open(path) as file:
            self.mean = np.mean([float(line.split(",")[0]) for line in file])

    def convert(self, lines):
        features, labels = super().convert(lines)
        return features - self.mean, labels


def test_what_prepare_finds_in_the_training_data_is_not_found_in_other_files(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.txt").write_text("1,2,0\n3,4,1\n")
    (tmp_path / "new.txt").write_text("9,9,0\n")
    new = [str(tmp_path / "new.txt")]
    inputs = PredictFiles(LessMean(str(tmp_path / "own"), batch_size=2), new)
    assert [features.tolist() for _, features in iterate(inputs.batches)] == [[[7, 7]]]
    with pytest.raises(DataError, match=r"LessMean\.prepare finds mean in the training data, .*no"):
        PredictFiles(LessMean(str(tmp_path / "gone"), batch_size=2), new)


def test_what_is_predicted_replaces_no_file_of_training(tmp_path):
    for name in ("train.txt", "test.txt", "new.txt"):
        (tmp_path / name).write_text("1,2,0\n")
    dataset = LessMean(str(tmp_path))
    PredictFiles(dataset, [str(tmp_path / "new.txt")])
    for name in ("train.txt", "test.txt"):
        with pytest.raises(ConfigError, match=f"{name}: is one of the files that are read"):
            check_target(str(tmp_path / name), dataset, ".txt")
    check_target(str(tmp_path / "new.txt"), dataset, ".txt")


def test_other_files_are_read_as_the_dataset_reads_its_own(tmp_path):
    (tmp_path / "a.txt").write_text("1,2,0\n\n3,4,1\n")
    (tmp_path / "b.txt").write_text("5,6,0\n")
    dataset = Pairs(batch_size=2)
    inputs = PredictFiles(dataset, [str(tmp_path)])
    assert dataset.prepared == [f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"]
    ids, features = zip(*iterate(inputs.batches))
    assert np.concatenate(features).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert [inputs.place(number) for number in np.concatenate(ids).tolist()] == [
        {"file": f"{tmp_path}/a.txt", "record": 1},
        {"file": f"{tmp_path}/a.txt", "record": 3},
        {"file": f"{tmp_path}/b.txt", "record": 1},
    ]


def test_records_are_predicted_and_a_corrupt_one_is_named_with_nothing_written(tmp_path):
    random = np.random.RandomState(1)
    records = [{"image": random.bytes(4), "label": n % 2} for n in range(20)]
    for split in ("train", "test"):
        write_tfrecords(f"{tmp_path}/data", split, records)
    data = ["data=tfrecord", f"data.directory={tmp_path}/data", "data.shape=[2,2,1]"]
    settings = [f"run_dir={tmp_path}/run", "data.batch_size=8", "trainer.last_step=2"]
    assert train([*data, *settings]) == 0
    (path,) = (tmp_path / "data").glob("test*")
    arguments = [f"run_dir={tmp_path}/run", str(path), f"file={tmp_path}/out.jsonl"]
    assert predict(arguments) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["record"] for row in rows] == list(range(1, 21))
    (tmp_path / "out.jsonl").unlink()
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 255
    path.write_bytes(contents)
    with pytest.raises(DataError, match=r"test-\S+: record 1[01]: "):
        predict(arguments)
    assert sorted(os.listdir(str(tmp_path))) == ["data", "run"]


def test_sparse_features_alone_are_predicted(tmp_path):
    class Bags(Pairs):
        def convert(self, lines):
            features, labels = super().convert(lines)
            return tf.sparse.from_dense(features), labels

    class Sums:
        name = "sums"
        session, graph = tf.Session, staticmethod(lambda: tf.Graph().as_default())
        class_names = ()

        def __init__(self, dataset):
            self.dataset, self.model = dataset, self

        def __call__(self, features, training):
            return tf.sparse.reduce_sum(features, 1)

        def predict(self, outputs):
            return {"sum": outputs}

    (tmp_path / "a.txt").write_text("1,2,0\n0,0,1\n5,6,0\n")
    dataset = Bags(batch_size=2)
    inputs = PredictFiles(dataset, [f"{tmp_path}/a.txt"])
    assert write_predictions(Sums(dataset), inputs, f"{tmp_path}/out.jsonl") == []
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["record"], row["sum"]) for row in rows] == [(1, 3), (2, 0), (3, 11)]


def test_a_dataset_may_say_how_it_reads_a_file(tmp_path):
    (tmp_path / "a.png").write_text("7")
    dataset = Pairs()
    dataset.from_file = lambda path: tf.strings.to_number(tf.io.read_file(path))
    inputs = PredictFiles(dataset, [f"{tmp_path}/a.png"])
    ((ids, features),) = iterate(inputs.batches)
    assert features.tolist() == [7]
    assert inputs.place(int(ids[0])) == {"file": f"{tmp_path}/a.png"}


class Normal(Digits):
    """Digits with a mean of 0 and a deviation of 1: a convert of one's own."""

    def convert(self, images, labels):
        features, labels = super().convert(images, labels)
        return (features - 0.13) / 0.31, labels


def test_a_picture_becomes_the_features_that_evaluation_sees(pictures, digits_directory):
    folder, _, _ = pictures
    for kind in (Digits, Normal):
        dataset = kind(digits_directory, train_examples=640, test_examples=130, batch_size=64)
        evaluated = np.concatenate([x for x, _ in iterate(lambda d=dataset: d.batches("test"))])
        gone = kind("gone", train_examples=640, test_examples=130, batch_size=64)
        gone.image_shape = (28, 28)  # as record.json has it
        inputs = PredictFiles(gone, [str(folder)])
        predicted = np.concatenate([features for _, features in iterate(inputs.batches)])
        np.testing.assert_array_equal(predicted, evaluated)


class Centered(Images):
    """Images with a convert of one's own."""

    def convert(self, images, labels):
        features, labels = super().convert(images, labels)
        return features - [0.4, 0.5, 0.6], labels


def test_images_are_predicted_without_those_of_training_and_with_names(tmp_path, capsysbinary):
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for shade in range(4):
                pixels = np.full([8, 8, 3], 200 * number + 10 * shade, np.uint8)
                write_image(tmp_path / "photos" / split / name / f"{shade}.png", pixels)
    data = [str(tmp_path / "photos"), 8, 8, 3, 2]
    own = Centered(*data, batch_size=3)
    evaluated = np.concatenate([x for x, _ in iterate(lambda: own.batches("test"))])
    paths = own.files("test")
    found = iterate(PredictFiles(Centered("gone", *data[1:]), paths).batches)
    np.testing.assert_array_equal(np.concatenate([x for _, x in found]), evaluated)

    settings = ["data=images", f"data.directory={data[0]}", "data.classes=2", "data.height=8"]
    settings += ["data.width=8", "data.batch_size=4", "trainer.last_step=4"]
    assert train([*settings, f"run_dir={tmp_path}/run"]) == 0
    assert evaluate([f"run_dir={tmp_path}/run"]) == 0
    with open(str(tmp_path / "run" / "evaluation" / "test-4.json")) as file:
        assert json.load(file)["class_names"] == ["cat", "dog"]
    shutil.move(str(tmp_path / "photos" / "test"), str(tmp_path / "new"))
    shutil.rmtree(data[0])
    capsysbinary.readouterr()
    assert predict([f"run_dir={tmp_path}/run", str(tmp_path / "new")]) == 0
    rows = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert len(rows) == 8
    assert all(row["class_name"] == ("cat", "dog")[row["class"]] for row in rows)


def test_a_dataset_without_a_way_from_a_file_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    dataset = Arrays("{split}_x.npy", "{split}_y.npy", 10)
    with pytest.raises(DataError, match=r"a\.png: Arrays makes .*; write Arrays\.from_file\(path"):
        PredictFiles(dataset, [f"{tmp_path}/a.png"])
    with pytest.raises(DataError, match=r"no file to predict; name files or directories"):
        PredictFiles(dataset, [])


def test_what_cannot_be_read_is_said_before_anything_is_written(trained, tmp_path):
    with pytest.raises(DataError, match=r"no/where: there is no such file"):
        predict([f"run_dir={trained()}", "no/where", f"file={tmp_path}/out.csv"])
    with pytest.raises(DataError, match="found no file"):
        predict([f"run_dir={trained()}"])
    assert os.listdir(str(tmp_path)) == []


def test_csv_refuses_predictions_of_different_length():
    lines = Lines(as_csv=True)
    assert lines.encode([{"file": "é", "outputs": [1.0, 2.0]}]).decode().splitlines() == [
        "file,outputs.0,outputs.1",
        "é,1.0,2.0",
    ]
    with pytest.raises(DataError, match="jsonl"):
        lines.encode([{"file": "b", "outputs": [1.0]}])
