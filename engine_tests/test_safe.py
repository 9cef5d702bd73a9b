"""Functions that are finite, with finite gradients, where the plain ones are not."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ModelError
from my_project.engine.graph.safe import safe_divide, safe_log, safe_norm

EDGES = [0.0, 1.0, 0.5, 1e-10, 1e-38, 1e38, np.inf, -np.inf]


def value_and_gradients(function, *arguments):
    """The value, and the gradients of its sum by each argument."""
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = [tf.constant(argument, tf.float32) for argument in arguments]
        value = function(*tensors)
        return session.run([value, tf.gradients(value, tensors)])


@pytest.mark.parametrize("x", EDGES)
def test_a_logarithm_is_finite_and_so_is_its_gradient(x):
    value, (gradient,) = value_and_gradients(safe_log, x)
    assert np.isfinite(value)
    assert np.isfinite(gradient)


def test_a_logarithm_is_exact_where_it_can_be():
    x = np.array([1e-17, 0.5, 1.0, 1e30])
    value, (gradient,) = value_and_gradients(safe_log, x)
    np.testing.assert_allclose(value, np.log(x), rtol=1e-5)
    np.testing.assert_allclose(gradient, 1 / x, rtol=1e-5)


@pytest.mark.parametrize("x", EDGES)
@pytest.mark.parametrize("y", EDGES)
def test_a_quotient_is_finite_and_so_are_its_gradients(x, y):
    value, gradients = value_and_gradients(safe_divide, x, y)
    assert np.isfinite(value)
    assert np.isfinite(gradients).all()


def test_a_quotient_is_exact_where_it_can_be_and_0_where_it_is_undefined():
    x, y = np.array([3.0, -3.0, 5.0, 0.0]), np.array([2.0, 1e-17, 0.0, 4.0])
    value, (by_x, by_y) = value_and_gradients(safe_divide, x, y)
    np.testing.assert_allclose(value, [1.5, -3e17, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(by_x, [0.5, 1e17, 0, 0.25], rtol=1e-5)
    np.testing.assert_allclose(by_y, [-0.75, 3e34, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("x", EDGES)
def test_a_norm_is_finite_and_so_is_its_gradient(x):
    for vector in ([x, 0.0], [x, 1.0], [x, x]):
        value, (gradient,) = value_and_gradients(safe_norm, vector)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_norm_is_exact_where_it_can_be_and_0_at_0():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [1e-17, 0.0]])
    value, (gradient,) = value_and_gradients(lambda x: safe_norm(x, axis=1), x)
    np.testing.assert_allclose(value, [5, 0, 1e-17], rtol=1e-5)
    np.testing.assert_allclose(gradient, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-5)


def test_a_norm_of_many_large_numbers_does_not_overflow():
    rows = np.stack([np.full(400, 1e18), np.full(400, 3.0), np.zeros(400)])
    value, (gradient,) = value_and_gradients(lambda x: safe_norm(x, axis=1), rows)
    np.testing.assert_allclose(value, [2e19, 60, 0], rtol=1e-5)
    np.testing.assert_allclose(gradient[:, 0], [0.05, 0.05, 0], rtol=1e-5)


def test_nan_is_passed_on_so_that_it_is_found():
    for function in (
        safe_log,
        safe_norm,
        lambda x: safe_divide(x, x),
        lambda x: safe_divide(x, 0.0),
    ):
        assert np.isnan(value_and_gradients(function, np.nan)[0])


def test_the_plain_functions_need_this():
    _, (gradient,) = value_and_gradients(lambda x: tf.where(x > 0, tf.log(x), x), 0.0)
    assert np.isnan(gradient)
    _, (gradient,) = value_and_gradients(tf.norm, [0.0, 0.0])
    assert np.isnan(gradient).all()


def test_float16_is_refused_since_it_has_no_room():
    with tf.Graph().as_default(), pytest.raises(ModelError, match="found float16, expected"):
        safe_log(tf.constant(0.0, tf.float16))
