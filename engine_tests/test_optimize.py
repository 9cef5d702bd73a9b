"""Optimizers, accumulation, averages, loss scale: what they write, and when they write nothing."""

import contextlib
import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.graph.optimize import Optimization, guard
from my_project.engine.run.devices import session_config
from my_project.engine.run.metrics import read_metrics
from my_project.engine.settings.config import instantiate, load_config
from my_project.model import schedules
from my_project.model.mlp import MLP
from toy import Normed

SGD = {"optimizer": tf.train.GradientDescentOptimizer, "learning_rate": 0.1, "clip": None}


class Slope:
    """A variable of two numbers whose gradient is what is fed."""

    def __init__(self, optimization):
        self.fed = tf.placeholder_with_default(tf.constant([1.0, -2.0]), [2])
        self.variable = tf.Variable([1.0, 2.0], name="v")
        loss = tf.reduce_sum(self.variable * self.fed)
        self.train_op = optimization.update(loss, [self.variable])

        def body(turn):
            loss = tf.reduce_sum(self.variable * self.fed)
            with tf.control_dependencies([optimization.update(loss, [self.variable])]):
                return turn + 1

        turns = {"parallel_iterations": 1, "back_prop": False}
        self.four_steps = tf.while_loop(lambda turn: turn < 4, body, [tf.constant(0)], **turns)


def run(optimization, actions):
    """The variables by name after each action: a gradient to be fed, or "loop" for 4 steps."""
    with tf.Graph().as_default():
        slope = Slope(optimization)
        everything = {variable.op.name: variable for variable in tf.global_variables()}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for action in actions:
                if isinstance(action, str):
                    session.run(slope.four_steps)
                else:
                    with contextlib.suppress(tf.errors.InvalidArgumentError):
                        session.run(slope.train_op, {slope.fed: action})
                yield session.run(everything)


def last(optimization, actions):
    return list(run(optimization, actions))[-1]


@pytest.mark.parametrize("name", ["adam", "sgd", "momentum", "rmsprop", "adagrad", "adadelta"])
def test_each_optimizer_follows_a_schedule_alike_with_one_run_per_step_and_in_the_graph(name):
    def made(schedule):
        config = load_config([f"optimizer={name}", "model.learning_rate=0.1"])
        optimization = instantiate(config.model).optimization
        optimization.schedule = schedule
        return optimization

    falling = schedules.exponential(1, 0.5)
    one_by_one = last(made(falling), [[1.0, -2.0]] * 5)
    in_the_graph = last(made(falling), [[1.0, -2.0], "loop"])
    assert set(one_by_one) == set(in_the_graph)
    for key, value in one_by_one.items():
        np.testing.assert_array_equal(value, in_the_graph[key], err_msg=key)
    assert one_by_one["global_step"] == 5
    assert not np.array_equal(one_by_one["v"], last(made(schedules.constant()), ["loop"] * 2)["v"])


@pytest.mark.parametrize(
    "optimizer",
    [
        tf.train.FtrlOptimizer,
        tf.train.ProximalAdagradOptimizer,
        tf.train.ProximalGradientDescentOptimizer,
        tf.keras.optimizers.SGD,
    ],
)
def test_an_optimizer_that_could_not_follow_a_schedule_is_named(optimizer):
    with pytest.raises(ConfigError, match=f"{optimizer.__name__} is not an .* these are Adam, Mom"):
        MLP(optimizer=optimizer)


def test_gradients_of_several_batches_make_one_update_by_their_mean():
    batches = [[1.0, 0.0], [3.0, 6.0], [5.0, 0.0], [1.0, 1.0]]
    states = list(run(Optimization(accumulate=3, **SGD), batches))
    assert [state["global_step"] for state in states] == [1, 2, 3, 4]
    values = [state["v"].tolist() for state in states]
    assert values == [[1, 2], [1, 2], pytest.approx([0.7, 1.8]), pytest.approx([0.7, 1.8])]
    sums = [state["v/gradient_sum"].tolist() for state in states]
    assert sums == [pytest.approx(s) for s in ([1 / 3, 0], [4 / 3, 2], [0, 0], [1 / 3, 1 / 3])]


def test_the_mean_of_several_batches_is_clipped_not_each_of_them():
    clipped = Optimization(**{**SGD, "accumulate": 2, "clip": {"value": 1.0}})
    assert last(clipped, [[10.0, 3.0], [-9.0, 5.0]])["v"] == pytest.approx([0.95, 1.9])


def test_an_average_starts_with_the_first_weights_and_follows_them_slower_and_slower():
    states = list(run(Optimization(ema_decay=0.125, **SGD), [[1.0, -2.0]] * 5))
    expected = states[0]["v"]
    for done, state in enumerate(states):
        decay = min(0.125, done / (done + 10))
        expected = decay * expected + (1 - decay) * state["v"]
        np.testing.assert_allclose(state["v/average"], expected, rtol=1e-6)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_sum_average_slot_or_weight_gets_a_number_that_is_not_finite(place, bad):
    good = [[1.0, -2.0], [0.5, 3.0], [2.0, 1.0], [0.0, 1.0]]
    arguments = {"accumulate": 2, "ema_decay": 0.9, "clip": {"global_norm": 1.0}}
    batches = [*good[:place], [1.0, bad], *good[place:]]
    states = list(run(Optimization(**arguments), batches))
    if place:
        for key, value in states[place - 1].items():
            np.testing.assert_array_equal(value, states[place][key], err_msg=key)
    for key, value in last(Optimization(**arguments), good).items():
        np.testing.assert_array_equal(value, states[-1][key], err_msg=key)


def test_gradients_accumulated_over_batches_do_not_overflow_where_their_mean_does_not():
    huge = last(Optimization(accumulate=3, **SGD), [[3e38, 0.0]] * 3)
    assert huge["v"].tolist() == pytest.approx([-3e37, 2])


def test_evaluation_before_the_first_update_has_the_first_weights(fit, tmp_path, variables):
    result = fit(tmp_path / "run", last_step=5, model=MLP(hidden=16, accumulate=5, ema_decay=0.9))
    early = fit(
        tmp_path / "early",
        last_step=5,
        model=MLP(hidden=16, accumulate=5, ema_decay=0.9),
        evaluate_every_n_steps=4,
    )
    assert early == result
    points = read_metrics(str(tmp_path / "early" / "metrics.jsonl"))
    (first,) = [p["loss"] for p in points if p["split"] == "test" and p["step"] == 4]
    without = fit(tmp_path / "without", last_step=1, model=MLP(hidden=16, learning_rate=0.0))
    assert first == pytest.approx(without["loss"], rel=1e-6)


@pytest.mark.parametrize(
    "clip", [{"value": 0.1}, {"norm": 0.1}, {"global_norm": 0.1}], ids=lambda clip: next(iter(clip))
)
@pytest.mark.parametrize("optimizer", [tf.train.GradientDescentOptimizer, tf.train.AdamOptimizer])
def test_rows_of_a_table_that_occur_several_times_in_a_batch_are_clipped_by_their_sum(
    clip, optimizer
):
    with tf.Graph().as_default(), tf.Session() as session:
        table = tf.Variable(tf.zeros([4, 2]), name="table")
        rows = tf.gather(table, [2, 2, 2, 2, 0])
        optimization = Optimization(1.0, optimizer=optimizer, clip=clip)
        gradients = optimization.gradients(tf.reduce_sum(rows), [table])
        ((clipped, _),) = gradients.clipped
        with guard([gradients]):
            update = optimization.apply(gradients)
        session.run(tf.global_variables_initializer())
        found = session.run(tf.convert_to_tensor(clipped))
        session.run(update)
        moved = session.run(table)
    summed = np.array([[1, 1], [0, 0], [4, 4], [0, 0]])
    norm = np.sqrt(34.0)
    expected = np.minimum(summed, 0.1) if "value" in clip else 0.1 * summed / norm
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (moved[[1, 3]] == 0).all()
    assert (moved[[0, 2]] < 0).all()


@pytest.mark.parametrize(
    ("model", "last_step", "message"),
    [
        (
            MLP(schedule=schedules.cosine(50)),
            200,
            r"is 0 before the last step, 200; set model\.sch.*=200, and where a run resumes train",
        ),
        (MLP(accumulate=20), 10, "accumulate=20: no update in 10 steps"),
    ],
)
def test_steps_that_would_change_nothing_are_refused(fit, tmp_path, model, last_step, message):
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path / "run", last_step=last_step, model=model)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": tf.train.AdamOptimizer(0.1)}, "is not callable; expected a class of tf"),
        ({"optimizer": "adam"}, "is not callable; expected a class of tf"),
        ({"schedule": 0.5}, r"schedule=0\.5"),
        ({"freeze": ["("]}, r"model\.freeze: found \['\('\], expected regular expressions"),
        ({"warm_start": {"rename": {"(": ""}}}, r"model\.warm_start\.rename: found"),
    ],
)
def test_what_is_not_an_optimizer_schedule_or_expression_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        MLP(**settings)


def test_a_loss_scale_that_is_too_large_ends_the_run_with_its_name(fit, tmp_path):
    class Steep(MLP):
        def loss(self, outputs, labels):
            return super().loss(outputs, labels) * 1e6

    with pytest.raises(RunError, match=r"is not finite after step 0; .* model\.loss_scale.*resume"):
        fit(tmp_path / "run", model=Steep(hidden=16, loss_scale=1e36))


def test_several_losses_in_one_step_write_nothing_unless_all_are_finite():
    with tf.Graph().as_default():
        fed = tf.placeholder(tf.float32, [])
        one, other = tf.Variable(1.0, name="one"), tf.Variable(1.0, name="other")
        first, second = Optimization(**SGD), Optimization(**SGD)
        gradients = [first.gradients(one * 2.0, [one]), second.gradients(other * fed, [other])]
        with guard(gradients):
            first_op = first.apply(gradients[0])
            with tf.control_dependencies([first_op]):
                step = tf.train.get_or_create_global_step()
                train_op = second.apply(gradients[1], step)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            with pytest.raises(tf.errors.InvalidArgumentError, match="is not finite"):
                session.run(train_op, {fed: np.nan})
            assert session.run([one, other, step]) == [1, 1, 0]
            session.run(train_op, {fed: 3.0})
            assert session.run([one, other, step]) == pytest.approx([0.8, 0.7, 1])


def test_a_loss_scale_changes_no_weight_in_float32_and_switches_float16_on(
    fit, tmp_path, variables, monkeypatch
):
    seen = []
    monitored = tf.train.MonitoredTrainingSession

    def spy(**arguments):
        rewriter = arguments["config"].graph_options.rewrite_options
        seen.append(rewriter.auto_mixed_precision)
        rewriter.auto_mixed_precision = 0  # there may be a GPU here
        return monitored(**arguments)

    monkeypatch.setattr(tf.train, "MonitoredTrainingSession", spy)
    for name, scale in (("plain", 0.0), ("scaled", 128.0)):
        fit(tmp_path / name, last_step=10, model=MLP(hidden=16, loss_scale=scale))
    for key, value in variables(tmp_path / "plain").items():
        np.testing.assert_array_equal(value, variables(tmp_path / "scaled")[key], err_msg=key)
    assert seen == [0, 1]


def test_a_switch_compiles_the_graph():
    levels = [
        session_config("all", xla=xla).graph_options.optimizer_options.global_jit_level
        for xla in (False, True)
    ]
    assert levels == [tf.OptimizerOptions.DEFAULT, tf.OptimizerOptions.ON_1]


@pytest.mark.parametrize("wrong", [{"accumulate": 0}, {"ema_decay": 1.0}, {"loss_scale": -1.0}])
def test_invalid_numbers_are_errors(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        MLP(**wrong)


def test_accumulation_averages_and_a_schedule_are_bit_equal_in_the_graph_and_after_a_restart(
    fit, tmp_path, variables
):
    momentum = functools.partial(tf.train.MomentumOptimizer, momentum=0.9)
    schedule = schedules.cosine(50, warmup_steps=7)
    results = []
    for name, steps, stops in (("plain", 1, [50]), ("lean", 1000, [50]), ("again", 9, [31, 50])):
        for stop in stops:
            model = Normed(
                hidden=16,
                dropout=0.5,
                learning_rate=0.1,
                optimizer=momentum,
                schedule=schedule,
                accumulate=3,
                ema_decay=0.9,
                clip={"global_norm": 1.0},
            )
            result = fit(tmp_path / name, last_step=stop, model=model, steps_per_loop=steps)
        results.append(result)
    plain = variables(tmp_path / "plain")
    assert np.abs(plain["normed/dense/kernel/gradient_sum"]).max() > 0  # 50 is not a multiple of 3
    for name in ("lean", "again"):
        other = variables(tmp_path / name)
        assert set(other) == set(plain)
        for key, value in plain.items():
            np.testing.assert_array_equal(value, other[key], err_msg=f"{name} {key}")
    assert results[0] == results[1] == results[2]


def test_evaluation_uses_the_averages_and_leaves_the_weights(fit, tmp_path, variables, digits):
    results = {}
    for name, decay in (("without", 0.0), ("with", 0.95)):
        model = MLP(hidden=16, learning_rate=0.01, ema_decay=decay)
        often = {"evaluate_every_n_steps": 10 if decay else 0}
        results[name] = fit(tmp_path / name, model=model, **often)
    weights, averaged = (variables(tmp_path / name) for name in ("without", "with"))
    for key, value in weights.items():
        np.testing.assert_array_equal(value, averaged[key], err_msg=key)
    assert results["with"]["loss"] != pytest.approx(results["without"]["loss"], rel=1e-3)
    images, labels = digits.files("test")
    pixels = np.fromfile(images, np.uint8)[16:].reshape(130, 784).astype(np.float64) / 255
    labels = np.fromfile(labels, np.uint8)[8:]
    kernel, bias, kernel_1, bias_1 = (
        averaged[f"mlp/{name}/average"]
        for name in ("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias")
    )
    logits = np.maximum(pixels @ kernel + bias, 0) @ kernel_1 + bias_1
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(130), labels]
    assert results["with"]["loss"] == pytest.approx(loss.mean(), rel=1e-5)


def test_norms_of_gradients_and_weights_are_summarized(fit, tmp_path, variables):
    model = MLP(hidden=16, optimizer=tf.train.GradientDescentOptimizer, learning_rate=1.0)
    fit(tmp_path / "run", last_step=2, model=model, checkpoint_every_n_steps=1)
    (path,) = (tmp_path / "run").glob("events*")
    norms = {
        value.tag: value.simple_value
        for event in tf.train.summary_iterator(str(path))
        for value in event.summary.value
        if "norm" in value.tag and event.step == 2
    }
    after = variables(tmp_path / "run")
    reader = tf.train.load_checkpoint(str(tmp_path / "run" / "checkpoints" / "model.ckpt-1"))
    squares = 0.0
    for name in ("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"):
        key = f"mlp/{name}"
        gradient = np.linalg.norm(after[key] - reader.get_tensor(key))
        assert norms[f"gradient_norm/{key}"] == pytest.approx(gradient, rel=1e-3)
        assert norms[f"weight_norm/{key}"] == pytest.approx(np.linalg.norm(after[key]), rel=1e-5)
        squares += gradient**2
    assert norms["gradient_norm"] == pytest.approx(squares**0.5, rel=1e-3)
