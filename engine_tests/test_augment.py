"""Random changes of images: what they do, and that they belong to the example."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data import augment
from my_project.data.augment import AugmentedMNIST
from my_project.engine.errors import ConfigError
from my_project.engine.input.random_numbers import example_keys, uniform
from my_project.engine.settings.config import instantiate, load_config

COUNT = 400
# A gradient in both directions and two channels, so that each pixel tells where it was.
IMAGES = np.zeros([COUNT, 8, 6, 2], np.float32)
IMAGES += np.arange(1, 97, dtype=np.float32).reshape(8, 6, 2)

CHANGES = {
    "shift": lambda images, keys: augment.warp(images, keys, shift=2),
    "crop": lambda images, keys: augment.warp(images, keys, crop=0.5),
    "flip": lambda images, keys: augment.warp(images, keys, flip=True),
    "shift and flip": lambda images, keys: augment.warp(images, keys, shift=2, flip=True),
    "all": lambda images, keys: augment.warp(images, keys, shift=2, crop=0.5, flip=True),
    "noise": lambda images, keys: augment.noise(images, keys, 0.1),
}


def changed(change, ids, images=None, epoch=0):
    """The images after a change; ids: of the examples, in the order of the batch."""
    with tf.Graph().as_default(), tf.Session() as session:
        change = CHANGES.get(change, change)
        keys = example_keys(7, tf.constant(epoch, tf.int64), tf.constant(list(ids), tf.int64))
        images = IMAGES[: len(ids)] if images is None else images
        return session.run(change(tf.constant(images), keys))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_belongs_to_the_example_and_the_epoch_not_to_the_batch(change):
    ids = list(range(20))
    straight = changed(change, ids)
    assert straight.shape == (20, 8, 6, 2)
    assert straight.dtype == np.float32
    assert np.array_equal(changed(change, ids[::-1])[::-1], straight)
    assert np.array_equal(changed(change, ids[7:9]), straight[7:9])
    assert not np.array_equal(changed(change, ids, epoch=1), straight)


def test_a_shift_moves_by_whole_pixels_in_all_directions_and_fills_with_zeros():
    moved = changed("shift", range(COUNT))
    found = {}
    for image in moved:
        padded = np.pad(IMAGES[0], [(2, 2), (2, 2), (0, 0)], "constant")
        (place,) = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if np.array_equal(image, padded[row : row + 8, column : column + 6])
        ]
        found[place] = found.get(place, 0) + 1
    assert len(found) == 25
    assert max(found.values()) < 3 * COUNT / 25


def test_a_crop_keeps_at_least_its_share_and_enlarges_it():
    parts = changed("crop", range(COUNT))[..., 0]
    # The gradient of the rows says how much of the height is left.
    heights = (parts[:, -1, 0] - parts[:, 0, 0]) / (IMAGES[0, -1, 0, 0] - IMAGES[0, 0, 0, 0])
    assert 0.5 <= heights.min() < 0.52
    assert 0.98 < heights.max() <= 1.0001
    assert parts.min() >= 1
    assert parts.max() <= 96
    assert len({round(float(part[0, 0] - part.mean()), 3) for part in parts}) > 100


@pytest.mark.parametrize(("crop", "flip"), [(0.999, False), (0.99999, True)])
def test_no_edge_turns_black_where_the_image_is_not_shifted(crop, flip):
    images = np.ones([20000, 8, 6, 1], np.float32)
    found = changed(lambda *each: augment.warp(*each, crop=crop, flip=flip), range(20000), images)
    np.testing.assert_allclose(found, images, atol=1e-5)


def test_every_other_image_is_mirrored():
    flipped = changed("flip", range(COUNT))
    mirrored = [np.array_equal(image, IMAGES[0, :, ::-1]) for image in flipped]
    assert 0.4 < np.mean(mirrored) < 0.6
    assert np.array_equal(flipped[mirrored.index(False)], IMAGES[0])


def test_together_they_do_what_they_do_one_after_the_other():
    images = np.pad(IMAGES[:, 2:-2, 2:-2], [(0, 0), (2, 2), (2, 2), (0, 0)], "constant")
    shifted = changed("shift", range(COUNT), images)
    np.testing.assert_array_equal(
        changed("shift and flip", range(COUNT), images), changed("flip", range(COUNT), shifted)
    )
    straight = changed("flip", range(COUNT), changed("crop", range(COUNT), shifted))
    np.testing.assert_allclose(changed("all", range(COUNT), images), straight, atol=1e-3)


def test_noise_is_normal_with_the_deviation_that_was_asked_for():
    noise = (changed("noise", range(COUNT), np.zeros_like(IMAGES))).ravel()
    assert abs(noise.mean()) < 0.002
    assert abs(noise.std() - 0.1) < 0.002
    assert abs((noise**4).mean() / 0.1**4 - 3) < 0.15  # the kurtosis of a normal distribution
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.02


def test_changes_of_one_image_do_not_depend_on_each_other():
    flipped = changed("flip", range(COUNT))[:, 0, 0, 0] != IMAGES[0, 0, 0, 0]
    down = changed("shift", range(COUNT))[:, 0].sum((1, 2)) == 0
    assert 0.2 < down.mean() < 0.6
    assert abs(np.corrcoef(flipped, down)[0, 1]) < 0.2


@pytest.fixture
def augmented(digits):
    """augmented(**arguments): drawn digits that are changed while training."""
    digits.prepare()

    def augmented(**arguments):
        return AugmentedMNIST(digits.directory, **{"flip": True, "batch_size": 64, **arguments})

    return augmented


def test_an_example_is_changed_alike_in_both_modes_and_in_batches_of_any_size(augmented, batches):
    def first_epoch(**arguments):
        dataset = augmented(**arguments)
        found = batches(dataset, count=640 // dataset.batch_size, training=True)
        images = np.concatenate([features for features, _ in found])
        return sorted(image.tobytes() for image in images)

    expected = first_epoch()
    assert first_epoch(batch_size=32) == expected
    assert first_epoch(memory_fraction=0.0) == expected


@pytest.mark.parametrize("memory_fraction", [0.0, 0.25])
def test_a_restart_changes_the_examples_as_they_would_have_been(
    augmented, batches, same, memory_fraction
):
    dataset = augmented(memory_fraction=memory_fraction)
    straight = batches(dataset, count=12, training=True)
    stop = {"start_step" if memory_fraction else "saved_after": 9}
    assert same(straight[9:], batches(dataset, count=3, training=True, **stop))


def test_evaluation_sees_the_images_as_they_are(augmented, digits, batches, same):
    assert same(batches(augmented(), "test"), batches(digits, "test"))


def test_changes_that_are_off_change_nothing(augmented, digits, batches, same):
    plain = augmented(shift=0, crop=1.0, flip=False, noise=0.0)
    assert same(batches(plain, count=2, training=True), batches(digits, count=2, training=True))


@pytest.mark.parametrize("setting", [{"shift": -1}, {"crop": 0.0}, {"crop": 1.5}, {"noise": -1.0}])
def test_settings_without_a_meaning_are_refused(setting):
    with pytest.raises(ConfigError, match=r"expected pixels from 0, a share above 0"):
        AugmentedMNIST(**setting)


def test_its_settings_make_it():
    assert isinstance(instantiate(load_config(["data=augmented"]).data), AugmentedMNIST)


def test_streams_of_random_numbers_are_independent_and_the_first_256_stay_as_they_were():
    with tf.Graph().as_default(), tf.Session() as session:
        keys = example_keys(1, 2, tf.range(1000, dtype=tf.int64))
        streams = session.run([uniform(keys, stream=stream) for stream in (0, 1, 256, 257, 512)])
        first = session.run(uniform(example_keys(1, 2, tf.constant([3], tf.int64)), [2], 7))
    correlations = np.corrcoef(streams) - np.eye(5)
    assert np.abs(correlations).max() < 0.1
    assert first.tolist() == [[0.9352473020553589, 0.5452947616577148]]
