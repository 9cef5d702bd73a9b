"""The generated digits: equal everywhere, hard enough to show learning."""

import hashlib
import os

import numpy as np
from my_project.engine.input.draw_digits import draw, write_digits
from my_project.engine.input.idx import check_pair


def read(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_seed_gives_the_same_bytes_on_every_machine():
    images, labels = draw(250, seed=1)
    assert (images.shape, images.dtype) == ((250, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((250,), np.uint8)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert digest[:16] == "e9b01cb51740d4b5"


def test_an_example_does_not_depend_on_how_many_are_drawn():
    images, labels = draw(230, seed=3)
    more_images, more_labels = draw(301, seed=3)
    np.testing.assert_array_equal(images, more_images[:230])
    np.testing.assert_array_equal(labels, more_labels[:230])


def test_other_seeds_streams_and_chunks_give_other_digits():
    images, _ = draw(200, seed=1)
    for others in (images[100:], draw(100, seed=2)[0], draw(100, seed=1, stream=1)[0]):
        assert not (images[:100] == others).all(axis=(1, 2)).any()


def test_all_ten_digits_are_about_equally_many():
    counts = np.bincount(draw(5000, seed=1)[1], minlength=10)
    assert len(counts) == 10
    assert 420 < counts.min() < counts.max() < 580


def test_digits_can_be_told_apart_but_not_by_their_averages_alone():
    images, labels = draw(4000, seed=1)
    test_images, test_labels = draw(300, seed=1, stream=1)
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])
    distances = ((test_images[:, np.newaxis] - means) ** 2).sum(axis=(2, 3))
    accuracy = np.mean(distances.argmin(axis=1) == test_labels)
    assert 0.6 < accuracy < 0.9


def test_four_files_in_the_format_of_mnist_are_written(tmp_path):
    write_digits(tmp_path / "digits", train_examples=120, test_examples=30, seed=1)
    assert len(os.listdir(tmp_path / "digits")) == 4
    for split, count, stream in (("train", 120, 0), ("t10k", 30, 1)):
        images_path = tmp_path / "digits" / f"{split}-images-idx3-ubyte"
        labels_path = tmp_path / "digits" / f"{split}-labels-idx1-ubyte"
        assert check_pair(images_path, labels_path)[0].shape == (count, 28, 28)
        images, labels = draw(count, seed=1, stream=stream)
        assert images_path.read_bytes()[16:] == images.tobytes()
        assert labels_path.read_bytes()[8:] == labels.tobytes()


def test_files_that_are_there_stay_and_missing_ones_are_drawn_again(tmp_path):
    write_digits(tmp_path, 120, 30, seed=1)
    before = read(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    os.utime(tmp_path / "t10k-images-idx3-ubyte", (1, 1))
    write_digits(tmp_path, 120, 30, seed=1)
    assert read(tmp_path) == before
    assert (tmp_path / "t10k-images-idx3-ubyte").stat().st_mtime == 1
