"""Losses made by closures: their numbers, their gradients, and how YAML names them."""

import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, ModelError
from my_project.engine.settings import config as config_module
from my_project.engine.settings.config import CONF, instantiate, load_config
from my_project.model import Model
from my_project.model import losses as known
from my_project.model.mlp import MLP
from omegaconf import OmegaConf

LOGITS = np.random.RandomState(0).randn(6, 4).astype(np.float32) * 3
LABELS = np.array([0, 1, 2, 3, 1, 1], np.int32)
LOG_P = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
CROSSENTROPY = -LOG_P[np.arange(6), LABELS]


def of(loss, labels=LABELS, logits=LOGITS):
    """The loss of each example, and the gradient of their mean by the logits."""
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = tf.constant(logits)
        each = loss(tf.constant(labels), outputs)
        return session.run([each, tf.gradients(tf.reduce_mean(each), outputs)[0]])


def test_crossentropy_takes_labels_as_a_dataset_and_as_keras_pass_them():
    for labels in (LABELS, LABELS.astype(np.int64), LABELS.astype(np.float32)[:, np.newaxis]):
        each, gradient = of(known.crossentropy(), labels)
        np.testing.assert_allclose(each, CROSSENTROPY, rtol=1e-5)
        np.testing.assert_allclose(gradient, (np.exp(LOG_P) - np.eye(4)[LABELS]) / 6, atol=1e-6)


def test_an_offset_changes_the_number_and_no_bit_of_the_gradient():
    plain, gradient = of(known.crossentropy())
    for offset in (0, 5, 10):
        each, same_gradient = of(known.offset_crossentropy(offset))
        np.testing.assert_allclose(each, plain + offset, rtol=1e-6)
        np.testing.assert_array_equal(same_gradient, gradient)


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_label_smoothing_spreads_a_part_of_the_label_over_all_classes(smoothing):
    labels = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    each, _ = of(known.label_smoothing(smoothing))
    np.testing.assert_allclose(each, -(labels * LOG_P).sum(1), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_its_paper_and_safe_where_an_example_is_easy(gamma):
    each, _ = of(known.focal(gamma))
    p = np.exp(-CROSSENTROPY)
    np.testing.assert_allclose(each, (1 - p) ** gamma * CROSSENTROPY, rtol=1e-4, atol=1e-7)
    for logit in (1e4, -1e4):  # p is 1, p is 0
        logits = np.array([[logit, 0, 0, 0]], np.float32)
        each, gradient = of(known.focal(gamma), LABELS[:1], logits)
        assert np.isfinite(each).all()
        assert np.isfinite(gradient).all()


def test_the_weight_of_its_class_multiplies_an_example():
    each, _ = of(known.class_weighted([1, 0.5, 0, 2]))
    np.testing.assert_allclose(each, CROSSENTROPY * [1, 0.5, 0, 2, 0.5, 0.5], rtol=1e-5)


def test_a_weighted_sum_adds_losses_and_one_may_look_at_another_tensor():
    activity = np.arange(12, dtype=np.float32).reshape(6, 2)
    with tf.Graph().as_default(), tf.Session() as session:
        penalty = known.activity_penalty(tf.constant(activity))
        loss = known.weighted_sum([known.crossentropy(), penalty], [2.0, 0.1])
        each = session.run(loss(tf.constant(LABELS), tf.constant(LOGITS)))
    np.testing.assert_allclose(each, 2 * CROSSENTROPY + 0.1 * (activity**2).mean(1), rtol=1e-5)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_outside_of_the_classes_is_an_error_that_names_it_and_their_number(label):
    wrong = np.array([0, 1, 2, 3, 1, label], np.int32)
    message = rf"label value of .* \[0, 4\), found\] \[{min(0, label)}\] \[to\] \[{max(3, label)}\]"
    for loss in (known.crossentropy(), known.class_weighted([1, 1, 1, 1])):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            of(loss, wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: known.label_smoothing(1.5), r"smoothing is 1\.5; expected 0 to 1"),
        (lambda: known.focal(-1), "gamma is -1; expected 0 or more"),
        (lambda: known.weighted_sum([known.crossentropy()], [1, 2]), "1 losses, 2 weights"),
        (lambda: of(known.class_weighted([1, 1])), "found 2 weights for 4 classes"),
    ],
)
def test_invalid_arguments_are_errors(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_model_trains_on_the_mean_of_the_loss_it_was_given_and_builds_it_once():
    calls = []

    def loss(y_true, y_pred):
        calls.append(y_pred)
        return known.crossentropy()(y_true, y_pred) * 3

    model = MLP(classes=4, hidden=8, loss=loss)
    with tf.Graph().as_default(), tf.Session() as session:
        features = tf.constant(np.ones([6, 5], np.float32))
        train_op, mean, outputs = model.build_step(features, tf.constant(LABELS))
        session.run(tf.global_variables_initializer())
        expected, _ = of(known.crossentropy(), logits=session.run(outputs))
        assert session.run(mean) == pytest.approx(3 * expected.mean(), rel=1e-5)
        for _ in range(3):
            session.run(train_op)
    assert len(calls) == 1


def test_a_model_without_a_loss_says_so():
    with pytest.raises(NotImplementedError, match=r"Model\.loss must be implemented, or given"):
        Model().loss(None, None)


@pytest.mark.parametrize("name", sorted(OmegaConf.load(f"{CONF}/losses.yaml")))
def test_every_loss_in_conf_is_made_by_its_name_and_gives_a_number_for_each_example(name):
    loss = instantiate(load_config([f"loss={name}"]).model).loss_function
    labels, logits = np.arange(10, dtype=np.int32), np.eye(10, dtype=np.float32)
    each, gradient = of(loss, labels, logits)
    assert each.shape == (10,)
    assert each.dtype == np.float32
    assert np.abs(gradient).max() > 0


def test_an_argument_of_a_loss_is_a_setting():
    model = instantiate(load_config(["loss=offset_crossentropy", "model.loss.offset=5"]).model)
    plain, _ = of(known.crossentropy())
    np.testing.assert_allclose(of(model.loss_function)[0], plain + 5, rtol=1e-6)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("loss=ofset_crossentropy", r"one of .*focal, .*did you mean offset_crossentropy\?"),
        ("model.loss.ofset=5", r"did you mean model\.loss\.offset\?"),
        ("model.loss.offset=ten", "expected a number"),
    ],
)
def test_an_unknown_loss_or_argument_is_one_line_with_the_nearest(argument, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(["loss=offset_crossentropy", argument])
    assert "\n" not in str(caught.value)


def test_a_model_with_a_loss_of_its_own_takes_no_other(tmp_path, monkeypatch):
    conf = tmp_path / "conf"
    shutil.copytree(CONF, str(conf))
    (conf / "model" / "own.yaml").write_text("_target_: module.Own\n")
    monkeypatch.setattr(config_module, "CONF", str(conf))
    with pytest.raises(ConfigError, match="loss=focal has no place here; leave it out"):
        load_config(["model=own", "loss=focal"])


def test_an_unknown_loss_is_named_with_the_nearest_there_is():
    module = known.__name__
    config = load_config([f"model.loss._target_={module}.ofset_crossentropy"])
    with pytest.raises(ConfigError, match=r"did you mean offset_crossentropy\?") as one:
        instantiate(config.model)
    assert "\n" not in str(one.value)


def build(loss, outputs, labels, **placed):
    """Builds a step of a model whose loss is given, as a closure or as a method."""

    class Regression(Model):
        def build(self, input_shape):
            self.dense = tf.keras.layers.Dense(4)
            super().build(input_shape)

        def call(self, inputs, training=False):
            return outputs(self.dense(inputs))

        def measure(self, outputs, labels):
            return {"error": placed["measure"](labels, outputs)} if placed.get("measure") else {}

    model = Regression(loss=loss)
    if placed.get("method"):
        model.loss = lambda outputs, labels: tf.reduce_mean(loss(labels, outputs))
    with tf.Graph().as_default():
        features = tf.placeholder(tf.float32, [placed.get("batch"), 3])
        labels = tf.nest.map_structure(tf.placeholder, labels)
        labels = tf.nest.map_structure(lambda t: tf.reshape(t, [-1]), labels)
        _, loss, outputs = model.build_step(features, labels)
        model.means(loss, outputs, labels)


def column(dense):
    return dense[:, :1]


def flat(dense):
    return dense[:, 0]


def log_likelihood(labels, outputs):
    mean, deviation = outputs
    return tf.square(labels - mean) / tf.square(deviation)


PAIRS = {
    "square": (lambda t, p: tf.square(t - p), column),
    "mean": (lambda t, p: tf.reduce_mean(tf.abs(p - t)), column),
    "keras": (lambda t, p: tf.keras.losses.mean_squared_error(t, p), column),
    "labels": (lambda t, p: tf.reduce_mean(tf.square(t[:, tf.newaxis] - p)), flat),
    "choice": (lambda t, p: tf.reduce_mean(tf.where_v2(t > 0, p, -p)), column),
    "weights": (lambda t, p: tf.reduce_mean(t * tf.square(t[:, tf.newaxis] - p)), column),
    "deviation": (
        lambda t, p: tf.reduce_mean(log_likelihood(t, p)),
        lambda dense: (flat(dense), column(dense)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_labels_and_outputs_that_would_make_a_number_for_each_pair_are_refused(name):
    loss, outputs = PAIRS[name]
    for method in (False, True):
        with pytest.raises(ModelError, match=r"regression.*loss.*(one|a number) for each pair"):
            build(loss, outputs, tf.float32, method=method)
    with pytest.raises(ModelError, match=r"regression.measure: .*a number for each pair"):
        build(lambda t, p: tf.reduce_mean(p[0]), outputs, tf.float32, measure=loss)


def distances(labels, outputs):
    """The mean distance of examples of one class: [batch, batch] on purpose, in three ways."""
    same = tf.cast(tf.equal(labels[:, tf.newaxis], labels), tf.float32)
    squares = tf.reduce_sum(tf.square(outputs), 1)
    products = tf.matmul(outputs, outputs, transpose_b=True)
    each = squares[:, tf.newaxis] + squares - 2 * products
    order = tf.cast(labels, tf.float32)[tf.newaxis] - outputs[:, :1]
    return tf.reduce_mean(same * each + (1 - same) * tf.nn.relu(1 - each) + 0 * order, 1)


MEANT = {
    "logits": lambda t, p: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=t, logits=p),
    "one-hot": lambda t, p: tf.nn.softmax_cross_entropy_with_logits(
        labels=tf.one_hot(t, 4), logits=p
    ),
    "keras": lambda t, p: tf.keras.losses.sparse_categorical_crossentropy(t, p, from_logits=True),
    "column": lambda t, p: tf.square(tf.cast(t, tf.float32)[:, tf.newaxis] - p[:, :1])[:, 0],
    "centered": lambda t, p: tf.reduce_mean(tf.square(p - tf.reduce_mean(p, 0)), 1),
    "classes": lambda t, p: tf.reduce_sum(
        p * tf.cast(tf.equal(t[:, tf.newaxis], tf.range(tf.shape(p)[1])), tf.float32), 1
    ),
    "distances": distances,
    "weighted": known.class_weighted([1.0, 2.0, 3.0, 4.0]),
    "penalty": known.weighted_sum([known.crossentropy(), known.label_smoothing(0.1)], [1, 2]),
}


@pytest.mark.parametrize("name", MEANT)
def test_losses_that_mean_what_they_combine_are_accepted(name):
    for batch in (None, 4):  # as many as classes, too
        build(MEANT[name], tf.identity, tf.int32, batch=batch)
