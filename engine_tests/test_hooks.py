"""Hooks: each alone in a MonitoredTrainingSession of one's own, then all in a run."""

import glob
import io
import json
import logging
import os
import re
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.input.elements import iterate
from my_project.engine.loop import overview
from my_project.engine.loop.nan import NanHook
from my_project.engine.loop.profile import ProfileHook
from my_project.engine.loop.progress import ProgressHook
from my_project.engine.loop.stream_position import position_hooks, training_iterator
from my_project.engine.run import devices
from my_project.engine.run.metrics import append_metrics, read_metrics
from my_project.engine.run.run import Run
from my_project.engine.settings.config import instantiate, load_config
from my_project.model.mlp import MLP
from my_project.train.hooks.best import BestHook, read_best
from my_project.train.hooks.early_stop import EarlyStopHook
from my_project.train.hooks.evaluate import EvaluateHook
from my_project.train.hooks.every import EveryHook
from my_project.train.hooks.summary import SummaryHook
from omegaconf import OmegaConf


class Scripted:
    """Stands for an `Evaluation`: after n steps it finds these numbers."""

    split, names, losses = "test", ["loss", "size"], ["loss"]

    def __init__(self, numbers):
        self.numbers = numbers  # step -> loss

    def run(self, session, stopped):
        step = session.run(tf.train.get_global_step(session.graph))
        return {"loss": self.numbers[step], "size": float(step)}


class Plain:
    """Somebody's own graph and session: a weight that goes from 0 to 3, a step at a time."""

    def __init__(self, directory, numbers=None, every=10):
        self.directory, self.numbers, self.every = str(directory), numbers, every

    def train(self, make_hooks, last_step=30):
        """Restores the newest checkpoint, trains, saves; returns the number of steps done."""
        with tf.Graph().as_default():
            step = tf.train.get_or_create_global_step()
            weight = tf.get_variable("weight", [], initializer=tf.zeros_initializer())
            self.loss = tf.square(weight - 3.0, name="loss")
            self.saver = tf.train.Saver()
            self.train_op = tf.train.GradientDescentOptimizer(0.1).minimize(self.loss, step)
            metrics = f"{self.directory}/metrics.jsonl"
            self.evaluate = EvaluateHook(
                Scripted(self.numbers), self.directory, metrics, self.every
            )
            hooks = [self.evaluate] if self.numbers else []
            with tf.train.MonitoredTrainingSession(
                checkpoint_dir=self.directory,
                hooks=[tf.train.StopAtStepHook(last_step=last_step), *hooks, *make_hooks(self)],
                save_checkpoint_steps=10**6,  # which it also does at the end
                save_summaries_steps=None,
                log_step_count_steps=None,
            ) as session:
                while not session.should_stop():
                    session.run(self.train_op)
        return int(tf.train.latest_checkpoint(self.directory).rpartition("-")[2])


def weight_in(checkpoint):
    return float(tf.train.load_checkpoint(checkpoint).get_tensor("weight"))


def best_of(directory, **arguments):
    return lambda plain: [BestHook(plain.evaluate, str(directory), plain.saver, **arguments)]


@pytest.mark.parametrize(("mode", "step"), [("min", 20), ("max", 30)])
def test_the_checkpoint_of_the_best_evaluation_is_kept_alone(tmp_path, mode, step):
    numbers = {10: 0.5, 20: 0.25, 30: 0.75, 40: float("nan"), 50: float("inf"), 60: 0.5}
    plain = Plain(tmp_path / "run", numbers)
    plain.train(best_of(tmp_path / "best", mode=mode), last_step=60)
    names = {name.partition(".data")[0] for name in os.listdir(str(tmp_path / "best"))}
    assert names == {"best.json", f"model.ckpt-{step}", f"model.ckpt-{step}.index"}
    best = json.loads((tmp_path / "best" / "best.json").read_text())
    assert best == {
        "step": step,
        "metric": "loss",
        "value": numbers[step],
        "metrics": {"loss": numbers[step], "size": step},
        "checkpoint": f"model.ckpt-{step}",
    }
    checkpoint = read_best(str(tmp_path / "best"))["checkpoint"]
    assert weight_in(checkpoint) == pytest.approx(3 - 3 * 0.8**step, rel=1e-4)


def test_after_a_restart_a_worse_evaluation_is_not_the_best(tmp_path):
    plain = Plain(tmp_path / "run", {10: 0.5, 20: 0.25, 30: 0.3, 40: 0.2})
    for last_step, best in ((20, 20), (30, 20), (40, 40)):
        plain.train(best_of(tmp_path / "best"), last_step)
        assert read_best(str(tmp_path / "best"))["step"] == best


def test_the_best_by_another_number_is_compared_with_the_one_that_is_there(tmp_path):
    plain = Plain(tmp_path / "run", {10: 0.5, 20: 0.25, 30: 0.3})
    plain.train(best_of(tmp_path / "best"), 20)
    plain.train(best_of(tmp_path / "best", metric="size", mode="max"), 30)
    assert read_best(str(tmp_path / "best"))["value"] == 30


def test_a_best_that_was_killed_while_it_was_written_leaves_the_one_before(tmp_path, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    plain = Plain(tmp_path / "run", {10: 0.5, 20: 0.25, 30: 0.1})
    plain.train(best_of(tmp_path / "best"), 10)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        plain.train(best_of(tmp_path / "best"), 20)
    monkeypatch.undo()
    best = read_best(str(tmp_path / "best"))
    assert best["step"] == 10
    assert weight_in(best["checkpoint"]) == pytest.approx(3 - 3 * 0.8**10, rel=1e-4)
    plain.train(best_of(tmp_path / "best"), 30)
    assert read_best(str(tmp_path / "best"))["step"] == 30
    assert len(os.listdir(str(tmp_path / "best"))) == 3  # what was left over is gone


def test_a_training_from_the_start_forgets_the_best_of_other_weights(tmp_path):
    Plain(tmp_path / "one", {10: 0.1}).train(best_of(tmp_path / "best"), 10)
    Plain(tmp_path / "two", {20: 0.5}, every=20).train(best_of(tmp_path / "best"), 20)
    assert read_best(str(tmp_path / "best"))["step"] == 20


@pytest.mark.parametrize("hook", [BestHook, EarlyStopHook])
def test_an_unknown_number_or_mode_is_named_with_what_there_is(tmp_path, hook):
    more = [str(tmp_path / "best"), None] if hook is BestHook else []
    for arguments, message in (
        ({"metric": "acuracy"}, r'found metric="acuracy"; expected one .*: loss, size'),
        ({"mode": "mx"}, 'found mode="mx", expected min or max'),
    ):
        with pytest.raises(ConfigError, match=f"{hook.__name__}: {message}"):
            Plain(tmp_path / "run", {10: 0.5}).train(
                lambda plain, chosen=arguments: [hook(plain.evaluate, *more, **chosen)]
            )


def stops(**arguments):
    return lambda plain: [EarlyStopHook(plain.evaluate, **arguments)]


@pytest.mark.parametrize(
    ("arguments", "losses", "stop"),
    [
        ({"patience": 2}, [5, 4, 4, 3, 3, 3, 1], 60),  # an equal one is no better
        ({"patience": 2, "min_delta": 1.5}, [5, 4, 3, 2, 1, 0.5, 0.2], 70),
        ({"patience": 2, "mode": "max"}, [5, 4, 3, 9], 30),
        ({"patience": 2}, [5, float("nan"), 4, float("nan"), float("nan"), 1], 50),
        ({"patience": 1}, [float("nan"), 5], 10),
        ({"patience": 4}, [5, 5, 5, 5, 4, 6, 6, 6], 80),
    ],
)
def test_training_stops_after_so_many_evaluations_that_are_no_better(
    tmp_path, arguments, losses, stop
):
    numbers = {10 * (i + 1): loss for i, loss in enumerate(losses)}
    assert Plain(tmp_path, numbers).train(stops(**arguments), 10 * len(losses)) == stop


@pytest.mark.parametrize("restart", [10, 20, 25, 35])
def test_a_restart_goes_on_counting_evaluations(tmp_path, restart):
    plain = Plain(tmp_path, {10: 1.0, 20: 2.0, 30: 3.0, 40: 4.0, 50: 0.0})
    assert plain.train(stops(patience=3), restart) == restart
    # What a killed run has logged after its checkpoint does not count.
    append_metrics(plain.evaluate.metrics_file, 40, "test", {"loss": 9.0})
    assert plain.train(stops(patience=3), 50) == 40


class Terminal(io.StringIO):
    def isatty(self):
        return True


def trained_with_progress(tmp_path, monkeypatch, console):
    monkeypatch.setattr(sys, "stderr", console)
    handler = logging.StreamHandler(console)
    handler.setFormatter(logging.Formatter("LINE %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        Plain(tmp_path / "run", {3: 0.5, 6: 0.25}, every=3).train(
            lambda plain: [ProgressHook(plain.loss, 64, 7, every_n_secs=1e-9)], last_step=7
        )
        logging.getLogger().warning("the end")
    finally:
        logging.getLogger().removeHandler(handler)
    return console.getvalue()


def test_a_terminal_shows_a_bar_with_the_log_lines_above_it(tmp_path, monkeypatch):
    shown = trained_with_progress(tmp_path, monkeypatch, Terminal())
    assert "| 7/7 [" in shown
    assert "loss 0.6185, " in shown  # (3 - 3 * 0.8**6)**2
    assert " examples/s]" in shown
    lines = shown.replace("\r", "\n").splitlines()
    for line in ("LINE step 3  test: loss 0.5000", "LINE step 6  test: loss 0.2500"):
        assert [seen for seen in lines if line in seen] == [f"{line}  size {line[10]}.0000"]
    assert lines[-1] == "LINE the end"


def test_what_is_no_terminal_gets_the_log_lines_alone(tmp_path, monkeypatch):
    shown = trained_with_progress(tmp_path, monkeypatch, io.StringIO())
    lines = [line for line in shown.splitlines() if "checkpoint" not in line.lower()]
    assert [line[:10] for line in lines] == ["LINE step "] * 2 + ["LINE the e"]


def test_a_range_of_steps_is_traced_operation_by_operation(tmp_path):
    Plain(tmp_path / "run").train(lambda plain: [ProfileHook(str(tmp_path / "profile"), [3, 5])], 8)
    paths = sorted(os.listdir(str(tmp_path / "profile")))
    assert paths == ["timeline-3.json", "timeline-4.json", "timeline-5.json"]
    events = json.loads((tmp_path / "profile" / paths[0]).read_text())["traceEvents"]
    timed = [event for event in events if event.get("dur", 0) > 0]
    assert any("GradientDescent" in event["name"] for event in timed)
    devices = {event["pid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert any("cpu" in name.lower() for name in devices.values())
    for one, other in zip(timed, timed[1:]):  # of one row, each begins after the one before
        same_row = (one["pid"], one["tid"]) == (other["pid"], other["tid"])
        assert not same_row or one["ts"] + one["dur"] <= other["ts"]


def graph_of(step_op, iterator, batch):
    """The parts of a TrainingGraph that a NanHook looks at."""
    parts = {"step_op": step_op, "iterator": iterator, "batch": batch}
    return SimpleNamespace(dataset=SimpleNamespace(shard=(0, 1)), **parts)


def test_a_check_that_fails_names_step_and_operation_and_saves_the_batch(tmp_path):
    with tf.Graph().as_default():
        step = tf.train.get_or_create_global_step()
        numbers = tf.data.Dataset.range(10**6).map(lambda i: (i, tf.cast(5 - i, tf.float32)))
        iterator = tf.data.make_initializable_iterator(numbers.skip(step.read_value()))
        tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
        features, labels = iterator.get_next()
        loss = tf.math.log(labels, name="logarithm") * 2
        with tf.control_dependencies([tf.debugging.check_numerics(loss, "my loss")]):
            train_op = step.assign_add(1).op
        hook = NanHook(str(tmp_path), graph_of(train_op, iterator, (features, labels)))
        message = r"my loss after step 5; .*5\.npz; the first result .*: logarithm \(Log\);"
        with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
            for _ in range(5):
                session.run(train_op)
            with pytest.raises(RunError, match=message), hook.reported():
                session.run(train_op)
    with np.load(str(tmp_path / "batch-5.npz")) as batch:
        assert [batch["arr_0"], batch["arr_1"]] == [5, 0]


def test_other_errors_stay_what_they_are(tmp_path):
    hook = NanHook("nan", graph_of(tf.no_op(), None, ()))
    with pytest.raises(tf.errors.InvalidArgumentError, match="shape"), hook.reported():
        raise tf.errors.InvalidArgumentError(None, None, "a wrong shape")


@pytest.mark.parametrize("steps", [[5], [7, 3], [0, 3], [1, 2, 3]])
def test_what_is_no_range_of_steps_is_refused(steps):
    with pytest.raises(ConfigError, match=r"ProfileHook: found steps=.*\[first, last\]"):
        ProfileHook("profile", steps)


def test_summaries_are_written_on_multiples_with_the_settings_and_the_graph(tmp_path):
    (tmp_path / "settings.yaml").write_text("rate: 1\nlist:\n- 2\n")

    def hooks(plain):
        curve = tf.summary.scalar("curve", plain.loss)
        settings = str(tmp_path / "settings.yaml")
        return [SummaryHook(str(tmp_path / "events"), curve, 10, batch_size=64, settings=settings)]

    Plain(tmp_path / "run").train(hooks, last_step=25)
    (path,) = glob.glob(f"{tmp_path}/events/*")
    events = list(tf.train.summary_iterator(path))
    values = [(value.tag, event.step, value) for event in events for value in event.summary.value]
    for tag in ("curve", "examples_per_sec"):
        assert [step for name, step, _ in values if name == tag] == [1, 10, 20]
    (text,) = [value.tensor for name, step, value in values if (name, step) == ("settings", 1)]
    assert tf.make_ndarray(text).item() == b"    rate: 1\n    list:\n    - 2\n"
    assert any(event.graph_def for event in events)


INTERVALS = {"evaluate_every_n_steps": 10, "checkpoint_every_n_steps": 20}


def evaluations(run_dir):
    lines = read_metrics(str(run_dir / "metrics.jsonl"))
    return [(line["step"], line["loss"]) for line in lines if line["split"] == "test"]


def test_steps_inside_the_graph_leave_the_same_files_and_stop_at_the_same_step(fit, tmp_path):
    settings = {"metric": "accuracy", "mode": "max", "patience": 2, "min_delta": 0.2, **INTERVALS}
    for name, steps in (("plain", 1), ("lean", 1000)):
        model = MLP(hidden=16, ema_decay=0.9)
        fit(tmp_path / name, 200, model, steps_per_loop=steps, profile_steps=[7, 8], **settings)
        assert len(os.listdir(str(tmp_path / name / "profile"))) == 2
    plain, lean = (read_best(str(tmp_path / name / "best")) for name in ("plain", "lean"))
    assert plain["metrics"] == lean["metrics"]
    assert evaluations(tmp_path / "plain") == evaluations(tmp_path / "lean")
    assert 30 <= evaluations(tmp_path / "lean")[-1][0] < 200
    # What was evaluated is the averages; a checkpoint holds them next to the weights.
    reader = tf.train.load_checkpoint(lean["checkpoint"])
    weights, average = (reader.get_tensor(f"mlp/dense/kernel{end}") for end in ("", "/average"))
    assert np.abs(weights - average).max() > 1e-4


def test_patience_without_evaluations_is_refused(fit, tmp_path):
    with pytest.raises(ConfigError, match="there is only the last one"):
        fit(tmp_path / "run", patience=2, evaluate_every_n_steps=0)
    assert not (tmp_path / "run").exists()


def test_a_run_that_stopped_early_is_finished_until_it_gets_more_patience(fit, tmp_path, caplog):
    def state():
        paths = glob.glob(f"{tmp_path}/run/**", recursive=True)
        return {path: os.stat(path).st_mtime_ns for path in paths}

    caplog.set_level(logging.INFO)
    settings = {"last_step": 60, "min_delta": 100.0, **INTERVALS}  # which no loss falls by
    results = fit(tmp_path / "run", patience=3, **settings)
    assert os.path.exists(str(tmp_path / "run" / "checkpoints" / "model.ckpt-40.index"))
    before = state()
    assert fit(tmp_path / "run", patience=3, **settings) == results
    assert state() == before
    line = "is finished: loss was no better in 3 evaluations than at step 10"
    assert caplog.records[-1].getMessage() == f"{tmp_path}/run {line}"
    fit(tmp_path / "run", patience=4, **settings)
    assert [step for step, _ in evaluations(tmp_path / "run")] == [10, 20, 30, 40, 50]


class Explodes(MLP):
    """Its loss is the logarithm of 0 after 24 steps."""

    def loss(self, outputs, labels):
        step = tf.cast(tf.train.get_global_step().read_value(), tf.float32)
        return super().loss(outputs, labels) - 1e-6 * tf.math.log(24 - step, name="too_far")


@pytest.mark.parametrize("memory_fraction", [0.25, 0.0])
def test_a_step_inside_the_graph_that_fails_is_looked_at_in_the_open(
    fit, tmp_path, digits, memory_fraction
):
    def train_batches():
        tf.set_random_seed(1)  # as the trainer does
        return digits.batches("train", True)

    digits.memory_fraction, digits.shuffle_buffer = memory_fraction, 100
    message = r"is not finite after step 24; .*batch-24\.npz; .*: \S*too_far \(Log\)"
    # The second time it resumes from step 20, as with debug=nan.
    for settings in ({"log_every_n_steps": 0}, {"log_every_n_steps": 1, "steps_per_loop": 1}):
        with pytest.raises(RunError, match=message):
            fit(tmp_path / "run", model=Explodes(hidden=16), **INTERVALS, **settings)
    assert read_metrics(str(tmp_path / "run" / "metrics.jsonl"))[-1]["step"] == 24
    *_, expected = (batch for _, batch in zip(range(25), iterate(train_batches)))
    with np.load(str(tmp_path / "run" / "nan" / "batch-24.npz")) as batch:
        for name, array in zip(("arr_0", "arr_1"), expected):
            np.testing.assert_array_equal(batch[name], array)


def test_only_some_batches_come_again_and_again_also_after_a_restart(tmp_path, digits):
    def labels_from(step):
        with tf.Graph().as_default(), tf.Session() as session:
            iterator = training_iterator(digits, limit=3)
            inputs = position_hooks(iterator, digits, Run(str(tmp_path)), limit=3)
            assert not inputs
            session.run(tf.global_variables_initializer())
            tf.train.get_global_step().load(step, session)
            session.run(iterator.initializer)
            _, labels = iterator.get_next()
            return [session.run(labels).tolist() for _ in range(5)]

    first = labels_from(0)
    assert first[0] == first[3] != first[1] == first[4] != first[2]
    assert labels_from(7) == [first[1], first[2], *first[:3]]


@pytest.fixture
def load(tmp_path):
    """The settings of the run in `run`: load("debug=limit", ...)."""
    return lambda *settings: load_config(["data=digits", f"run_dir={tmp_path / 'run'}", *settings])


def test_debug_overfit_brings_the_loss_of_one_batch_near_zero(tmp_path, digits, load):
    config = load("debug=overfit", "trainer.last_step=100")
    instantiate(config.trainer).fit(instantiate(config.model), digits)
    lines = read_metrics(str(tmp_path / "run" / "metrics.jsonl"))
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert losses[-1] < 0.02 * losses[0]


def test_a_preset_that_trains_on_a_few_batches_is_refused_for_a_run_that_has_all(tmp_path, load):
    plain = load()
    os.makedirs(str(tmp_path / "run" / "checkpoints"))
    (tmp_path / "run" / "checkpoints" / "model.ckpt-1.index").write_text("")
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(plain, resolve=True))
    for debug, batches in (("overfit", 1), ("limit", 2)):
        with pytest.raises(ConfigError, match=f"trainer.limit_batches was 0, is {batches}"):
            load(f"debug={debug}")


@pytest.mark.parametrize(
    ("debug", "key", "value"),
    [
        ("profile", "profile_steps", [101, 105]),
        ("nan", "steps_per_loop", 1),
    ],
)
def test_a_debug_preset_changes_a_run_that_goes_on_and_is_not_held_against_it(
    tmp_path, load, debug, key, value
):
    plain = load()
    assert load(f"debug={debug}").trainer[key] == value != plain.trainer[key]
    os.makedirs(str(tmp_path / "run" / "checkpoints"))
    (tmp_path / "run" / "checkpoints" / "model.ckpt-1.index").write_text("")
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(plain, resolve=True))
    changed = load(f"debug={debug}", "trainer.max_to_keep=9")
    assert changed.trainer[key] == value
    assert changed.trainer.max_to_keep == 9
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(changed, resolve=True))
    assert load() == changed
    assert load("debug=none", "model.learning_rate=0.002") == changed


def test_the_log_begins_with_the_weights_of_the_model(fit, tmp_path, caplog, monkeypatch):
    fit(tmp_path / "run", last_step=1, model=MLP(hidden=16, freeze=["dense/bias"]))
    lines = (tmp_path / "run/train.log").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if "weights" in line)
    assert lines[start].endswith("mlp: 12,730 weights, 12,714 of them trained")
    assert lines[start + 1 : start + 5] == [
        "  mlp/dense/kernel    (784, 16)  12,544",
        "  mlp/dense_1/kernel  (16, 10)      160",
        "  mlp/dense_1/bias    (10,)          10",
        "  mlp/dense/bias      (16,)          16  not trained",
    ]
    monkeypatch.setattr(overview, "MOST_SHOWN", 1)
    with tf.Graph().as_default():
        model = MLP(hidden=16)
        model(tf.zeros([1, 784]))
        overview.log_variables(model)
    assert caplog.messages[-1].splitlines()[1:] == [
        "  mlp/dense/kernel  (784, 16)  12,544",
        "  and 3 smaller variables",
    ]
    with tf.Graph().as_default():
        zeros = tf.placeholder_with_default(tf.zeros([2]), None)
        model.free = tf.Variable(zeros, name="free", validate_shape=False)
        overview.log_variables(model)
    assert caplog.messages[-1].endswith("and 4 smaller variables")  # of unknown shape, too


def test_the_log_says_what_comes_before_the_first_step(fit, tmp_path, caplog):
    caplog.set_level("INFO")
    fit(tmp_path / "run", 5, gpus="none")
    fit(tmp_path / "run", 25, log_every_n_steps=10, log_every_n_secs=1.5, gpus="none")
    found = [line for line in caplog.messages if line.startswith("steps ")]
    cores = devices.cores()
    assert found[0].startswith(f"steps 1 to 5 (0.5 epochs of 10) on the CPU ({cores} cores); eval")
    assert found[1].startswith("steps 6 to 25 (2.0 epochs of 10) on the CPU (")
    assert found[1].endswith("; log every 10 steps or 1.5 s")


def test_the_speed_that_is_logged_is_that_of_training_alone(fit, tmp_path):
    class Slow(EveryHook):
        def act(self, session, step, values):
            time.sleep(1.0)

    fit(tmp_path / "run", 40, hooks=[Slow(every_n_steps=10)], log_every_n_steps=20)
    with open(tmp_path / "run" / "metrics.jsonl") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == "train"]
    # Ten steps of 64 examples in two seconds would be 640 examples per second.
    assert [row["step"] for row in rows] == [1, 20, 40]
    assert rows[-1]["examples_per_sec"] > 3 * 640


def test_the_log_ends_with_what_the_time_went_to(fit, tmp_path, caplog):
    class Slow(EveryHook):
        def act(self, session, step, values):
            time.sleep(0.3)

    fit(tmp_path / "run", 20, hooks=[Slow(every_n_steps=10)])
    (last,) = [line for line in caplog.messages if "of start and steps" in line]
    total, steps, slow = re.match(
        r"([\d.]+) s: ([\d.]+) s of start and steps, .*Slow ([\d.]+) s", last
    ).groups()
    assert 0.6 <= float(slow) < float(total)
    assert float(steps) + float(slow) <= float(total) + 0.2
