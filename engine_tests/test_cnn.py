"""The network of raw variables: tracked, trained and saved like one of Keras layers."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ModelError
from my_project.model.cnn import CNN

SHAPES = {
    "cnn/conv1/kernel": (3, 3, 1, 4),
    "cnn/conv1/bias": (4,),
    "cnn/conv2/kernel": (3, 3, 4, 8),
    "cnn/conv2/bias": (8,),
    "cnn/dense/kernel": (7 * 7 * 8, 32),
    "cnn/dense/bias": (32,),
    "cnn/logits/kernel": (32, 10),
    "cnn/logits/bias": (10,),
}


def test_it_learns_and_every_raw_variable_is_in_the_checkpoint(fit, tmp_path, variables):
    model = CNN(filters=(4, 8), hidden=32, learning_rate=0.005)
    assert fit(tmp_path / "run", last_step=100, model=model)["accuracy"] > 0.7
    saved = variables(tmp_path / "run")
    assert {name: saved[name].shape for name in SHAPES} == SHAPES
    assert set(SHAPES) == {name for name in saved if name.count("/") == 2 and "cnn/" in name}


def test_it_computes_what_numpy_computes():
    images = np.random.RandomState(0).rand(2, 5, 6, 3).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        model = CNN(filters=(4, 8), hidden=7, classes=2)
        logits = model(tf.constant(images), training=False)
        session.run(tf.global_variables_initializer())
        found, weights = session.run([logits, model.trainable_variables])
    hidden = images
    for kernel, bias in (weights[0:2], weights[2:4]):
        hidden = np.maximum(pooled(convolved(hidden, kernel)) + bias, 0)
    hidden = np.maximum(hidden.reshape(2, -1) @ weights[4] + weights[5], 0)
    np.testing.assert_allclose(found, hidden @ weights[6] + weights[7], rtol=1e-3, atol=1e-4)


def convolved(images, kernel):
    """3 × 3 with a margin of zeros."""
    rows, columns = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="constant")
    return sum(
        padded[:, row : row + rows, column : column + columns] @ kernel[row, column]
        for row in range(3)
        for column in range(3)
    )


def pooled(images):
    """The largest of each 2 × 2; at an odd end of fewer."""
    odd = [(0, 0), *((0, size % 2) for size in images.shape[1:3]), (0, 0)]
    padded = np.pad(images, odd, mode="constant", constant_values=-np.inf)
    batch, rows, columns, channels = padded.shape
    return padded.reshape(batch, rows // 2, 2, columns // 2, 2, channels).max(axis=(2, 4))


@pytest.mark.parametrize("features", [np.zeros([2, 784]), {"a": np.zeros([2, 8, 8, 1])}])
def test_features_that_are_not_images_are_an_error_with_their_shape(features):
    shape = r"cnn: found .*(784\)|{'a': '\(2, 8, 8, 1\)'}), expected images"
    with tf.Graph().as_default(), pytest.raises(ModelError, match=shape):
        CNN()(tf.nest.map_structure(tf.constant, features))
