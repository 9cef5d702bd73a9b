"""A look at data: the picture, the summary, and the line that says how records are read."""

import io
import logging
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from matplotlib.image import imread
from my_project.data import Dataset
from my_project.data.digits import Digits
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.input.elements import iterate
from my_project.engine.input.sizes import reading_mode, summary
from my_project.engine.tools.contact_sheet import contact_sheet
from my_project.show import show

PACKAGE = "my_project"


class Words(Dataset):
    """Sequences of 1 to 9 numbers, ten of each length; the label is the length."""

    padding = 0

    def records(self, split):
        lengths = np.repeat(np.arange(1, 10), 10)
        return tf.data.Dataset.from_tensor_slices(lengths).map(tf.range)

    def convert(self, record):
        return record, tf.reduce_max(record, axis=1) + 1


class Pairs(Dataset):
    """Ten examples of two features and two labels, without classes."""

    def records(self, split):
        return tf.data.Dataset.range(10)

    def convert(self, number):
        matrix = tf.ones([tf.shape(number)[0], 4, 5, 3])
        return {"weight": number, "picture": matrix}, (tf.cast(number, tf.float32) / 4, number)

    def augment(self, features, labels, keys):
        return {**features, "picture": features["picture"] / 2}, labels


@pytest.fixture
def drawn(digits_directory):
    """Settings for 640 drawn digits to train on and 130 to test."""
    numbers = ["data.train_examples=640", "data.test_examples=130"]
    return ["data=digits", f"data.directory={digits_directory}", *numbers]


def test_the_command_writes_a_picture_and_prints_the_summary_and_makes_no_run(
    drawn, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert show([*drawn, "split=test", "examples=7", "file=out/test.png"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    pixels = imread(str(tmp_path / "out" / "test.png"))
    assert min(pixels.shape[:2]) > 200
    assert pixels[..., :3].std() > 0.1
    printed = capsys.readouterr().out
    assert printed.startswith("test: out/test.png\nDigits, batches of 128\ntrain: 640 records\n")


def test_the_picture_replaces_no_data_and_no_file_of_another_kind(drawn, tmp_path, digits):
    (tmp_path / "train.csv").write_text("1,2")
    digits.prepare()
    for file, message in [
        (f"{tmp_path}/train.csv", "exists, and its name does not end in .png"),
        (digits.files("test")[1], "is one of the files that are read"),
    ]:
        with pytest.raises(ConfigError, match=f"file={file}: {message}"):
            show([*drawn, f"file={file}"])
    assert (tmp_path / "train.csv").read_text() == "1,2"


def test_a_picture_shows_each_example_with_its_label(digits):
    digits.prepare()
    figure = contact_sheet(digits, "test", 5)
    images, labels = next(iterate(lambda: digits.batches("test")))
    assert [axes.get_title() for axes in figure.axes] == [str(label) for label in labels[:5]]
    for axes, image in zip(figure.axes, images):
        np.testing.assert_array_equal(axes.images[0].get_array(), image[..., 0])


def test_training_examples_are_shown_augmented_and_others_as_they_are():
    dataset = Pairs(batch_size=4)
    for split, value in (("train", 0.5), ("test", 1.0)):
        first = contact_sheet(dataset, split, 8).axes[0]
        assert first.images[0].get_array().shape == (4, 5, 3)
        # The scale is that of all examples, from 0 to 9 at least as the weights are no picture.
        assert np.unique(first.images[0].get_array()) == [value]
    assert contact_sheet(dataset, "test", 99).axes[-1].get_title() == "2.25, 9"


def test_strings_are_shown_as_text():
    class Texts(Dataset):
        def records(self, split):
            return tf.data.Dataset.from_tensor_slices((["a good $ ü", "two$"], ["yes", "no"]))

        def convert(self, line, label):
            return line, label

    figure = contact_sheet(Texts(batch_size=2), "test", 2)
    assert [axes.get_title() for axes in figure.axes] == ["yes", "no"]
    assert figure.axes[0].texts[0].get_text().split() == ["a", "good", r"\$", "ü"]
    figure.savefig(io.BytesIO())


def test_sequences_come_with_a_histogram_of_the_lengths_of_all_records():
    figure = contact_sheet(Words(batch_size=4), "train", 3)
    assert len(figure.axes) == 4
    assert len(figure.axes[0].lines[0].get_ydata()) >= int(figure.axes[0].get_title())
    heights = [bar.get_height() for bar in figure.axes[-1].patches]
    assert sum(heights) == 90
    assert sorted(heights)[-9:] == [10] * 9


class Sparse(Words):
    """The same, as sparse features."""

    def convert(self, record):
        return tf.sparse.from_dense(record), tf.reduce_max(record, axis=1) + 1


def test_sparse_features_are_drawn_as_dense_ones():
    dense, sparse = (contact_sheet(data(batch_size=9), "test", 9) for data in (Words, Sparse))
    for one, other in zip(dense.axes, sparse.axes):
        assert one.get_title() == other.get_title()
        assert [len(line.get_ydata()) for line in one.lines] == [
            len(line.get_ydata()) for line in other.lines
        ]
    assert len(sparse.axes) == len(dense.axes)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("split=dev", "split=dev, .* expected one of train, test"),
        ("examples=0", "examples=0; expected .* 1 or more"),
        ("file_name=x", "file_name: there is no such setting; did you mean file"),
    ],
)
def test_an_error_is_one_line(drawn, setting, message):
    with pytest.raises(ConfigError, match=message):
        show([*drawn, setting])


def test_a_file_that_cannot_be_written_is_named(drawn, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/show\.png: cannot be written"):
        show([*drawn, "examples=1", f"file={tmp_path}/file/show.png"])


def test_help_has_examples():
    command = [sys.executable, "-m", f"{PACKAGE}.show", "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "split=test examples=25 file=test.png" in printed


def test_the_summary_tells_counts_classes_types_and_shapes(digits, capsys):
    digits.prepare()
    print(summary(digits))
    lines = capsys.readouterr().out.splitlines()
    counts = digits.class_counts("test")
    assert counts.sum() == 130
    assert lines[4] == "test: 130 records"
    assert f"class 3: {counts[3]}, class 4: {counts[4]}, " in lines[5]
    assert lines[6:] == ["features: float32 [?, 28, 28, 1]", "labels: int32 [?]"]


def test_classes_that_have_names_are_called_by_them(digits, capsys):
    digits.prepare()
    digits.class_names = [f"<{label}>" for label in range(10)]
    first = next(iterate(lambda: digits.batches("test")))[1][0]
    assert contact_sheet(digits, "test", 1).axes[0].get_title() == f"<{first}>"
    print(summary(digits))
    assert f"<3>: {digits.class_counts('test')[3]}, <4>: " in capsys.readouterr().out


def test_the_summary_of_sequences_says_how_much_is_padding(capsys):
    print(summary(Words(batch_size=90)))
    # 10 of each length from 1 to 9 are 450 numbers, in 90 places of length 9.
    assert "  44% of its batches is padding\n" in capsys.readouterr().out


def test_the_summary_of_nested_data_without_classes_names_each_part(capsys):
    print(summary(Pairs(batch_size=4)))
    printed = capsys.readouterr().out
    assert "test: 10 records\nfeatures: {" in printed
    assert "'picture': 'float32 [?, 4, 5, 3]'" in printed


def test_the_log_says_in_which_mode_records_are_read_and_why(digits, digits_directory, caplog):
    digits.prepare()
    with tf.Graph().as_default(), caplog.at_level(logging.INFO):
        digits.batches("train", training=True)
    size = f"{digits.bytes_in_memory('train') / 1e6:.1f} MB"
    assert caplog.messages[-1].startswith(f"train: 640 records, {size}, held in memory (data.")
    streamed = Digits(digits_directory, 640, 130, memory_fraction=0.0)
    streamed.prepare()
    start = "0.5 MB, streamed (data.memory_fraction: 0% of"
    assert reading_mode(streamed, "train").startswith(start)
    assert "not known" in reading_mode(Words(), "train")
