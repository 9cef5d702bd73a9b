"""What goes wrong silently in TensorFlow 1, tested with each model that conf/model/ names."""

import os
import re
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from omegaconf import OmegaConf

from {{ cookiecutter.project_slug }}.engine.settings import config
from {{ cookiecutter.project_slug }}.model import Dropout, Model

# The settings that a model is tested with, if not digits; one line for yours.
SETTINGS = {}

DIGITS = ["data=digits", "data.train_examples=128", "data.test_examples=16"]
MODELS = sorted(file[:-5] for file in os.listdir(os.path.join(config.CONF, "model")))


class Trial:
    """A model in a graph of its own, with a batch that is given unless another one is fed."""

    def __init__(self, settings, batch):
        self.settings, self.batch = settings, batch
        self.model = model = config.instantiate(settings)
        self.dropouts = []  # (rate, training, inputs, outputs) of each call
        tf.set_random_seed(1)
        self.features, self.labels = tf.nest.map_structure(
            lambda value: tf.placeholder_with_default(value, [None, *value.shape[1:]]), batch
        )
        with mock.patch.object(Dropout, "call", self.recorded(Dropout.call)):
            self.train_op, loss, _ = model.build_step(self.features, self.labels)
            outputs, _ = model.outputs_and_loss(self.features, self.labels, training=False)
        self.loss = tf.add_n(tf.nest.flatten(loss))
        self.predictions = model.predict(outputs)
        self.step = tf.train.get_global_step()
        self.session = tf.Session()
        self.run = self.session.run

    def recorded(self, call):
        def recording(layer, inputs, training=None):
            outputs = call(layer, inputs, training=training)
            self.dropouts.append((layer.rate, training, inputs, outputs))
            return outputs

        return recording

    def values(self, variables):
        """Name -> value now."""
        return dict(zip([one.op.name for one in variables], self.run(variables)))

    def unmoved(self, variables):
        """The names of those that five steps leave as they are."""
        before = self.values(variables)
        for _ in range(5):
            self.run(self.train_op)
        after = self.values(variables)
        return {name for name in before if np.array_equal(before[name], after[name])}


def one_batch(dataset):
    dataset.prepare()
    with tf.Graph().as_default(), tf.Session() as session:
        batches = dataset.batches(dataset.training_split, training=True)
        iterator = tf.data.make_initializable_iterator(batches)
        batch = iterator.get_next()
        session.run(iterator.initializer)
        return tf.nest.map_structure(lambda value: value[:16], session.run(batch))


@pytest.fixture(scope="module", params=MODELS)
def built(request, tmp_path_factory):
    if request.param not in SETTINGS and not os.path.exists(f"{config.CONF}/data/digits.yaml"):
        pytest.skip("there are no digits; add a line to SETTINGS")
    digits = [*DIGITS, f"data.directory={tmp_path_factory.getbasetemp()}/digits"]
    settings = SETTINGS.get(request.param, digits)
    chosen = config.load_config([f"model={request.param}", *settings])
    with tf.Graph().as_default():
        settings = OmegaConf.create(OmegaConf.to_container(chosen.model, resolve=True))
        trial = Trial(settings, one_batch(config.instantiate(chosen.data)))
        with trial.session:
            yield trial


@pytest.fixture
def trial(built):
    """As built, with initial values."""
    built.run(tf.global_variables_initializer())
    return built


def test_dropout_drops_its_share_in_training_and_nothing_in_evaluation(trial):
    for rate, training, inputs, outputs in trial.dropouts:
        before, after = trial.run([inputs, outputs])
        if not training:
            np.testing.assert_array_equal(before, after)
            continue
        kept = after[before != 0] != 0
        margin = 5 * np.sqrt(rate * (1 - rate) / kept.size)
        assert kept.mean() == pytest.approx(1 - rate, abs=margin + 1e-9)
        np.testing.assert_allclose(after[after != 0], before[after != 0] / (1 - rate), rtol=1e-5)
    if trial.dropouts:
        assert {bool(training) for _, training, _, _ in trial.dropouts} == {True, False}


def test_evaluation_is_the_same_in_every_step_and_changes_no_variable(trial):
    before = trial.values(tf.global_variables())
    first = trial.run(trial.predictions)
    np.testing.assert_equal(trial.values(tf.global_variables()), before)
    trial.run(trial.step.assign_add(7))  # the key of dropout and of all other random numbers
    np.testing.assert_equal(trial.run(trial.predictions), first)


def test_the_statistics_of_batch_norm_move_in_training(trial):
    layers = [one for one in trial.model.submodules if hasattr(one, "moving_variance")]
    statistics = [one for layer in layers for one in (layer.moving_mean, layer.moving_variance)]
    assert not trial.unmoved(statistics)


def test_every_trainable_variable_moves(trial):
    assert not trial.unmoved(trial.model.trainable_variables)


def test_one_step_increments_the_global_step_by_one(trial):
    trial.run(trial.train_op)
    assert trial.run(trial.step) == 1


def test_the_loss_of_a_single_batch_falls_to_near_zero(trial):
    if type(trial.model).optimize is not Model.optimize:
        pytest.skip("its own optimize: parts of its loss may work against each other")
    first = trial.run(trial.loss)
    for _ in range(300):
        _, loss = trial.run([trial.train_op, trial.loss])
        if loss < 0.05 * first:
            return
    pytest.fail(f"the loss was {first}, and is {loss} after 300 steps")


def test_predictions_do_not_depend_on_the_rest_of_the_batch(trial):
    for _ in range(3):
        trial.run(trial.train_op)
    complete = trial.run(trial.predictions)
    pairs = zip(tf.nest.flatten(trial.features), tf.nest.flatten(trial.batch[0]))
    part = trial.run(trial.predictions, {feature: value[:5] for feature, value in pairs})
    for name in part:
        np.testing.assert_allclose(part[name], complete[name][:5], rtol=1e-4, atol=1e-5)


def test_it_starts_from_weights_of_another_run_and_leaves_frozen_ones_alone(trial, tmp_path):
    trial.run(trial.train_op)
    checkpoint = tf.train.Saver(trial.model.variables).save(trial.session, str(tmp_path / "other"))
    frozen = trial.model.trainable_variables[0].op.name
    changes = {"freeze": [f"^{re.escape(frozen)}$"], "warm_start": {"checkpoint": checkpoint}}
    with tf.Graph().as_default():
        other = Trial(OmegaConf.merge(trial.settings, changes), trial.batch)
        with other.session:
            other.run(tf.global_variables_initializer())
            other.model.warm_start.load(other.model.variables, other.session)
            loaded = other.values(other.model.variables)
            np.testing.assert_equal(loaded, trial.values(trial.model.variables))
            assert frozen in other.unmoved(other.model.variables)
            assert not other.unmoved(other.model.trainable_variables)
