"""Trackers: what W&B, MLflow and HParams hold of a run, and that none of them can end it."""

import glob
import json
import os
import shutil
import signal
import struct
import sys
import time

import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.loop.track import TrackHook
from my_project.engine.run import trackers
from my_project.engine.run.metrics import read_metrics
from my_project.engine.run.run import Run
from my_project.engine.sweep.sweep import sweep
from my_project.model.mlp import MLP
from my_project.train.__main__ import train
from my_project.train.hooks.every import EveryHook

TRACKERS = ["wandb", "mlflow", "hparams"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Nothing is sent: W&B is offline, MLflow writes into runs/mlruns of the current directory."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path, digits_directory):
    """run(last_step, *settings) -> the exit code of `train`, in tmp_path/run."""

    def run(last_step, *settings):
        data = ["data=digits", f"data.directory={digits_directory}", "data.train_examples=640"]
        data += ["data.test_examples=130", "data.batch_size=64", "model.hidden=16"]
        every = [f"trainer.{what}_every_n_steps=10" for what in ("log", "evaluate", "checkpoint")]
        words = [f"run_dir={tmp_path}/run", f"trainer.last_step={last_step}"]
        return train([*data, *every, *words, *settings])

    return run


def wandb_records(path):
    """The records of W&B's file, whose format is that of LevelDB's log after a header."""
    with open(path, "rb") as file:
        data = file.read()
    at, record = 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:  # the rest of a block
            at += 2**15 - at % 2**15
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + size]
        if at + 7 + size > len(data):  # it is being written
            break
        at += 7 + size
        if kind in (1, 4):  # complete, or its last part
            yield record
            record = b""


class Wandb:
    """What W&B's own files hold of the runs in a run directory."""

    def __init__(self, directory):
        from wandb.proto import wandb_internal_pb2

        self.points, self.config, self.summary, self.ids, self.codes = [], {}, {}, [], []
        for path in sorted(glob.glob(f"{directory}/wandb/offline-run-*/*.wandb")):
            for data in wandb_records(path):
                self._read(wandb_internal_pb2.Record.FromString(data))

    def _read(self, record):
        if record.HasField("run"):
            self.ids.append(record.run.run_id)
            self.config.update(_items(record.run.config.update))
        elif record.HasField("config"):
            self.config.update(_items(record.config.update))
        elif record.HasField("history"):
            point = _items(record.history.item)
            self.points += [
                (point["step"], name, value)
                for name, value in point.items()
                if name != "step" and not name.startswith("_")
            ]
        elif record.HasField("summary"):
            self.summary.update(_items(record.summary.update))
        elif record.HasField("exit"):
            self.codes.append(record.exit.exit_code)


def _items(records):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in records}


def expected(run_dir):
    """(step, name, value) of all numbers in metrics.jsonl."""
    return [
        (line["step"], f"{line['split']}/{name}", value)
        for line in read_metrics(f"{run_dir}/metrics.jsonl")
        for name, value in line.items()
        if name not in ("step", "split")
    ]


def test_wandb_holds_settings_numbers_and_the_end_and_resumes_the_same_run(run, tmp_path):
    pytest.importorskip("wandb")
    assert run(20, "trainer.tracker=wandb") == 0
    assert run(40) == 0
    end = time.monotonic() + 60
    while len(Wandb(tmp_path / "run").codes) < 2:  # its own process writes them a moment later
        assert time.monotonic() < end
        time.sleep(0.1)
    found = Wandb(tmp_path / "run")
    assert sorted(found.points) == sorted(expected(tmp_path / "run"))
    assert {step for step, name, _ in found.points if name == "test/accuracy"} == {10, 20, 30, 40}
    assert found.config["model.hidden"] == 16
    assert found.config["run_dir"] == str(tmp_path / "run")
    assert len(found.ids) == 2
    assert len(set(found.ids)) == 1
    assert found.summary["status"] == "finished"
    best = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    assert found.summary["best/step"] == best["step"]
    assert found.summary["best/loss"] == pytest.approx(best["value"])
    assert found.codes == [0, 0]


def mlflow_run():
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(trackers.pathlib.Path("runs/mlruns").absolute().as_uri()))
    experiment = client.get_experiment_by_name("my_project")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def test_mlflow_holds_settings_numbers_and_the_end_and_resumes_the_same_run(run, tmp_path):
    pytest.importorskip("mlflow")
    assert run(20, "trainer.tracker=mlflow") == 0
    assert run(40) == 0
    client, found = mlflow_run()
    points = [
        (each.step, name, each.value)
        for name in found.data.metrics
        for each in client.get_metric_history(found.info.run_id, name)
    ]
    best = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    ends = [(0, "best/loss", best["value"]), (0, "best/step", best["step"])]
    assert set(points) - set(expected(tmp_path / "run")) >= set(ends)
    assert set(points) >= set(expected(tmp_path / "run"))
    assert found.data.params["model.hidden"] == "16"
    assert found.data.params["trainer.last_step"] == "20"
    assert found.data.tags["trainer.last_step"] == "40"  # a parameter stays what it was
    assert found.data.tags["run_dir"] == str(tmp_path / "run")
    assert found.info.status == "FINISHED"


def session_of(directory):
    """(settings, status) that TensorBoard's HParams finds in the event files of a directory."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    started, ended = [], []
    for path in sorted(glob.glob(f"{directory}/events.out.tfevents.*")):
        for event in tf.train.summary_iterator(path):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == metadata.PLUGIN_NAME:
                    data = plugin_data_pb2.HParamsPluginData.FromString(
                        value.metadata.plugin_data.content
                    )
                    if data.HasField("session_start_info"):
                        started.append(data.session_start_info)
                    else:
                        ended.append(data.session_end_info.status)
    (start,) = started
    settings = {
        key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()
    }
    return settings, ended


def test_hparams_holds_settings_and_the_end_once_after_a_restart_too(run, tmp_path):
    from tensorboard.plugins.hparams import api_pb2

    assert run(20, "trainer.tracker=hparams") == 0
    assert run(40) == 0
    settings, ended = session_of(tmp_path / "run")
    assert settings["model.hidden"] == 16
    assert settings["trainer.last_step"] == 40
    assert settings["model.optimizer._target_"].endswith("AdamOptimizer")
    assert ended == [api_pb2.STATUS_SUCCESS]
    assert not glob.glob(f"{tmp_path}/run/wandb")
    assert not glob.glob(f"{tmp_path}/runs")


class Tracker:
    """Stands in for a tracker: remembers what it was told, and fails where it should."""

    def __init__(self, fails=""):
        self.fails, self.told = fails, []

    def __call__(self):
        return self

    def _told(self, what, *rest):
        self.told.append((what, *rest))
        if what == self.fails:
            raise OSError(f"no network for {what}\nand more")

    def start(self, directory, known, settings):
        self._told("start", known)
        return "the run"

    def log(self, step, numbers):
        self._told("log", step)

    def end(self, status, best):
        self._told("end", status)


@pytest.fixture
def fake(monkeypatch):
    """fake(fails="") -> a Tracker in the place of HParams."""

    def fake(fails=""):
        tracker = Tracker(fails)
        monkeypatch.setitem(trackers.TRACKERS, "hparams", (tracker, "tensorboard"))
        return tracker

    return fake


@pytest.mark.parametrize("fails", ["start", "log", "end"])
def test_an_error_of_a_tracker_is_one_line_and_ends_only_tracking(
    fake, fit, tmp_path, caplog, checkpoint_steps, fails
):
    tracker = fake(fails)
    fit(tmp_path / "run", 20, tracker="hparams", log_every_n_steps=5)
    assert checkpoint_steps(tmp_path / "run") == [20]
    assert [line for line in caplog.messages if "tracking stopped" in line] == [
        f"hparams: tracking stopped, training continues: no network for {fails}"
    ]
    assert tracker.told[-1] == ("end", "failed")
    if fails == "log":  # after a restart it is told what is missing
        tracker = fake()
        fit(tmp_path / "run", 30, tracker="hparams", log_every_n_steps=5)
        steps = [step for what, step in tracker.told if what == "log"]
        assert steps == [line["step"] for line in read_metrics(f"{tmp_path}/run/metrics.jsonl")]


def test_a_run_that_fails_or_is_interrupted_is_told_so(fake, fit, tmp_path):
    class Fails(EveryHook):
        def act(self, session, step, values):
            raise ZeroDivisionError

    class Interrupts(EveryHook):
        def act(self, session, step, values):
            os.kill(os.getpid(), signal.SIGTERM)

    tracker = fake()
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path / "run", 20, tracker="hparams", hooks=[Fails(every_n_steps=7)])
    assert tracker.told == [("start", None), ("log", 1), ("end", "failed")]
    tracker = fake()
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", 20, tracker="hparams", hooks=[Interrupts(every_n_steps=9)])
    assert tracker.told[0] == ("start", "the run")
    assert tracker.told[-1] == ("end", "interrupted")


def test_a_run_that_is_tracked_from_its_middle_tells_what_was_before(fake, fit, tmp_path):
    fit(tmp_path / "run", 10)
    tracker = fake()
    fit(tmp_path / "run", 20, tracker="hparams")
    assert tracker.told[:2] == [("start", None), ("log", 1)]
    assert tracker.told[-2:] == [("log", 20), ("end", "finished")]


def test_a_gap_is_filled_and_a_copy_of_a_run_is_another(fake, fit, tmp_path):
    fake()
    fit(tmp_path / "run", 5, tracker="hparams", log_every_n_steps=5)
    fit(tmp_path / "run", 10, log_every_n_steps=5)
    shutil.copytree(str(tmp_path / "run"), str(tmp_path / "copy"))
    tracker = fake()
    fit(tmp_path / "run", 15, tracker="hparams", log_every_n_steps=5)
    steps = [step for what, step in tracker.told if what == "log"]
    assert tracker.told[0] == ("start", "the run")
    assert (steps[0], steps[-1]) == (10, 15)
    tracker = fake()
    fit(tmp_path / "copy", 15, tracker="hparams", log_every_n_steps=5)
    assert tracker.told[:2] == [("start", None), ("log", 1)]
    os.rename(str(tmp_path / "run"), str(tmp_path / "moved"))
    tracker = fake()
    fit(tmp_path / "moved", 20, tracker="hparams", log_every_n_steps=5)
    assert tracker.told[0] == ("start", "the run")


def test_keras_is_tracked_too(fake, tmp_path, digits):
    tracker = fake()
    trainer = KerasTrainer(run_dir=str(tmp_path / "run"), last_step=20, tracker="hparams")
    trainer.fit(MLP(hidden=16), digits)
    steps = [step for what, step in tracker.told if what == "log"]
    assert steps == [line["step"] for line in read_metrics(f"{tmp_path}/run/metrics.jsonl")]
    assert tracker.told[-1] == ("end", "finished")


def test_a_tracker_needs_no_step_of_its_own(tmp_path):
    assert TrackHook("hparams", Run(str(tmp_path)), lambda: None).next_step(1.0) == float("inf")


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_not_installed_and_a_mistyped_name_are_one_line(
    run, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, trackers.TRACKERS[name][1], None)
    command = rf"install\.py --extras {name}"
    for start in (run, lambda step, *words: sweep(["seed=1,2", *words])):
        with pytest.raises(ConfigError, match=command) as caught:
            start(20, f"trainer.tracker={name}")
        assert "\n" not in str(caught.value)
        mistyped = f"trainer.tracker={name}s"
        with pytest.raises(ConfigError, match=f"{mistyped}: .*did you mean {name}"):
            start(20, mistyped)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "runs").exists()
