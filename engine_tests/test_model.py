"""The contract of a model: updates are complete or do not happen; silent mistakes are errors."""

import functools
import re
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, ModelError
from my_project.engine.graph.checks import loop_of
from my_project.engine.graph.optimize import guard
from my_project.model import Dropout, Model
from my_project.model.mlp import MLP


class Linear(Model):
    """A small model that the tests below change: [batch, 3] -> [batch, 2]."""

    def build(self, input_shape):
        self.norm = tf.keras.layers.BatchNormalization()
        self.dense = tf.keras.layers.Dense(2, kernel_regularizer=tf.keras.regularizers.l2(0.5))
        super().build(input_shape)

    def call(self, inputs, training=False):
        return self.dense(self.norm(inputs, training=training))

    def loss(self, outputs, labels):
        return tf.reduce_mean(tf.square(outputs - labels))


INPUTS = np.random.RandomState(0).randn(8, 3).astype(np.float32)
LABELS = np.ones([8, 2], np.float32)


def steps(model, inputs, labels=LABELS):
    """Runs one step for each of the inputs; yields all variables before and after each."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [8, 3])
        # The second is what a loop in the graph builds: it must be as safe as the first.
        model.build_step(x, tf.constant(labels))
        train_op, loss, _ = model.build_step(x, tf.constant(labels))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            names = [variable.op.name for variable in tf.global_variables()]
            yield dict(zip(names, session.run(tf.global_variables()))), None
            for values in inputs:
                try:
                    _, result = session.run([train_op, loss], {x: values})
                except tf.errors.InvalidArgumentError as error:
                    result = error.message
                yield dict(zip(names, session.run(tf.global_variables()))), result


def assert_refused(model, message):
    """Asserts that a training step of the model is refused, in one line that matches."""
    with tf.Graph().as_default(), pytest.raises(ModelError, match=message) as caught:
        model.build_step(tf.constant(INPUTS), tf.constant(LABELS))
    assert "\n" not in str(caught.value)


def test_one_step_moves_every_weight_the_statistics_and_the_global_step():
    (before, _), (after, _) = steps(Linear(), [INPUTS])
    assert after["global_step"] == before["global_step"] + 1
    for name in ("dense/kernel", "dense/bias", "batch_normalization/gamma"):
        assert not np.array_equal(before[f"linear/{name}"], after[f"linear/{name}"]), name
    moved = after["linear/batch_normalization/moving_mean"]
    np.testing.assert_allclose(moved, 0.01 * INPUTS.mean(0), rtol=1e-4)


def test_call_runs_as_it_is_written_and_not_as_autograph_converts_it():
    class Seen(Linear):
        def call(self, inputs, training=False):
            self.file = sys._getframe().f_code.co_filename
            return super().call(inputs, training)

    model = Seen()
    list(steps(model, [INPUTS]))
    assert model.file == __file__


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_with_a_number_that_is_not_finite_writes_nothing_at_all(bad):
    poisoned = INPUTS.copy()
    poisoned[3, 1] = bad
    _, (before, _), (after, message), (later, _) = steps(Linear(), [INPUTS, poisoned, INPUTS])
    assert "is not finite" in message
    assert "Tensor had" in message
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert later["global_step"] == 2


@pytest.mark.parametrize("clip", [{"value": 1.0}, {"norm": 1.0}, {"global_norm": 1.0}])
def test_no_way_to_clip_makes_or_hides_a_number_that_is_not_finite(clip):
    class Steep(Linear):
        def loss(self, outputs, labels):  # finite, but its square is not
            return super().loss(outputs, labels) * 1e30

    for inputs in (INPUTS, INPUTS * np.nan):
        _, (after, message) = steps(Steep(clip=clip), [inputs])
        assert all(np.isfinite(values).all() for values in after.values()), clip
        assert after["global_step"] == (0 if isinstance(message, str) else 1)


def test_writes_inside_a_group_of_updates_wait_for_the_guard_too():
    class Grouped(Linear):
        def build(self, input_shape):
            self.total = self.add_weight("total", [], initializer="zeros", trainable=False)
            super().build(input_shape)

        def call(self, inputs, training=False):
            self.add_update(tf.group(self.total.assign_add(tf.reduce_mean(inputs))))
            return super().call(inputs, training)

    _, (good, _), (bad, _) = steps(Grouped(), [INPUTS, INPUTS * np.nan])
    assert good["grouped/total"] == pytest.approx(INPUTS.mean(), abs=1e-6)
    assert bad["grouped/total"] == good["grouped/total"]


def test_a_write_that_the_loss_needs_is_refused():
    class Early(Linear):
        def build(self, input_shape):
            self.count = self.add_weight("count", [], initializer="zeros", trainable=False)
            super().build(input_shape)

        def call(self, inputs, training=False):
            with tf.control_dependencies([self.count.assign_add(1.0)]):
                return super().call(tf.identity(inputs), training)

    assert_refused(Early(), "before the loss is known")


def test_a_write_inside_a_loop_of_the_model_is_refused():
    class Loops(Linear):
        def build(self, input_shape):
            self.count = self.add_weight("count", [], initializer="zeros", trainable=False)
            super().build(input_shape)

        def call(self, inputs, training=False):
            def body(turn):
                with tf.control_dependencies([self.count.assign_add(1.0)]):
                    return turn + 1

            self.add_update(tf.while_loop(lambda turn: turn < 3, body, [tf.constant(0)]))
            return super().call(inputs, training)

    assert_refused(Loops(), "in a loop of its own")


def test_the_loop_of_an_operation_is_the_innermost_around_it_also_after_loops_before():
    found = {}

    def inner(turn):
        found["inner"] = turn + 1
        found["constant"] = tf.constant(1)
        return found["inner"]

    def outer(turn):
        found["after inner"] = turn + tf.while_loop(lambda turn: turn < 3, inner, [turn])
        found["branch"] = tf.cond(turn > 1, lambda: tf.constant(1), lambda: turn * 2)
        return found["after inner"]

    with tf.Graph().as_default():
        found["after outer"] = tf.while_loop(lambda turn: turn < 9, outer, [tf.constant(0)]) + 1
        loops = {name: loop_of(tensor.op) for name, tensor in found.items()}
    assert loops["inner"] == loops["constant"] != loops["after inner"]
    assert loops["after inner"] == loops["branch"] != ""
    assert loops["after outer"] == ""


def test_a_write_in_a_branch_of_a_condition_waits_for_the_guard_too():
    class Branches(Linear):
        def build(self, input_shape):
            self.count = self.add_weight("count", [], initializer="zeros", trainable=False)
            super().build(input_shape)

        def call(self, inputs, training=False):
            due = tf.reduce_sum(inputs) < 1e9  # false for a NaN
            add, skip = (lambda: self.count.assign_add(1.0)), (lambda: self.count.read_value())
            self.add_update(tf.cond(due, add, skip))
            self.add_update(tf.cond(due, skip, lambda: self.count.assign_sub(1.0)))
            return super().call(inputs, training)

    _, (good, _), (bad, _) = steps(Branches(), [INPUTS, INPUTS * np.nan])
    assert good["branches/count"] == bad["branches/count"] == 1


def test_a_train_op_that_leaves_the_global_step_is_refused():
    class Endless(Linear):
        def optimize(self, loss, updates=(), writes=()):
            gradients = self.optimization.gradients(loss, self.trainable_variables)
            with guard([gradients], updates, writes):
                return self.optimization.apply(gradients)

    class Hasty(Endless):
        def optimize(self, loss, updates=(), writes=()):
            update = super().optimize(loss, updates, writes)
            step = tf.train.get_global_step()
            return tf.group(update, step.assign_add(1), step.assign_add(1))

    for wrong, times in ((Endless(), 0), (Hasty(), 2)):
        assert_refused(wrong, f"increments the global step {times} times")


def test_optimize_may_return_a_tensor_and_increment_the_step_inside_a_cond():
    class Skips(Linear):
        def optimize(self, loss, updates=(), writes=()):
            gradients = self.optimization.gradients(loss, self.trainable_variables)

            def apply():
                update = self.optimization.apply(gradients, tf.train.get_global_step())
                with tf.control_dependencies([update]):
                    return tf.constant(True)

            with guard([gradients], updates, writes):
                return tf.cond(loss < 1e9, apply, lambda: tf.constant(False))

    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.create_global_step()
        train_op, _, _ = Skips().build_step(tf.constant(INPUTS), tf.constant(LABELS))
        session.run(tf.global_variables_initializer())
        session.run(train_op)
        assert session.run(step) == 1


def test_an_optimize_that_leaves_statistics_out_or_writes_unguarded_is_refused():
    class Bare(Linear):
        def optimize(self, loss, updates=(), writes=()):
            step = tf.train.get_global_step()
            return self.optimization.optimizer.minimize(loss, global_step=step)

    class Unguarded(Bare):
        def optimize(self, loss, updates=(), writes=()):
            return tf.group(super().optimize(loss), *updates)

    for wrong, message in (
        (Bare(), r"bare\.optimize leaves .*AssignMovingAvg.* out"),
        (Unguarded(), r"unguarded\.optimize would write a NaN"),
    ):
        assert_refused(wrong, message)


def test_a_layer_with_statistics_that_is_called_twice_in_a_step_is_refused():
    class Twice(Linear):
        def call(self, inputs, training=False):
            return self.dense(self.norm(self.norm(inputs, training=training), training=training))

    assert_refused(Twice(), r"moving_mean.* is written twice in a step")


def test_statistics_that_overflow_where_no_gradient_does_stop_the_step():
    huge = INPUTS.copy()
    huge[0] = 1e20  # its square is beyond float32
    (before, _), (after, message) = steps(Linear(clip={"global_norm": 1.0}), [huge])
    assert "is not finite : Tensor had" in message
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


@pytest.mark.parametrize("rate", [np.nan, -1.0, np.inf])
def test_an_invalid_learning_rate_is_an_error_and_one_that_becomes_invalid_stops(rate):
    with pytest.raises(ConfigError, match="found learning_rate="):
        Linear(learning_rate=rate)
    bad = Linear(schedule=lambda step: tf.log(tf.cast(step, tf.float32) - 1.0))
    (before, _), (after, message) = steps(bad, [INPUTS])
    assert "the learning rate is not finite : Tensor had" in message
    assert before["global_step"] == after["global_step"] == 0


def test_a_gradient_whose_square_overflows_stops_an_optimizer_that_takes_it():
    class Steep(Linear):
        def loss(self, outputs, labels):
            return 1e25 * super().loss(outputs, labels)

    _, (after, message) = steps(Steep(clip=None), [INPUTS])
    assert re.search("the square of the gradient of steep/.*is not finite", message)
    assert after["global_step"] == 0
    momentum = functools.partial(tf.train.MomentumOptimizer, momentum=0.9)
    _, (after, _) = steps(Steep(optimizer=momentum, clip=None), [INPUTS])
    assert after["global_step"] == 1


@pytest.mark.parametrize(
    ("bend", "message"),
    [
        (
            {"loss": lambda *of: Model.loss(Linear(loss=lambda t, p: t[:, :1] - p[:, 0]), *of)},
            r"the loss is \(8, 8\)",
        ),
        ({"measure": lambda *_: {"pairs": tf.zeros([8, 8])}}, r"measure: pairs is \(8, 8\)"),
        ({"measure": lambda *_: {"loss": tf.zeros([8])}}, "the name loss is taken"),
        (
            {"loss": lambda outputs, labels: {"regularization": tf.reduce_sum(outputs)}},
            "the name regularization is taken",
        ),
        (
            {"loss": lambda outputs, labels: {"loss": tf.reduce_sum(outputs)}},
            "the name loss is taken",
        ),
    ],
)
def test_numbers_for_pairs_of_examples_and_names_that_are_taken_are_refused(bend, message):
    model = Linear()
    for name, function in bend.items():
        setattr(model, name, function)

    def report():
        outputs, loss = model.outputs_and_loss(tf.constant(INPUTS), tf.constant(LABELS), True)
        return model.means(loss, outputs, tf.constant(LABELS))

    with tf.Graph().as_default(), pytest.raises(ModelError, match=message):
        report()


def test_settings_of_a_model_in_a_model_are_refused_and_statistics_in_a_tuple_found():
    class Outer(Linear):
        def build(self, input_shape):
            super().build(input_shape)
            self.inner = Linear(name="inner", freeze=["dense"])

        def call(self, inputs, training=False):
            return super().call(inputs, training) + self.inner(inputs, training=training)

    class Hidden(Linear):
        def build(self, input_shape):
            super().build(input_shape)
            norm = tf.keras.layers.BatchNormalization(center=False, scale=False)
            self.hidden = {1: lambda: norm}  # where Keras does not look, on either runtime

        def call(self, inputs, training=False):
            return super().call(self.hidden[1]()(inputs, training=training), training)

    for wrong, message in ((Outer(), "inner: freeze"), (Hidden(), "moving_mean.* not be trained")):
        assert_refused(wrong, message)


def test_an_attribute_that_has_a_method_freeze_and_a_word_with_rank_inside_are_no_mistake():
    class Base(tf.keras.layers.Dense):
        def freeze(self):
            self.trainable = False

    class Outer(Linear):
        def build(self, input_shape):
            super().build(input_shape)
            self.base = Base(3)

        def call(self, inputs, training=False):
            return super().call(self.base(inputs), training)

    class Bug(Linear):
        def call(self, inputs, training=False):
            raise ValueError("no ranking of Frankfurt was found")

    assert len(list(steps(Outer(), [INPUTS]))) == 2
    with tf.Graph().as_default(), pytest.raises(ValueError, match="Frankfurt"):
        Bug().build_step(tf.constant(INPUTS), tf.constant(LABELS))


def test_a_name_that_begins_with_an_underscore_is_a_scope_without():
    class _Net(Linear):
        pass

    assert _Net().name == "net"


def test_a_layer_that_is_frozen_stays_as_it_is():
    class Frozen(Linear):
        def build(self, input_shape):
            super().build(input_shape)
            self.base = tf.keras.layers.Dense(3)
            self.base.trainable = False

        def call(self, inputs, training=False):
            return super().call(self.base(inputs), training)

    (before, _), (after, _) = steps(Frozen(), [INPUTS])
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert "frozen/dense/kernel" in changed
    assert not changed & {"frozen/dense_1/kernel", "frozen/dense_1/bias"}


def test_measures_of_any_type_are_averaged_and_none_may_be_called_loss():
    class Measured(Linear):
        def measure(self, outputs, labels):
            return {
                "top-5 (double)": tf.constant([1.0, 2.0], tf.float64),
                "true": tf.constant([True, False]),
                "count": tf.constant([1, 2]),
            }

    class Wrong(Linear):
        def measure(self, outputs, labels):
            return {"loss": outputs}

    with tf.Graph().as_default(), tf.Session() as session:
        means = session.run(Measured().means(tf.constant(3.0), None, None))
        assert means == {"loss": 3.0, "top-5 (double)": 1.5, "true": 0.5, "count": 1.5}
        with pytest.raises(ModelError, match="the name loss is taken"):
            Wrong().means(tf.constant(3.0), tf.constant([1.0]), None)


def test_a_gradient_alone_that_is_not_finite_is_named():
    class Root(Linear):
        def loss(self, outputs, labels):  # the square root of 0 has no finite gradient
            return tf.reduce_mean(tf.sqrt(tf.abs(outputs) * 0.0))

    _, (after, message) = steps(Root(), [INPUTS])
    assert "the gradient of root/" in message
    assert after["global_step"] == 0


def test_a_regularization_loss_counts_once_in_each_step_that_is_built():
    model = Linear()
    with tf.Graph().as_default():
        x, y = tf.constant(INPUTS), tf.constant(LABELS)
        _, first, outputs = model.build_step(x, y)
        _, second, _ = model.build_step(x, y)
        expected = model.loss(outputs, y) + 0.5 * tf.reduce_sum(model.dense.kernel**2)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            found = session.run([first, second, expected])
    assert found == pytest.approx([found[2]] * 3)


def test_a_variable_without_influence_on_the_loss_is_named():
    class Unused(Linear):
        def build(self, input_shape):
            self.idle = self.add_weight("idle", [1])
            super().build(input_shape)

    assert_refused(Unused(), "does not depend on unused/idle")


def test_a_variable_that_keras_does_not_track_is_named():
    class Hidden(Linear):
        def call(self, inputs, training=False):
            loose = tf.get_variable("loose", [2])
            return super().call(inputs, training) * loose

    assert_refused(Hidden(), "loose would not be trained")


class Two(Linear):
    """With two losses."""

    def loss(self, outputs, labels):
        error = outputs - labels
        return {"square": tf.reduce_mean(error**2), "absolute": tf.reduce_mean(tf.abs(error))}


def test_several_losses_are_added_and_each_is_reported():
    class Sum(Two):
        def loss(self, outputs, labels):
            return tf.add_n(list(super().loss(outputs, labels).values()))

    states = [list(steps(model, [INPUTS])) for model in (Two(name="one"), Sum(name="one"))]
    (_, (parts, _)), (_, (whole, _)) = states
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-6, err_msg=name)
    with tf.Graph().as_default(), tf.Session() as session:
        model = Two()
        outputs, loss = model.outputs_and_loss(tf.constant(INPUTS), tf.constant(LABELS), False)
        session.run(tf.global_variables_initializer())
        means = session.run(model.means(loss, outputs, None))
    assert set(means) == {"loss", "square", "absolute", "regularization"}
    assert means["loss"] == pytest.approx(sum(means.values()) - means["loss"])


def test_a_measure_with_the_name_of_a_loss_is_refused():
    class Twice(Two):
        def measure(self, outputs, labels):
            return {"square": outputs}

    losses = {"square": tf.constant(1.0)}
    with pytest.raises(ModelError, match="the name square is taken"):
        Twice().means(losses, tf.constant([1.0]), None)


def test_weights_are_floats_where_features_are_integers():
    class Lookup(Model):
        def build(self, input_shape):
            self.table = self.add_weight("table", [5, 2])
            super().build(input_shape)

        def call(self, inputs, training=False):
            return tf.gather(self.table, inputs)

    with tf.Graph().as_default():
        assert Lookup()(tf.constant([1, 2])).dtype == tf.float32


def test_a_loss_that_is_not_a_single_number_is_refused_with_its_shape():
    class Vector(Linear):
        def loss(self, outputs, labels):
            return tf.reduce_mean(tf.square(outputs - labels), axis=1)

    assert_refused(Vector(), r"vector.loss .*\(8,\)")


def test_shapes_that_do_not_fit_are_one_line_that_names_the_layer_and_both_shapes():
    class Matrix(Linear):
        def build(self, input_shape):
            super().build(input_shape)
            self.table = self.add_weight("table", [4, 2])

        def call(self, inputs, training=False):
            return tf.matmul(super().call(inputs, training), self.table)

    class Images(Linear):
        def call(self, inputs, training=False):
            return tf.keras.layers.Conv2D(2, 3, name="filters")(inputs)

    class Labels(Linear):
        def loss(self, outputs, labels):
            return super().loss(outputs, labels[:, :1] * tf.ones([1, 5]))

    class Bug(Linear):
        def call(self, inputs, training=False):
            return int("abc")

    for wrong, message in (
        (Matrix(), r"matrix.call: .* 2 and 4 for .*matrix/MatMul.* shapes: \[8,2\], \[4,2\]"),
        (Images(), r"images.call: .* layer \"?filters\"? is .* expected \w*ndim=4, found ndim=2"),
        (Labels(), r"labels.loss: .* 2 and 5 for .* shapes: \[8,2\], \[8,5\]"),
    ):
        assert_refused(wrong, message)
    with tf.Graph().as_default(), pytest.raises(ValueError, match="invalid literal"):
        Bug().build_step(tf.constant(INPUTS), tf.constant(LABELS))


OUTSIDE = tf.Graph()
with OUTSIDE.as_default():
    TWO = tf.constant(2.0)


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        ("call", lambda x: x * TWO, "same graph .*; make tensors inside call, loss or convert"),
        ("loss", lambda x: x * TWO, "same graph .*; make tensors inside call, loss or convert"),
        ("loss", lambda x: x - tf.cast(x, tf.float64), r"float64 .* float32 .*; .* tf\.cast"),
        ("loss", lambda x: x - tf.cast(x, tf.int64), r"int64 .* float32 .*; .* tf\.cast"),
        ("loss", lambda x: tf.concat([x, tf.cast(x, tf.int64)], 0), r"types .*; .* tf\.cast"),
        ("call", lambda x: tf.keras.layers.Dense(2)(tf.cast(x, tf.uint8)), r"uint8.* tf\.cast"),
        ("call", lambda x: x + tf.zeros([x.shape[0], 1]), r"None.*; take tf\.shape\(x\)\[0\] for"),
        ("call", lambda x: tf.reshape(x, [x.shape[0], -1]), r"None.*; take tf\.shape\(x\)\[0\] "),
        ("measure", lambda x: x - tf.zeros([7, 5]), "equal, but are 2 and 5 for"),
    ],
)
def test_types_sizes_and_graphs_that_do_not_fit_are_one_line_that_says_what_to_do(
    method, wrong, message
):
    def changed(self, first, *others, **settings):
        return getattr(super(wrong_model, self), method)(wrong(first), *others, **settings)

    def evaluate(model, inputs, labels):
        outputs, loss = model.outputs_and_loss(inputs, labels, training=False)
        model.means(loss, outputs, labels)

    wrong_model = type("Wrong", (Linear,), {method: changed})
    with tf.Graph().as_default(), pytest.raises(ModelError) as caught:
        evaluate(wrong_model(), tf.placeholder_with_default(INPUTS, [None, 3]), LABELS)
    assert re.match(rf"wrong\.{method}: .*{message}", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "drop",
    [
        tf.keras.layers.Dropout(0.5),
        lambda x, training: noise(x),
        lambda x, training: tf.while_loop(lambda y: y[0, 0] < 9, lambda y: noise(y) + 1, [x]),
        lambda x, training: tf.cond(x[0, 0] < 9, lambda: noise(x), lambda: x),
        lambda x, training: tf.map_fn(noise, x),
    ],
)
def test_a_random_operation_with_a_hidden_state_is_refused(drop):
    class Noisy(Linear):
        def call(self, inputs, training=False):
            return super().call(drop(inputs, training=training), training)

    assert_refused(Noisy(), "after a restart: in a model's call, use the Dropout")


@pytest.mark.parametrize("where", ["dropout", "recurrent_dropout"])
def test_dropout_inside_of_a_recurrent_layer_is_refused(where):
    class Recurrent(Linear):
        def build(self, input_shape):
            super().build(input_shape)
            self.lstm = tf.keras.layers.LSTM(3, **{where: 0.2})

        def call(self, inputs, training=False):
            return super().call(self.lstm(inputs[:, tf.newaxis], training=training), training)

    assert_refused(Recurrent(), r"recurrent/lstm/.* \(\w*Random\w*\) draws other numbers")


def noise(inputs):
    return inputs + tf.random.normal(tf.shape(inputs))


@pytest.mark.parametrize("kind", ["float16", "float64", "uint8", "int32", "bool"])
def test_a_model_computes_in_float32_whatever_type_its_features_have(kind):
    with tf.Graph().as_default(), tf.Session() as session:
        model = MLP(hidden=4)
        features = tf.constant(np.abs(100 * INPUTS).astype(kind))
        train_op, _, _ = model.build_step(features, tf.constant([1] * 8))
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train_op)
        weights = session.run(model.trainable_variables)
    assert {array.dtype.name for array in weights} == {"float32"}
    assert all(np.isfinite(array).all() for array in weights)


def test_a_weight_of_16_bits_is_refused_by_name():
    class Narrow(Linear):
        def build(self, input_shape):
            self.scale = self.add_weight("scale", [2], tf.float16)
            super().build(input_shape)

        def call(self, inputs, training=False):
            return super().call(inputs, training) * tf.cast(self.scale, tf.float32)

    assert_refused(Narrow(), "narrow/scale: found weights of 16 bits")


def gradients_after(clip):
    """The change of the weights by one step of plain gradient descent with rate 1."""
    model = Linear(clip=clip, learning_rate=1.0, optimizer=tf.train.GradientDescentOptimizer)
    (before, _), (after, _) = steps(model, [100 * INPUTS], 100 * LABELS)
    trained = ("beta", "gamma", "kernel", "bias")
    return [before[name] - after[name] for name in before if name.endswith(trained)]


def test_each_way_to_clip_limits_what_it_says():
    free = gradients_after(None)
    assert max(abs(change).max() for change in free) > 10
    by_value = gradients_after({"value": 0.5})
    assert max(abs(change).max() for change in by_value) == pytest.approx(0.5)
    by_norm = gradients_after({"norm": 0.5, "value": 0})
    assert max(np.linalg.norm(change) for change in by_norm) == pytest.approx(0.5, rel=1e-4)
    together = gradients_after({"global_norm": 0.5})
    total = np.sqrt(sum(np.sum(change**2) for change in together))
    assert total == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("clip", [{"value": 1, "norm": 1}, {"norms": 1.0}, {"value": -1.0}])
def test_contradictory_unknown_or_negative_limits_are_refused(clip):
    with pytest.raises(ConfigError, match=r"model\.clip: found .* expected one of value"):
        next(steps(Linear(clip=clip), []))


def test_an_embedding_is_clipped_and_trained_by_its_sparse_gradient():
    class Embedding(Model):
        def build(self, input_shape):
            self.table = self.add_weight("table", [5, 2])
            super().build(input_shape)

        def call(self, inputs, training=False):
            return tf.gather(self.table, tf.cast(inputs[:, 0], tf.int32))

        def loss(self, outputs, labels):
            return tf.reduce_mean(tf.square(outputs - labels))

    for clip in ({"value": 0.1}, {"norm": 0.1}, {"global_norm": 0.1}):
        (before, _), (after, _) = steps(Embedding(clip=clip), [np.full([8, 3], 2.0)])
        moved = np.abs(before["embedding/table"] - after["embedding/table"]).sum(1) > 0
        assert moved.tolist() == [False, False, True, False, False], clip


def test_dropout_drops_its_rate_keeps_the_mean_and_repeats_the_mask_of_a_step():
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        step = tf.train.get_or_create_global_step()
        layer, other = Dropout(0.25), Dropout(0.25)
        namesake = Dropout(0.25, name=layer.name)
        ones = tf.ones([100, 100])
        dropped, second = layer(ones, training=True), other(ones, training=True)
        third = namesake(ones, training=True)
        idle = layer(ones, training=False)
        with tf.Session() as session:
            session.run(step.initializer)
            first, again, another_layer = session.run([dropped, layer(ones, True), second])
            same_name = session.run(third)
            session.run(step.assign_add(1))
            next_step, untouched = session.run([dropped, idle])
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert first.mean() == pytest.approx(1.0, abs=0.03)
    assert np.unique(first).tolist() == pytest.approx([0, 1 / 0.75])
    np.testing.assert_array_equal(first, again)
    assert (first != next_step).mean() > 0.3
    assert (first != another_layer).mean() > 0.3
    assert (first != same_name).mean() > 0.3
    assert (untouched == 1).all()


class Twice(MLP):
    """With two variables that are drawn in the same way, by a tensor and by a function."""

    def build(self, input_shape):
        normal = tf.random.normal
        self.one, self.two = (tf.Variable(normal([9]), False, name="drawn") for _ in range(2))
        self.three = self.add_weight("weights", [9, 9], initializer="orthogonal", trainable=False)
        super().build(input_shape)


def test_the_seed_of_an_initializer_of_ones_own_counts():
    def initial(name, seed):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            layer = tf.keras.layers.Dense(3, name=name)
            layer.kernel_initializer = tf.keras.initializers.glorot_uniform(seed=seed)
            outer = MLP()
            outer.build = lambda shape: None
            outer.call = lambda inputs, training=False: layer(inputs)
            outer(tf.zeros([2, 3]))
            session.run(tf.global_variables_initializer())
            return session.run(layer.kernel)

    assert np.array_equal(initial("one", 3), initial("two", 3))
    assert not np.array_equal(initial("one", 3), initial("one", 4))
    assert not np.array_equal(initial("one", None), initial("two", None))


def test_initial_weights_depend_on_the_seed_and_on_names_alone():
    def initial(seed, others):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(seed)
            for _ in range(others):  # what an input would make
                tf.zeros([])
            model = Twice(hidden=4)
            model.build_step(tf.zeros([2, 3]), tf.zeros([2], tf.int32))
            session.run(tf.global_variables_initializer())
            return session.run([model.one, model.two, model.three, *model.trainable_variables])

    one = initial(1, 0)
    assert all(np.array_equal(*pair) for pair in zip(one, initial(1, 50)))
    assert not any(np.array_equal(*pair) for pair in zip(one[:3], initial(2, 0)))
    assert not np.array_equal(one[0], one[1])
    # The same on both runtimes.
    np.testing.assert_allclose(one[0][:3], [1.55747, 0.86046, -0.91083], atol=1e-4)
    np.testing.assert_allclose(one[2][0, :3], [0.28264, 0.40588, -0.37359], atol=1e-4)
