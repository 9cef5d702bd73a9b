"""Training: what a run directory holds afterwards, and that a restart changes nothing."""

import glob
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.digits import Digits
from my_project.data.mnist import MNIST
from my_project.engine.compat import RUNTIME
from my_project.engine.errors import (
    ConfigError,
    DataError,
    ModelError,
    RunError,
)
from my_project.engine.graph.optimize import Optimization
from my_project.engine.loop.checkpoint import CheckpointHook
from my_project.engine.loop.summaries import drop_events_after
from my_project.engine.run import metrics, start
from my_project.engine.run.devices import adapt, session_config, start_threads
from my_project.engine.run.metrics import read_metrics
from my_project.engine.run.run import Run
from my_project.model.mlp import MLP
from my_project.train.hooks.every import EveryHook
from my_project.train.hooks.log import LogHook
from my_project.train.trainer import SessionTrainer
from toy import Normed

WINDOWS = pytest.mark.skipif(os.name == "nt", reason="there it separates directories")


def summary_steps(directory):
    """Tag -> the steps at which it was written, over all event files."""
    steps = {}
    for path in sorted(glob.glob(f"{directory}/events*")):
        for event in tf.train.summary_iterator(path):
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return steps


def assert_equal(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_checkpoints_summaries_logs_and_evaluations_fall_on_multiples_and_the_last_step(
    fit,
    tmp_path,
    checkpoint_steps,
):
    fit(
        tmp_path / "run",
        last_step=35,
        checkpoint_every_n_steps=10,
        summary_every_n_steps=15,
        log_every_n_steps=10,
        evaluate_every_n_steps=20,
    )
    assert checkpoint_steps(tmp_path / "run") == [10, 20, 30, 35]
    tags = summary_steps(tmp_path / "run")
    assert tags["loss"] == tags["accuracy"] == tags["gradient_norm"] == [1, 15, 30, 35]
    assert summary_steps(tmp_path / "run" / "eval")["accuracy"] == [20, 35]
    lines = read_metrics(str(tmp_path / "run" / "metrics.jsonl"))
    assert [line["step"] for line in lines if line["split"] == "train"] == [1, 10, 20, 30, 35]
    assert [line["step"] for line in lines if line["split"] == "test"] == [20, 35]


def test_intervals_in_seconds_act_by_the_clock(fit, tmp_path, checkpoint_steps):
    often, never = {"checkpoint_every_n_secs": 1e-9}, {"checkpoint_every_n_secs": 3600.0}
    fit(tmp_path / "often", last_step=5, checkpoint_every_n_steps=0, **often)
    fit(tmp_path / "never", last_step=5, checkpoint_every_n_steps=0, **never)
    assert checkpoint_steps(tmp_path / "often") == [1, 2, 3, 4, 5]
    assert checkpoint_steps(tmp_path / "never") == [5]


def test_only_the_newest_checkpoints_are_kept_also_over_a_restart(fit, tmp_path, checkpoint_steps):
    fit(tmp_path / "run", last_step=30, checkpoint_every_n_steps=10, max_to_keep=2)
    assert checkpoint_steps(tmp_path / "run") == [20, 30]
    fit(tmp_path / "run", last_step=40, checkpoint_every_n_steps=10, max_to_keep=2)
    assert checkpoint_steps(tmp_path / "run") == [30, 40]


def test_training_learns_and_reports_what_evaluation_found(fit, tmp_path):
    results = fit(tmp_path / "run", last_step=150, model=MLP(hidden=64, learning_rate=3e-3))
    losses = [
        line["loss"]
        for line in read_metrics(str(tmp_path / "run" / "metrics.jsonl"))
        if line["split"] == "train"
    ]
    assert losses[-1] < 0.5 * losses[0]
    assert results["accuracy"] > 0.6


def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not(fit, tmp_path, variables):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        fit(tmp_path / name, last_step=20, seed=seed)
    assert_equal(variables(tmp_path / "one"), variables(tmp_path / "same"))
    kernel = "mlp/dense/kernel"
    other = variables(tmp_path / "other")
    assert not np.array_equal(variables(tmp_path / "one")[kernel], other[kernel])


def test_a_restart_gives_the_weights_of_a_run_that_was_never_stopped(
    fit,
    tmp_path,
    variables,
    checkpoint_steps,
):
    intervals = {"checkpoint_every_n_steps": 10, "log_every_n_steps": 5}
    fit(tmp_path / "straight", last_step=40, **intervals)
    for stop in (7, 10, 25):
        stopped = tmp_path / f"stopped-{stop}"
        fit(stopped, last_step=stop, **intervals)
        fit(stopped, last_step=40, **intervals)
        assert_equal(variables(tmp_path / "straight"), variables(stopped))
        assert checkpoint_steps(stopped) == sorted({10, 20, 30, 40, stop})[-5:]


def test_running_a_finished_run_again_changes_no_file_and_gives_its_results(fit, tmp_path):
    def state():
        paths = glob.glob(f"{tmp_path}/run/**", recursive=True)
        return {path: os.stat(path).st_mtime_ns for path in paths}

    results = fit(tmp_path / "run", last_step=20)
    before = state()
    assert fit(tmp_path / "run", last_step=20) == results
    assert fit(tmp_path / "run", last_step=10) == results
    assert state() == before


def test_last_epoch_sets_the_last_step(fit, tmp_path, variables):
    fit(tmp_path / "run", last_epoch=2)  # 640 examples, batches of 64
    assert variables(tmp_path / "run")["global_step"] == 20


def test_evaluation_equals_a_computation_by_hand(fit, tmp_path, variables, digits):
    results = fit(tmp_path / "run", last_step=20, model=MLP(hidden=16))
    weights = variables(tmp_path / "run")
    images, labels = digits.files("test")
    pixels = np.fromfile(images, np.uint8)[16:].reshape(130, 784).astype(np.float64) / 255
    labels = np.fromfile(labels, np.uint8)[8:]
    hidden = np.maximum(pixels @ weights["mlp/dense/kernel"] + weights["mlp/dense/bias"], 0)
    logits = hidden @ weights["mlp/dense_1/kernel"] + weights["mlp/dense_1/bias"]
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(130), labels]
    assert results["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert results["loss"] == pytest.approx(loss.mean(), rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run_in_one_line_and_is_never_saved(
    fit,
    tmp_path,
    variables,
    checkpoint_steps,
):
    class Explodes(MLP):
        def loss(self, outputs, labels):
            step = tf.train.get_global_step().read_value()
            bad = tf.where(tf.equal(step, 24), np.float32("nan"), 0.0)
            return super().loss(outputs, labels) + bad

    with pytest.raises(RunError, match=r"is not finite after step 24; nothing was written"):
        fit(tmp_path / "run", model=Explodes(), checkpoint_every_n_steps=10)
    assert checkpoint_steps(tmp_path / "run") == [10, 20]
    assert all(np.isfinite(values).all() for values in variables(tmp_path / "run").values())


@pytest.mark.parametrize("stop", [7, 25])
def test_steps_inside_the_graph_give_the_weights_of_a_plain_loop_and_are_seen_in_time(
    fit,
    tmp_path,
    variables,
    stop,
    checkpoint_steps,
):
    intervals = {"checkpoint_every_n_steps": 10, "log_every_n_steps": 15}
    for name, steps in (("plain", 1), ("lean", 1000), ("capped", 4)):
        fit(tmp_path / name, last_step=stop, steps_per_loop=steps, **intervals)
        fit(tmp_path / name, last_step=40, steps_per_loop=steps, **intervals)
    for name in ("lean", "capped"):
        assert_equal(variables(tmp_path / "plain"), variables(tmp_path / name))
        assert checkpoint_steps(tmp_path / name) == checkpoint_steps(tmp_path / "plain")
        plain, other = (
            [(line["step"], line["split"], line["loss"]) for line in read_metrics(str(path))]
            for path in (tmp_path / "plain/metrics.jsonl", tmp_path / name / "metrics.jsonl")
        )
        assert plain == other


def open_runs(fit, run_dir, monkeypatch, **arguments):
    """The number of steps that ran by a session.run of their own, with hooks."""
    runs = []
    after_run = LogHook.after_run
    monkeypatch.setattr(LogHook, "after_run", lambda *a: (runs.append(1), after_run(*a))[1])
    fit(run_dir, last_step=60, log_every_n_steps=20, checkpoint_every_n_steps=30, **arguments)
    return len(runs)


def test_only_steps_that_a_hook_wants_to_see_run_in_the_open(fit, tmp_path, monkeypatch):
    assert open_runs(fit, tmp_path / "lean", monkeypatch) == 5  # 1, 20, 30, 40, 60


def test_a_hook_that_does_not_say_which_steps_it_wants_sees_all(fit, tmp_path, monkeypatch):
    assert open_runs(fit, tmp_path / "all", monkeypatch, hooks=[Recorder()]) == 60


def test_a_hook_of_ones_own_that_says_which_steps_it_wants_leaves_the_others_in_the_graph(
    fit, tmp_path, monkeypatch
):
    class Losses(EveryHook):
        def fetches(self):
            return "training/loss:0"

        def act(self, session, step, values):
            seen[step] = float(values)

    seen = {}
    hook = Losses(every_n_steps=20)
    assert open_runs(fit, tmp_path / "run", monkeypatch, hooks=[hook]) == 5  # as without it
    lines = read_metrics(str(tmp_path / "run" / "metrics.jsonl"))
    logged = {line["step"]: line["loss"] for line in lines if line["split"] == "train"}
    assert seen == {step: logged[step] for step in (20, 40, 60)}


class Recorder(tf.train.SessionRunHook):
    """A user's own hook; does something in a step."""

    def __init__(self, action=None, at=0):
        self.losses, self.action, self.at = [], action, at

    def before_run(self, run_context):
        return tf.train.SessionRunArgs("training/loss:0")

    def after_run(self, run_context, run_values):
        self.losses.append(run_values.results)
        if len(self.losses) == self.at:
            self.action()


def test_a_hook_of_ones_own_sees_every_step_and_its_loss(fit, tmp_path):
    hook = Recorder()
    fit(tmp_path / "run", last_step=12, hooks=[hook])
    assert len(hook.losses) == 12
    first = read_metrics(str(tmp_path / "run" / "metrics.jsonl"))[0]
    assert first["loss"] == pytest.approx(float(hook.losses[0]))


def test_hooks_of_tensorflow_log_as_they_do_without_us_and_its_own_notes_are_not_shown(
    fit, tmp_path, caplog
):
    logs = [
        tf.train.LoggingTensorHook({"loss": "training/loss:0"}, every_n_iter=10),
        tf.train.StepCounterHook(every_n_steps=10, output_dir=str(tmp_path)),
    ]
    fit(tmp_path / "run", 20, hooks=logs)
    lines = [r.getMessage() for r in caplog.records if r.name == "tensorflow"]
    assert {line.partition(" ")[0] for line in lines} == {"loss", "global_step/sec:"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(
    fit, tmp_path, variables, number, checkpoint_steps
):
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=f"signal {int(number)}; .*run is saved"):
        fit(tmp_path / "run", hooks=[Recorder(lambda: os.kill(os.getpid(), number), at=13)])
    assert checkpoint_steps(tmp_path / "run") in ([13], [14])
    assert signal.getsignal(number) is handler
    fit(tmp_path / "run")
    fit(tmp_path / "straight")
    assert_equal(variables(tmp_path / "straight"), variables(tmp_path / "run"))


def test_a_signal_ends_a_loop_inside_the_graph_within_a_step(
    fit, tmp_path, variables, checkpoint_steps
):
    def end_the_loop():
        while not (tmp_path / "run" / "metrics.jsonl").exists():  # before the first step
            time.sleep(0.1)
        time.sleep(1)  # in the loop now
        os.kill(os.getpid(), signal.SIGTERM)

    started = time.monotonic()
    threading.Thread(target=end_the_loop, daemon=True).start()
    endless = {"last_step": 10**7, "steps_per_loop": 10**7, "log_every_n_steps": 0}
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", checkpoint_every_n_steps=0, **endless)
    assert time.monotonic() - started < 60
    (step,) = checkpoint_steps(tmp_path / "run")
    fit(tmp_path / "run", last_step=step + 10)
    fit(tmp_path / "straight", last_step=step + 10)
    assert_equal(variables(tmp_path / "straight"), variables(tmp_path / "run"))


def test_an_error_before_the_first_step_leaves_no_run_directory(fit, tmp_path):
    def fail():
        raise RuntimeError("a bug")

    class Broken(Recorder):
        def begin(self):
            fail()

    with pytest.raises(RuntimeError, match="a bug"):
        fit(tmp_path / "run", hooks=[Broken()])
    assert not (tmp_path / "run").exists()


def test_data_that_vanish_before_they_are_checksummed_are_named_in_one_line(tmp_path):
    run = Run(str(tmp_path / "run"))
    run.describe(1, MNIST(str(tmp_path / "gone")), config="")
    with pytest.raises(DataError, match=r"gone/train-images.*: No such file"):
        run.write_start()


def test_what_a_killed_run_logged_after_its_checkpoint_is_not_logged_twice(fit, tmp_path):
    def crash():
        raise RuntimeError("killed")

    intervals = {"checkpoint_every_n_steps": 10, "log_every_n_steps": 5}
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path / "run", hooks=[Recorder(crash, at=18)], **intervals)
    for path in glob.glob(f"{tmp_path}/run/checkpoints/model.ckpt-18.*"):
        os.remove(path)  # a kill would not have written it
    fit(tmp_path / "run", **intervals)
    lines = read_metrics(str(tmp_path / "run" / "metrics.jsonl"))
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == [1, 5, 10, 15, 20, 25, 30]


def test_the_record_names_command_versions_seed_data_and_every_start(fit, tmp_path, digits):
    fit(tmp_path / "run", last_step=5)
    fit(tmp_path / "run", last_step=10)
    starts = json.loads((tmp_path / "run" / "record.json").read_text())["starts"]
    assert len(starts) == 2
    assert starts[0]["seed"] == 1
    assert starts[0]["versions"]["tensorflow"] == tf.__version__
    assert starts[0]["versions"]["numpy"] == np.__version__
    assert bool(starts[0]["gpu"]) == bool(tf.config.experimental.list_physical_devices("GPU"))
    assert starts[0]["runtime"] == f"tf{tf.__version__[0]}"
    assert starts[0]["data"] == starts[1]["data"]
    assert list(starts[0]["data"]) == ["train", "test"]
    assert starts[0]["data"]["train"]["files"] == 2
    assert len(starts[0]["data"]["train"]["sha256"]) == 64
    assert "step 10" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git here")
def test_the_state_of_the_code_is_found_without_a_write_into_its_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "__file__", str(tmp_path / "start.py"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    (tmp_path / "start.py").write_text("")
    for words in (["init"], ["add", "."], ["commit", "-m", "x"]):
        subprocess.run([*git, *words], check=True, stdout=subprocess.DEVNULL)
    os.utime(str(tmp_path / "start.py"), (0, 0))  # which `git status` writes into the index
    index = (tmp_path / ".git" / "index").read_bytes()
    found = [start.describe_start(1, None, {})["git"]]
    (tmp_path / "new.py").write_text("")
    found.append(start.describe_start(1, None, {})["git"])
    assert [(len(each["commit"]), each["dirty"]) for each in found] == [(40, False), (40, True)]
    assert (tmp_path / ".git" / "index").read_bytes() == index


def test_a_run_resumes_with_the_files_that_it_was_started_with_wherever_they_are(tmp_path, fit):
    def digits(name, seed=1):
        return Digits(str(tmp_path / name), 640, 130, drawing_seed=seed, batch_size=64)

    fit(tmp_path / "run", last_step=5, dataset=digits("here"))
    fit(tmp_path / "run", last_step=6, dataset=digits("there"))
    other = {"last_step": 7, "dataset": digits("other", seed=2)}
    before = (tmp_path / "run" / "record.json").read_bytes()
    with pytest.raises(RunError, match=r"split train are others .*sha256 \w{64}, now \w{64}\); .*"):
        fit(tmp_path / "run", **other)
    assert (tmp_path / "run" / "record.json").read_bytes() == before
    fit(tmp_path / "run", **other, allow_changes=["data.files"])
    starts = json.loads((tmp_path / "run" / "record.json").read_text())["starts"]
    sums = [start["data"]["train"]["sha256"] for start in starts]
    assert sums[0] == sums[1] != sums[2]


def test_settings_are_in_a_run_from_its_first_moment(tmp_path, digits):
    run = Run(str(tmp_path / "run"))
    run.describe(1, digits, "seed: 1\n")
    with run.opened():
        assert not os.path.exists(run.record)
        shutil.copytree(run.directory, str(tmp_path / "killed"))
    assert (tmp_path / "killed" / "config.yaml").read_text() == "seed: 1\n"
    Run(str(tmp_path / "killed")).check_is_run()


def test_settings_that_were_changed_are_in_the_record(tmp_path, digits):
    for hidden, last_step in ((5, 5), (6, 9)):
        trainer = SessionTrainer(run_dir=str(tmp_path / "run"), last_step=last_step)
        config = f"model: {{hidden: {hidden}, rate: 1}}"
        trainer.fit(MLP(hidden=16), digits, config=config)
    starts = json.loads((tmp_path / "run" / "record.json").read_text())["starts"]
    assert [start.get("changes") for start in starts] == [None, {"model.hidden": [5, 6]}]


def test_a_run_is_not_shared_with_another_that_is_at_work_on_it(fit, tmp_path, checkpoint_steps):
    def again():
        with pytest.raises(RunError, match="in use by another process"):
            fit(tmp_path / "run")

    fit(tmp_path / "run", last_step=5, hooks=[Recorder(again, at=3)])
    assert checkpoint_steps(tmp_path / "run") == [5]


@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_a_corrupt_checkpoint_is_skipped_for_an_older_one(
    fit, tmp_path, variables, damage, checkpoint_steps
):
    fit(tmp_path / "straight", last_step=40)
    fit(tmp_path / "run", last_step=20, checkpoint_every_n_steps=10)
    for path in glob.glob(f"{tmp_path}/run/checkpoints/model.ckpt-20.*"):
        if damage == "gone":
            os.remove(path)
        elif "data" in path:
            os.truncate(path, os.path.getsize(path) // 2)
    fit(tmp_path / "run", last_step=40)
    assert_equal(variables(tmp_path / "straight"), variables(tmp_path / "run"))
    assert checkpoint_steps(tmp_path / "run")[0] == 10


def test_after_a_corrupt_checkpoint_the_older_ones_are_still_counted(
    fit, tmp_path, monkeypatch, checkpoint_steps
):
    monkeypatch.chdir(tmp_path)  # the default directory, runs/..., is relative
    fit("run", last_step=30, checkpoint_every_n_steps=10, max_to_keep=3)
    os.remove("run/checkpoints/model.ckpt-30.index")
    fit("run", last_step=60, checkpoint_every_n_steps=10, max_to_keep=3)
    assert checkpoint_steps("run") == [40, 50, 60]
    assert "../" not in (tmp_path / "run" / "checkpoints" / "checkpoint").read_text()


def test_who_finds_a_run_in_use_removes_nothing(tmp_path):
    with Run(str(tmp_path / "run")).opened():
        with pytest.raises(RunError, match="in use"), Run(str(tmp_path / "run")).opened():
            pass
        assert (tmp_path / "run" / "lock").exists()
    assert not (tmp_path / "run").exists()  # no step was done


def test_an_optimizer_that_is_made_in_each_step_is_refused(fit, tmp_path):
    class Again(MLP):
        def optimize(self, loss, updates=(), writes=()):
            return Optimization().update(loss, self.trainable_variables, updates, writes)

    with pytest.raises(ModelError, match="created again for the loop"):
        fit(tmp_path / "run", model=Again(hidden=16))
    fit(tmp_path / "plain", model=Again(hidden=16), steps_per_loop=1)


def test_a_run_whose_checkpoints_are_all_corrupt_is_left_alone(fit, tmp_path):
    fit(tmp_path / "run", last_step=20)
    for path in glob.glob(f"{tmp_path}/run/checkpoints/*.index"):
        os.truncate(path, 10)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    with pytest.raises(RunError, match="no checkpoint there can be read"):
        fit(tmp_path / "run", last_step=40)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == metrics


def test_a_checkpoint_of_another_model_is_refused_with_names_and_shapes(fit, tmp_path):
    fit(tmp_path / "run", last_step=5)
    with pytest.raises(RunError, match=r"mlp/dense/bias is \[16\] there, \[8\] in the model"):
        fit(tmp_path / "run", last_step=10, model=MLP(hidden=8))


def test_a_run_with_a_partitioned_variable_goes_on(fit, tmp_path, variables):
    class Parts(MLP):
        def build(self, input_shape):
            halves = tf.fixed_size_partitioner(2)
            whole = tf.get_variable("offset", [10], partitioner=halves)
            self.parts = list(whole)
            super().build(input_shape)

        def call(self, inputs, training=False):
            return super().call(inputs, training) + tf.concat(self.parts, 0)

    for last_step in (5, 10):
        fit(tmp_path / "run", last_step=last_step, model=Parts(hidden=16))
    assert variables(tmp_path / "run")["offset"].shape == (10,)


def test_training_batches_that_end_are_an_error_and_what_was_trained_is_saved(
    fit,
    tmp_path,
    variables,
    digits,
    checkpoint_steps,
):
    class Ends(type(digits)):
        def batches(self, split, training=False, start_step=0):
            batches = super().batches(split, training, start_step)
            return batches.take(7) if training else batches

    dataset = Ends(os.path.dirname(digits.directory), 640, 130, batch_size=64)
    with pytest.raises(RunError, match=r"ended after step 7 of 30, .* Ends\.batches must repeat"):
        fit(tmp_path / "run", dataset=dataset)
    assert checkpoint_steps(tmp_path / "run") == [7]
    assert variables(tmp_path / "run")["global_step"] == 7


def test_random_numbers_in_the_data_that_a_restart_would_not_repeat_are_refused(
    fit, tmp_path, digits
):
    class Noisy(type(digits)):
        def convert(self, images, labels):
            features, labels = super().convert(images, labels)
            return features + tf.random.normal(tf.shape(features)), labels

    dataset = Noisy(os.path.dirname(digits.directory), 640, 130, batch_size=64)
    advice = r"RandomStandardNormal\) draws other .*: in a data set, draw them in augment, by"
    with pytest.raises(ModelError, match=advice):
        fit(tmp_path / "run", dataset=dataset)


def test_batch_normalization_is_the_same_in_the_loop_one_by_one_and_after_a_restart(
    fit, tmp_path, variables
):
    for name, steps, stops in (("plain", 1, [30]), ("lean", 1000, [30]), ("again", 9, [13, 30])):
        for stop in stops:
            model = Normed(hidden=16, name="normed")
            fit(tmp_path / name, last_step=stop, model=model, steps_per_loop=steps)
    assert_equal(variables(tmp_path / "plain"), variables(tmp_path / "lean"))
    assert_equal(variables(tmp_path / "plain"), variables(tmp_path / "again"))
    mean = variables(tmp_path / "lean")["normed/batch_normalization/moving_mean"]
    assert np.abs(mean).max() > 0


def test_a_model_is_fitted_once(fit, tmp_path):
    model = MLP(hidden=16)
    fit(tmp_path / "one", last_step=2, model=model)
    with pytest.raises(ModelError, match="create a new one to fit"):
        fit(tmp_path / "other", last_step=2, model=model)


def test_a_hook_may_make_a_variable_that_is_saved_and_restored(fit, tmp_path, variables, same):
    class Counts(tf.train.SessionRunHook):
        def begin(self):
            self.count = tf.get_variable("count", [], initializer=tf.zeros_initializer())
            self.raised = self.count.assign_add(1.0).op

        def before_run(self, run_context):
            return tf.train.SessionRunArgs(self.raised)

    fit(tmp_path / "run", last_step=5, hooks=[Counts()])
    fit(tmp_path / "run", last_step=8, hooks=[Counts()])
    assert variables(tmp_path / "run")["count"] == 8
    # Also one that is added to a run: it starts from its initial value, the model resumes.
    fit(tmp_path / "added", last_step=5)
    fit(tmp_path / "added", last_step=8, hooks=[Counts()])
    straight, added = variables(tmp_path / "run"), variables(tmp_path / "added")
    assert added.pop("count") == straight.pop("count") - 5
    assert same(added, straight)
    log = (tmp_path / "added" / "train.log").read_text()
    assert "model.ckpt-5 does not hold count: initial values" in log


def test_a_directory_that_was_removed_gets_its_events_again(fit, tmp_path):
    for _ in range(2):
        fit(tmp_path / "run", last_step=5)
        assert summary_steps(tmp_path / "run")["loss"] == [1, 5]
        assert summary_steps(tmp_path / "run" / "eval")["loss"] == [5]
        shutil.rmtree(str(tmp_path / "run"))


def test_tensorboard_is_told_to_forget_what_comes_after_the_checkpoint(fit, tmp_path):
    fit(tmp_path / "run", last_step=5)
    fit(tmp_path / "run", last_step=8)
    for directory in ("run", "run/eval"):
        starts = [
            event.step
            for path in sorted(glob.glob(f"{tmp_path}/{directory}/events*"))
            for event in tf.train.summary_iterator(path)
            if event.session_log.status == tf.SessionLog.START
        ]
        assert sorted(starts) == [1, 6]


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 2**31},
        {"hooks": ["a.B"]},
        {"last_step": 0},
        {"max_to_keep": -1},
        {"steps_per_loop": 0},
        {"intra_op_threads": -1},
        {"keep_checkpoint_every_n_hours": -1.0},
    ],
)
def test_numbers_without_a_meaning_are_refused(arguments):
    with pytest.raises(ConfigError, match=r"trainer.*found"):
        SessionTrainer(**arguments)


def test_from_python_a_path_and_numbers_of_numpy_will_do(tmp_path, digits_directory):
    dataset = Digits(digits_directory, 640, 130, batch_size=np.int64(64), seed=np.int64(1))
    trainer = SessionTrainer(run_dir=tmp_path / "run", last_step=np.int64(3))
    assert trainer.fit(MLP(hidden=16), dataset)["loss"] > 0
    assert trainer.directory == Run(tmp_path / "run").directory == str(tmp_path / "run")


def test_a_negative_interval_is_refused():
    with pytest.raises(ConfigError, match=r"CheckpointHook: found every_n_steps=-5"):
        CheckpointHook("model.ckpt", every_n_steps=-5)


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints(
    fit, tmp_path, monkeypatch, checkpoint_steps
):
    def full(*arguments, **others):
        raise tf.errors.UnknownError(None, None, "No space left on device")

    fit(tmp_path / "run", last_step=5)
    monkeypatch.setattr(tf.train.Saver, "save", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        fit(tmp_path / "run", last_step=10)
    assert checkpoint_steps(tmp_path / "run") == [5]


@pytest.mark.parametrize("held", ["data/1.csv", "events.out.tfevents.1", "model.h5"])
def test_a_directory_that_is_no_run_of_ours_is_refused_and_left_alone(tmp_path, held):
    (tmp_path / held).parent.mkdir(exist_ok=True)
    (tmp_path / held).write_text("years of work")
    message = rf"holds {held[:5]}.*, but no record\.json"
    with pytest.raises(RunError, match=message), Run(str(tmp_path)).opened():
        pass
    assert os.listdir(str(tmp_path)) == [held.partition("/")[0]]


def test_files_that_are_not_a_runs_are_no_obstacle_and_stay(fit, tmp_path):
    for name in ("out.txt", "slurm-12.out"):  # which a shell has just made for what train prints
        (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match="failed"), Run(str(tmp_path)).opened():
        raise ValueError("failed")
    assert sorted(os.listdir(str(tmp_path))) == ["out.txt", "slurm-12.out"]
    fit(tmp_path, last_step=1)
    assert {(tmp_path / name).read_text() for name in ("out.txt", "slurm-12.out")} == {"mine"}


def test_a_run_directory_that_cannot_be_made_is_named(fit, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"/checkpoints: cannot be created \(Not a directory\)"):
        fit(tmp_path / "file" / "run")


def test_the_console_says_where_the_run_is_and_how_it_goes(fit, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    fit(tmp_path / "run", last_step=5)
    lines = [record.getMessage() for record in caplog.records]
    assert f"run directory: {tmp_path}/run" in lines[:2]
    assert any(line.startswith("step 5  loss ") and "examples/s" in line for line in lines)


def test_streamed_data_have_threads_of_the_session_to_be_read_with(digits):
    config = session_config(inter_op_threads=-1)
    digits.prepare()
    adapt(config, digits, None)
    assert config.inter_op_parallelism_threads == (-1 if RUNTIME == "tf1" else 1)
    digits.memory_fraction = 0.0
    adapt(config, digits, None)
    assert config.inter_op_parallelism_threads == (0 if RUNTIME == "tf1" else 1)


STORM = """
import os, signal, time
import numpy as np
import tensorflow.compat.v1 as tf
from my_project.engine.run.devices import session_config, start_threads

config = session_config(intra_op_threads=1, inter_op_threads=-1)
start_threads(config)
signal.signal(signal.SIGUSR1, lambda *_: None)
draw = np.random.RandomState(0).standard_normal
with tf.Graph().as_default(), tf.Session(config=config) as session:
    x = tf.placeholder(tf.float32, [128, 784])
    kernel = tf.Variable(draw([784, 256]).astype("f"))
    y = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, kernel), tf.Variable(tf.zeros([256]))))
    session.run(tf.global_variables_initializer())
    examples = draw([128, 784]).astype("f")
    expected = session.run(y, {x: examples})
    process, child = os.getpid(), os.fork()
    while child == 0 and os.getppid() == process:
        os.kill(process, signal.SIGUSR1)
        time.sleep(0.0005)
    if child == 0:
        os._exit(0)
    end = time.time() + 4
    while time.time() < end:
        np.testing.assert_array_equal(session.run(y, {x: examples}), expected)
os.kill(child, signal.SIGKILL)
print("equal")
"""


def test_signals_do_not_change_what_is_computed():
    # TensorFlow 2.21 corrupts memory where a thread that multiplies matrices handles one.
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    run = subprocess.run(
        [sys.executable, "-c", STORM], cwd=root, stdout=subprocess.PIPE, timeout=90
    )
    assert (run.returncode, run.stdout.decode().strip()) == (0, "equal")


def test_the_save_of_a_streams_position_never_has_the_only_thread(monkeypatch):
    # It would wait for ever for batches that 1.15 makes in that thread.
    made = []
    session = tf.Session
    monkeypatch.setattr(
        tf, "Session", lambda graph, config: made.append(config) or session(graph=graph)
    )
    for threads in (1, 3):
        start_threads(session_config(inter_op_threads=threads))
    assert [config.inter_op_parallelism_threads for config in made] == [2, 3]


def test_devices_and_threads_reach_the_session():
    config = session_config("0,2", False, intra_op_threads=3, inter_op_threads=4)
    assert config.gpu_options.visible_device_list == "0,2"
    assert not config.gpu_options.allow_growth
    assert config.intra_op_parallelism_threads == 3
    assert config.inter_op_parallelism_threads == 4
    assert session_config("none").device_count["GPU"] == 0
    with pytest.raises(ConfigError, match='found "some"'):
        session_config("some")


def test_the_batch_of_a_nan_in_the_first_step_is_kept(fit, tmp_path):
    class Logarithm(MLP):
        def call(self, inputs, training=False):
            return tf.log(super().call(inputs, training) - 1e6)

    with pytest.raises(RunError, match="after step 0; nothing was written since, and no"):
        fit(tmp_path / "run", model=Logarithm(hidden=16))
    with np.load(str(tmp_path / "run" / "nan" / "batch-0.npz")) as batch:
        assert batch["arr_0"].shape == (64, 28, 28, 1)


def test_corrupt_lines_of_metrics_and_a_corrupt_best_are_skipped(fit, tmp_path):
    fit(tmp_path / "run", last_step=10)
    with open(str(tmp_path / "run" / "metrics.jsonl"), "a") as file:
        file.write("\0\0\0\n[]\n")
    (tmp_path / "run" / "best" / "best.json").write_text("{}")
    results = fit(tmp_path / "run", last_step=20)
    assert json.loads((tmp_path / "run" / "best" / "best.json").read_text())["step"] == 20
    lines = read_metrics(str(tmp_path / "run" / "metrics.jsonl"))
    assert lines[-1]["loss"] == results["loss"]


def test_a_trace_beyond_the_end_is_refused(fit, tmp_path):
    with pytest.raises(ConfigError, match=r"found steps=\[100, 105\]; the run ends with 30"):
        fit(tmp_path / "run", profile_steps=[100, 105])
    with pytest.raises(ConfigError, match=r"expected .first, last. from 1"):
        fit(tmp_path / "run", profile_steps=["a", "b"])


@pytest.mark.parametrize("made", ["checkpoints/model.ckpt-5.index", "worker-1"])
def test_a_new_directory_that_holds_a_checkpoint_or_anothers_log_is_not_removed(tmp_path, made):
    # The chief of a cluster may never see a step that is logged.
    with Run(str(tmp_path / "run")).opened():
        (tmp_path / "run" / made).write_text("")
    assert (tmp_path / "run" / made).exists()
    with Run(str(tmp_path / "other")).opened():
        pass
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["b[0.1]", "b]", "b*", pytest.param("b\\1", marks=WINDOWS)])
def test_a_run_directory_that_is_a_pattern_for_tensorflow_is_refused_before_it_is_made(
    fit, tmp_path, name
):
    (tmp_path / "b1").mkdir()
    with pytest.raises(ConfigError, match=r"by which TensorFlow would find the checkpoints of oth"):
        fit(tmp_path / name)
    assert os.listdir(str(tmp_path)) == ["b1"]


def test_a_start_that_fails_removes_what_it_made_alone(fit, tmp_path):
    class Broken(Recorder):
        def begin(self):
            (tmp_path / "run" / "notes.txt").write_text("written meanwhile")
            raise RuntimeError("a bug")

    for made_before in (True, False):
        if made_before:
            (tmp_path / "run").mkdir()
        with pytest.raises(RuntimeError, match="a bug"):
            fit(tmp_path / "run", hooks=[Broken()])
        assert os.listdir(str(tmp_path / "run")) == ["notes.txt"]
        shutil.rmtree(str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    with pytest.raises(RuntimeError, match="a bug"), Run(str(tmp_path / "run")).opened():
        raise RuntimeError("a bug")
    assert os.listdir(str(tmp_path / "run")) == []


def test_what_a_kill_left_of_a_checkpoint_is_removed_at_the_next_start(fit, tmp_path):
    fit(tmp_path / "run", last_step=5)
    left = [tmp_path / "run" / place for place in ("checkpoints/model.ckpt-7", "input/input-7")]
    left = [path.with_name(f"{path.name}.data-00000-of-00001.tempstate12345") for path in left]
    yours = tmp_path / "run" / "checkpoints" / "notes.tempstate1"
    for path in (*left, yours):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    fit(tmp_path / "run", last_step=10)
    assert [path.exists() for path in (*left, yours)] == [False, False, True]


def test_lines_about_training_are_no_burden_however_many(tmp_path, monkeypatch):
    path = str(tmp_path / "metrics.jsonl")
    train = '{"step": %d, "split": "train", "loss": 0.1}\n'
    test = '{"step": %d, "split": "test", "loss": %s}\n'
    yours = '{"split": "test", "step": 150, "mine": 1}\n'
    with open(path, "w") as file:
        file.writelines(train % step for step in range(1, 101))
        file.writelines([test % (100, "null"), yours, train % 200, test % (200, 0.5), "\0\n"])
        file.write('{"step": 3, "split": "tr')
    parsed, parse = [], json.loads
    monkeypatch.setattr(metrics.json, "loads", lambda text: (parsed.append(text), parse(text))[1])
    assert metrics.is_evaluated(path, "test", 100)
    assert metrics.last_metrics(path, "test") == {"loss": 0.5}
    assert metrics.stopped_early(path, "test", 200, "loss", "min", 2, 0.0) == ""
    assert not [text for text in parsed if "train" in text]
    metrics.drop_metrics_after(path, 150)
    lines = [train % step for step in range(1, 101)] + [test % (100, "null"), yours]
    with open(path) as file:
        assert file.read() == "".join(lines)
    kept = os.stat(path).st_mtime_ns
    metrics.drop_metrics_after(path, 150)
    assert os.stat(path).st_mtime_ns == kept


def test_events_after_a_corrupt_one_stay_and_a_truncated_one_goes(tmp_path):
    path = str(tmp_path / "events.out.tfevents.1.host")
    with tf.python_io.TFRecordWriter(path) as writer:
        for step in range(1, 6):
            writer.write(tf.Event(step=step, file_version="x" * 50).SerializeToString())
    with open(path, "rb") as file:
        whole = file.read()
    size = len(whole) // 5
    for found, expected in (
        (whole, whole[: 3 * size]),
        (whole[: 2 * size + 20], whole[: 2 * size]),
        (whole[: size + 30] + b"?" + whole[size + 31 :], None),
    ):
        with open(path, "wb") as file:
            file.write(found)
        drop_events_after(3, str(tmp_path))
        with open(path, "rb") as file:
            assert file.read() == (found if expected is None else expected)
