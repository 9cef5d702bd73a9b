"""Residual blocks: what they add up, their decay, and that they learn."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ModelError
from my_project.model.cnn import CNN
from my_project.model.resnet import Residual, ResNet


def test_it_learns_and_evaluates_with_the_statistics_it_saved(fit, tmp_path, variables):
    model = ResNet(filters=(8, 16), learning_rate=0.005)
    assert fit(tmp_path / "run", last_step=100, model=model)["accuracy"] > 0.4
    saved = variables(tmp_path / "run")
    moved = [name for name in saved if name.endswith("moving_mean") and np.abs(saved[name]).max()]
    assert len(moved) == 5  # two in each block, and the last


def test_a_block_whose_last_convolution_is_zero_returns_its_input():
    images = np.random.RandomState(0).rand(2, 8, 8, 4).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        block = Residual(4, 1, weight_decay=0.0, norm=tf.keras.layers.BatchNormalization)
        outputs = block(tf.constant(images), training=True)
        session.run(tf.global_variables_initializer())
        assert np.abs(session.run(outputs) - images).max() > 0.1
        session.run(block.conv2.kernel.assign(tf.zeros_like(block.conv2.kernel)))
        np.testing.assert_array_equal(session.run(outputs), images)


def test_stages_halve_the_image_and_have_the_blocks_asked_for():
    with tf.Graph().as_default():
        model = ResNet(filters=(4, 8, 16), blocks=2)
        images, shapes = tf.zeros([1, 28, 28, 1]), []
        model(images)
        for layer in [model.first, *model.residuals]:
            images = layer(images)
            shapes.append(tuple(images.shape.as_list()[1:]))
    in_stages = [(14, 14, 4), (14, 14, 4), (7, 7, 8), (7, 7, 8), (4, 4, 16), (4, 4, 16)]
    assert shapes == [(14, 14, 4), *in_stages]


def test_half_the_squares_of_all_kernels_of_convolutions_are_added_to_the_loss():
    with tf.Graph().as_default(), tf.Session() as session:
        model = ResNet(filters=(4, 8), weight_decay=0.01)
        images, labels = tf.zeros([2, 28, 28, 1]), tf.zeros([2], tf.int32)
        outputs, loss = model.outputs_and_loss(images, labels, training=False)
        without = model.loss(outputs, labels)
        session.run(tf.global_variables_initializer())
        found, plain, weights = session.run([loss, without, model.trainable_variables])
    squares = sum(np.sum(weight**2) for weight in weights if weight.ndim == 4)
    assert found - plain == pytest.approx(0.005 * squares, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(CNN, [2, None, 8, 1]), (CNN, [2, 8, 8, None]), (ResNet, [2, None, None, None])],
)
def test_images_of_unknown_size_are_an_error_but_for_what_takes_any(kind, shape):
    with tf.Graph().as_default():
        with pytest.raises(ModelError, match=r"images of the shape .* channels that are known"):
            kind()(tf.placeholder(tf.float32, shape))
        ResNet(filters=(2,))(tf.placeholder(tf.float32, [2, None, None, 1]))
