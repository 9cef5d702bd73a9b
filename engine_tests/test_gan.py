"""The GAN: two updates in one step, complete or not at all, each by its own loss when due."""

import glob

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ModelError
from my_project.model.gan import GAN
from my_project.model.spectral_norm import Conv

IMAGES = np.random.RandomState(0).rand(4, 8, 8, 1).astype(np.float32)


def small(**arguments):
    return GAN(latent=4, filters=2, **arguments)


def steps(model, batches):
    """Runs one step for each of the batches; yields all variables before and after each."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        images = tf.placeholder(tf.float32, [None, 8, 8, 1])
        train_op, _, _ = model.build_step(images, None)
        session.run(tf.global_variables_initializer())
        names = [variable.op.name for variable in tf.global_variables()]
        yield dict(zip(names, session.run(tf.global_variables()))), None
        for batch in batches:
            message = ""
            try:
                session.run(train_op, {images: batch})
            except tf.errors.InvalidArgumentError as error:
                message = error.message
            yield dict(zip(names, session.run(tf.global_variables()))), message


def test_each_network_follows_the_gradient_of_its_own_loss_before_either_moves():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        model = small(optimizer=tf.train.GradientDescentOptimizer, learning_rate=0.5)
        train_op, loss, _ = model.build_step(tf.constant(IMAGES), None)
        expected = {}
        for network in (model.generator, model.discriminator):
            trained = network.trainable_variables
            gradients = tf.gradients(loss[network.name], trained)
            expected.update({v: v - 0.5 * gradient for v, gradient in zip(trained, gradients)})
        session.run(tf.global_variables_initializer())
        before = session.run(model.trainable_variables)
        expected = session.run([expected[v] for v in model.trainable_variables])
        session.run(train_op)
        after = session.run(model.trainable_variables)
    assert len(after) == 8 + 6  # kernels, biases, and BatchNorm's gammas and betas
    for values in zip(before, after, expected):
        assert np.abs(values[1] - values[0]).max() > 0
        np.testing.assert_allclose(values[1], values[2], atol=1e-6)


def test_an_iteration_is_one_step_in_which_the_generator_moves_when_it_is_due():
    states = [state for state, _ in steps(small(discriminator_updates=3), [IMAGES] * 6)]
    assert [int(state["global_step"]) for state in states] == [0, 1, 2, 3, 4, 5, 6]
    for number, (before, after) in enumerate(zip(states, states[1:]), start=1):
        moved = {name for name in before if not np.array_equal(before[name], after[name])}
        assert "gan/discriminator/conv/kernel" in moved
        assert ("gan/generator/dense/kernel" in moved) == (number in (3, 6))
        assert "gan/generator/batch_normalization/moving_mean" in moved


def test_a_batch_that_is_not_finite_leaves_both_networks_as_they_were():
    model = small(spectral_norm=True)
    _, (before, _), (after, message), (later, _) = steps(model, [IMAGES, IMAGES * np.nan, IMAGES])
    assert "is not finite" in message
    assert "gan/discriminator/conv/vector" in before
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert later["global_step"] == 2


def test_evaluation_has_the_averages_of_both_networks_as_checkpoints_do():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        model = small(learning_rate=0.1, ema_decay=0.9)
        train_op, _, _ = model.build_step(tf.constant(IMAGES), None)
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train_op)
        weights = {variable.op.name: variable for variable in model.trainable_variables}
        averages = {v.op.name: v for v in tf.global_variables() if v.op.name.endswith("/average")}
        assert set(averages) == {f"{name}/average" for name in weights}
        before, averages = session.run([weights, averages])
        with model.optimization.averages.in_place(session):
            evaluated = session.run(weights)
    for name in weights:
        assert not np.array_equal(before[name], averages[f"{name}/average"])
        np.testing.assert_array_equal(evaluated[name], averages[f"{name}/average"], err_msg=name)


def test_spectral_norm_divides_by_the_largest_singular_value():
    images = np.random.RandomState(0).randn(2, 6, 6, 3).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)  # how fast it gets near depends on the numbers
        plain, normed = Conv(5, 4, 2, spectral_norm=False), Conv(5, 4, 2, spectral_norm=True)
        one, other = plain(tf.constant(images)), normed(tf.constant(images), training=True)
        session.run(tf.global_variables_initializer())
        session.run(plain.kernel.assign(normed.kernel))
        for _ in range(100):
            session.run(normed.updates)
        one, other, kernel = session.run([one, other, normed.kernel])
    largest = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)[0]
    np.testing.assert_allclose(other, one / largest, rtol=1e-3, atol=1e-5)


def samples(run_dir):
    """Step -> the picture of samples, as numbers 0–1 [rows, columns]."""
    found = {}
    with tf.Graph().as_default(), tf.Session() as session:
        for path in glob.glob(f"{run_dir}/events*"):
            for event in tf.train.summary_iterator(path):
                for value in event.summary.value:
                    if value.tag == "gan/samples/image":
                        assert event.step not in found
                        encoded = value.image.encoded_image_string
                        found[event.step] = session.run(tf.image.decode_png(encoded)) / 255
    return found


def test_it_learns_how_bright_digits_are_and_shows_samples(fit, tmp_path, digits):
    model = GAN(latent=8, filters=4, learning_rate=0.005)
    results = fit(tmp_path / "run", last_step=80, model=model, summary_every_n_steps=40)
    assert results["loss"] == pytest.approx(results["generator"] + results["discriminator"])
    shown = samples(tmp_path / "run")
    assert sorted(shown) == [1, 40, 80]
    assert {image.shape for image in shown.values()} == {(8 * 28, 8 * 28, 1)}
    brightness = np.fromfile(digits.files("train")[0], np.uint8)[16:].mean() / 255
    assert shown[1].mean() == pytest.approx(0.5, abs=0.1)  # gray: it knows nothing
    assert abs(shown[80].mean() - brightness) < 0.5 * (shown[1].mean() - brightness)


def test_the_weights_are_the_same_with_and_without_the_loop_in_the_graph(fit, tmp_path, variables):
    for name, inner in (("plain", 1), ("loop", 100)):
        model = GAN(latent=8, filters=2, spectral_norm=True, discriminator_updates=2)
        fit(tmp_path / name, last_step=12, model=model, steps_per_loop=inner)
    plain, loop = variables(tmp_path / "plain"), variables(tmp_path / "loop")
    assert np.abs(plain["gan/generator/batch_normalization/moving_mean"]).max() > 0
    for name in plain:
        np.testing.assert_array_equal(plain[name], loop[name], err_msg=name)


def test_images_that_cannot_be_halved_twice_are_refused():
    with tf.Graph().as_default(), pytest.raises(ModelError, match=r"28, 30, 1\].*divisible by 4"):
        GAN()(tf.zeros([2, 28, 30, 1]))


def test_each_network_counts_its_own_updates_for_averages_and_accumulated_gradients(
    fit, tmp_path, variables
):
    def is_average(values, network):
        names = [name for name in values if f"gan/{network}" in name and name.endswith("/average")]
        assert names
        return [np.array_equal(values[name], values[name[:-8]]) for name in names]

    model = dict(latent=4, filters=2, discriminator_updates=3, ema_decay=0.9, learning_rate=0.1)
    for step in (2, 3):  # restarted before and after the first update of the generator
        fit(tmp_path / "run", last_step=step, model=GAN(**model))
        values = variables(tmp_path / "run")
        assert all(is_average(values, "generator")), step
        assert not all(is_average(values, "discriminator")), step
    fit(tmp_path / "run", last_step=6, model=GAN(**model))
    assert not all(is_average(variables(tmp_path / "run"), "generator"))

    states = [s for s, _ in steps(small(discriminator_updates=2, accumulate=2), [IMAGES] * 8)]
    name = "gan/generator/dense/kernel"
    moved = [not np.array_equal(one[name], two[name]) for one, two in zip(states, states[1:])]
    assert [step for step, each in enumerate(moved, start=1) if each] == [4, 8]
    held = [bool(np.abs(state[f"{name}/gradient_sum"]).max()) for state in states]
    assert held == [False, False, True, True, False, False, True, True, False]
    assert states[-1][f"{name}/batches"] == 4
