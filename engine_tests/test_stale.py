"""Tensors that are made once: their numbers do not depend on the inner loop, or are refused."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, ModelError, NotFiniteError, RunError
from my_project.engine.graph.optimize import Optimization
from my_project.model.classifier import Classifier
from my_project.model.cnn import CNN
from my_project.model.mlp import MLP
from toy import Toy


class Recurrent(Classifier):
    """TensorFlow's own RNN over the four numbers, whose variables ask for a cached read."""

    def build(self, input_shape):
        self.cell = tf.nn.rnn_cell.LSTMCell(8)
        self.logits = tf.keras.layers.Dense(self.classes)
        super().build(input_shape)

    def call(self, inputs, training=False):
        outputs, _ = tf.nn.dynamic_rnn(self.cell, inputs[:, :, tf.newaxis], dtype=tf.float32)
        return self.logits(outputs[:, -1])


class Normalized(Classifier):
    """A kernel that `build` computes of a variable."""

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", [4, self.classes])
        self.normalized = tf.nn.l2_normalize(self.kernel, 0)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return 9.0 * tf.matmul(inputs, self.normalized)


class Annealed(Classifier):
    """A temperature that `build` computes of the global step."""

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", [4, self.classes])
        step = tf.train.get_or_create_global_step()
        self.temperature = 1 + tf.cast(step.read_value(), tf.float32)
        super().build(input_shape)

    def call(self, inputs, training=False):
        return tf.matmul(inputs, self.kernel) * self.temperature


@pytest.mark.parametrize("kind", [Recurrent, Normalized, Annealed])
def test_what_is_computed_once_is_the_same_with_and_without_the_inner_loop(
    fit, tmp_path, variables, kind, caplog
):
    caplog.set_level("INFO")
    for steps in (1, 1000):
        fit(tmp_path / str(steps), 30, kind(classes=3), Toy(batch_size=10), steps_per_loop=steps)
    fit(tmp_path / "resumed", 13, kind(classes=3), Toy(batch_size=10))
    fit(tmp_path / "resumed", 30, kind(classes=3), Toy(batch_size=10))
    expected = variables(tmp_path / "1")
    for other in ("1000", "resumed"):
        for name, value in variables(tmp_path / other).items():
            np.testing.assert_array_equal(value, expected[name], name)
    assert ("is computed before the loop" in caplog.text) == (kind is not Recurrent)


@pytest.mark.parametrize(
    "model",
    [
        lambda: MLP(hidden=8, ema_decay=0.9, accumulate=2),
        lambda: MLP(hidden=8, dropout=0.5, clip={"norm": 1.0}),
        CNN,
    ],
)
def test_our_models_compute_nothing_before_the_loop(fit, tmp_path, caplog, model):
    caplog.set_level("INFO")
    fit(tmp_path / "run", 2, model())
    assert "computed before the loop" not in caplog.text


class Collected(MLP):
    """A loss that is kept in TensorFlow's collection."""

    def loss(self, outputs, labels):
        tf.losses.sparse_softmax_cross_entropy(labels, outputs)
        return tf.losses.get_total_loss()


class Listed(MLP):
    """Activations that are kept in a list."""

    def call(self, inputs, training=False):
        outputs = super().call(inputs, training)
        self.kept = [*getattr(self, "kept", []), tf.reduce_mean(outputs)]
        return outputs

    def loss(self, outputs, labels):
        return super().loss(outputs, labels) + tf.add_n(self.kept)


@pytest.mark.parametrize("kind", [Collected, Listed])
@pytest.mark.parametrize("steps", [1, 1000])
def test_an_evaluation_that_depends_on_a_training_batch_is_refused(fit, tmp_path, kind, steps):
    message = "what it evaluates depends on the batch IteratorGetNext, too: something keeps"
    model = kind(classes=3, hidden=8)
    with pytest.raises(ModelError, match=message):
        fit(tmp_path / "run", 5, model, Toy(batch_size=10), steps_per_loop=steps)
    assert not (tmp_path / "run").exists()


def test_a_function_for_add_loss_counts_once_in_build_and_is_refused_in_call(fit, tmp_path):
    class Built(MLP):
        def build(self, input_shape):
            super().build(input_shape)
            self.add_loss(lambda: tf.constant(100.0))

    class Called(MLP):
        def call(self, inputs, training=False):
            self.add_loss(lambda: tf.constant(100.0))
            return super().call(inputs, training)

    means = fit(tmp_path / "built", 1, Built(classes=3, hidden=8), Toy(batch_size=10))
    assert 100 < means["loss"] < 110
    with pytest.raises(ModelError, match="hands add_loss a function, which would count once more"):
        fit(tmp_path / "called", 1, Called(classes=3, hidden=8), Toy(batch_size=10))


def test_statistics_in_a_branch_are_refused(fit, tmp_path):
    class Freezes(Classifier):
        def build(self, input_shape):
            self.normalize = tf.keras.layers.BatchNormalization()
            self.logits = tf.keras.layers.Dense(self.classes)
            super().build(input_shape)

        def call(self, inputs, training=False):
            early = tf.train.get_or_create_global_step().read_value() < 3
            moving = lambda: self.normalize(inputs, training=training)  # noqa: E731
            fixed = lambda: self.normalize(inputs, training=False)  # noqa: E731
            return self.logits(tf.cond(early, moving, fixed))

    with pytest.raises(ModelError, match=r"an update in a branch of tf\.cond"):
        fit(tmp_path / "run", 5, Freezes(classes=3), Toy(batch_size=10))


def test_weights_of_two_types_are_refused(fit, tmp_path):
    class Mixed(MLP):
        def build(self, input_shape):
            super().build(input_shape)
            self.factor = self.add_weight("factor", [], tf.float64, tf.initializers.ones())

        def call(self, inputs, training=False):
            return super().call(inputs, training) * tf.cast(self.factor, tf.float32)

    with pytest.raises(ModelError, match="found weights of float32, float64, expected float32 for"):
        fit(tmp_path / "run", 5, Mixed(classes=3, hidden=8), Toy(batch_size=10))


@pytest.mark.parametrize("last_step", [1, 9])
def test_weights_that_an_optimizer_made_nan_are_not_saved(fit, tmp_path, last_step):
    class Zeros(Toy):
        def convert(self, x, y):
            return x * [0.0, 1.0, 1.0, 1.0], y

    def adam(learning_rate):
        return tf.train.AdamOptimizer(learning_rate, epsilon=0.0)

    model = MLP(classes=3, hidden=8, optimizer=adam)
    message = r"dense/kernel: found NaN or an infinity after step 1, .* not saved; .*epsilon"
    with pytest.raises(NotFiniteError, match=message):
        fit(tmp_path / "run", last_step, model, Zeros(batch_size=10), checkpoint_every_n_steps=1)
    assert not [*(tmp_path / "run").glob("checkpoints/*.index")]


@pytest.mark.parametrize(
    "settings",
    [{"clip": {"global_norm": float("inf")}}, {"loss_scale": float("inf")}, {"accumulate": 2.5}],
)
def test_settings_that_are_not_finite_or_whole_are_refused(fit, tmp_path, settings):
    with pytest.raises(ConfigError):
        fit(tmp_path / "run", 5, MLP(classes=3, hidden=8, **settings), Toy(batch_size=10))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda step: 1.0 if step < 10 else 0.1, r"as a Python `bool` .*tf\.where"),
        (lambda step: None, "expected a function of the global step"),
        (lambda step: tf.ones([1]), r"returned \(1,\), expected a single number"),
        (lambda step: 1.0 - tf.cast(step, tf.float32), "found a factor of -3.0, expected 0 to 1"),
    ],
)
def test_a_schedule_that_returns_no_factor_is_one_line(schedule, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Optimization(schedule=schedule).check_updates(5)
    assert "\n" not in str(caught.value)


def test_an_optimizer_that_refuses_its_arguments_is_one_line():
    with pytest.raises(ConfigError, match="must be positive: 0"):
        Optimization(
            optimizer=lambda learning_rate: tf.train.AdagradOptimizer(
                learning_rate, initial_accumulator_value=0.0
            )
        )


def test_a_batch_of_unknown_size_is_measured(fit, tmp_path):
    class Unknown(Toy):
        def convert(self, x, y):
            features = tf.py_func(lambda array: array, [x], tf.float32)
            features.set_shape([None, 4])
            return features, y

    means = fit(tmp_path / "run", 3, MLP(classes=3, hidden=8), Unknown(batch_size=10))
    assert 0 <= means["accuracy"] <= 1


def test_classes_of_other_names_are_refused_at_a_resume(fit, tmp_path):
    class Named(Toy):
        class_names = ("a", "b", "c")

    fit(tmp_path / "run", 2, MLP(classes=3, hidden=8), Named(batch_size=10))
    fit(tmp_path / "run", 4, MLP(classes=3, hidden=8), Named(batch_size=10))
    Named.class_names = ("a", "c", "b")
    with pytest.raises(RunError, match=r"class_names was \['a', 'b', 'c'\], is \['a', 'c', 'b'\]"):
        fit(tmp_path / "run", 6, MLP(classes=3, hidden=8), Named(batch_size=10))
