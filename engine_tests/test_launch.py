"""Clusters of this machine: they end, whoever is killed meanwhile, and leave one complete run."""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from my_project.engine.run.metrics import read_metrics
from my_project.model.mlp import MLP
from my_project.train.trainer import SessionTrainer

launch = pytest.importorskip("my_project.launch", reason="the project is for one machine")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

PACKAGE = "my_project"
SETTINGS = ["data=digits", "data.train_examples=640", "data.test_examples=130"]
SETTINGS += ["data.batch_size=64", "model.hidden=16", "trainer.log_every_n_steps=20"]
SETTINGS += ["trainer.checkpoint_every_n_steps=20"]
LIMIT_SECS = 300  # of a cluster that needs some ten, a minute on a busy machine; longer is a hang


# What TensorFlow 2.x writes before it can be told not to; a failure shows the lines that count.
NOISE = re.compile(r"\[.*\] ([WIE]0000 |WARNING: All log messages before absl)")


class Launched:
    """A launcher that runs; its lines are read up to one that holds a text."""

    def __init__(self, directory, *arguments):
        command = [sys.executable, "-u", "-m", f"{PACKAGE}.launch", *SETTINGS, *arguments]
        self.process = subprocess.Popen(
            [*command, f"data.directory={directory}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self.lines = []
        self.ids = {}

    def read_to(self, pattern):
        """Reads on to a line with this in it, which it returns; fails if there is none."""
        for line in self._shown():
            self.lines.append(line)
            started = re.search(r" (\w+ \d) is process (\d+)$", line)
            if started:
                self.ids.setdefault(started.group(1), []).append(int(started.group(2)))
            if re.search(pattern, line):
                return line
        pytest.fail(f"no line has {pattern}:\n{''.join(self.lines)}")

    def _shown(self):
        return (line for line in self.process.stdout if not NOISE.match(line))

    def kill(self, role):
        """Kills a role's newest process; returns when the launcher has seen it."""
        os.kill(self.ids[role][-1], signal.SIGKILL)
        self.read_to(f"{role} ended with 137")

    def kill_and_see_again(self, role):
        """Kills a role; returns when it is there again."""
        self.kill(role)
        self.read_to(rf"\[{role}\] .* trainers, ")

    def end(self):
        """Reads to the end; returns the exit code, after all processes are gone."""
        with self.process:
            self.lines += self._shown()
        everyone = [number for numbers in self.ids.values() for number in numbers]
        assert not [number for number in everyone if is_alive(number)], "".join(self.lines)
        return self.process.returncode


def is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def launched(digits, digits_directory):
    """launched(*arguments) -> Launched; one that hangs is killed."""
    digits.prepare()
    with contextlib.ExitStack() as ends:

        def launched(*arguments):
            cluster = Launched(digits_directory, *arguments)
            timer = threading.Timer(LIMIT_SECS, cluster.process.kill)
            timer.start()
            ends.callback(timer.cancel)
            ends.callback(cluster.process.kill)
            return cluster

        yield launched


def test_a_cluster_trains_evaluates_and_ends_with_one_run_written_by_the_chief(
    launched, tmp_path, checkpoint_steps
):
    run = tmp_path / "run"
    cluster = launched("--ps", "2", "--evaluator", f"run_dir={run}", "trainer.last_step=600")
    assert cluster.end() == 0, "".join(cluster.lines)
    steps = checkpoint_steps(run)
    assert 600 <= steps[-1] <= 602
    assert len(glob.glob(f"{run}/**/events*", recursive=True)) == 2
    assert len(glob.glob(f"{run}/events*")) == len(glob.glob(f"{run}/evaluator-0/eval/*")) == 1
    for role in ("", "worker-1/", "evaluator-0/"):
        assert (run / f"{role}train.log").exists()
        assert len(json.loads((run / f"{role}record.json").read_text())["starts"]) == 1
    evaluated = [line["step"] for line in read_metrics(f"{run}/evaluator-0/metrics.jsonl")]
    assert evaluated[-1] == steps[-1]
    assert json.loads((run / "best" / "best.json").read_text())["step"] in evaluated
    trained = read_metrics(f"{run}/metrics.jsonl") + read_metrics(f"{run}/worker-1/metrics.jsonl")
    assert {line["split"] for line in trained} == {"train"}
    assert any(line.startswith("[evaluator 0] test accuracy: ") for line in cluster.lines)

    again = launched("--ps", "1", f"run_dir={run}", "trainer.last_step=600")
    assert again.end() == 0, "".join(again.lines)
    assert checkpoint_steps(run) == steps
    finished = [line for line in again.lines if " is finished: " in line]
    assert len(finished) == 2  # both workers


def test_the_others_train_on_with_a_chief_that_is_killed_and_started_again(
    launched, tmp_path, checkpoint_steps
):
    run = tmp_path / "run"
    cluster = launched("--ps", "1", "--restarts", "1", f"run_dir={run}", "trainer.last_step=2000")
    cluster.read_to(r"worker 0\] .* step [1-9]\d+ ")
    while not checkpoint_steps(run):
        time.sleep(0.05)
    before = checkpoint_steps(run)[-1]
    cluster.kill_and_see_again("worker 0")  # meanwhile the other does steps
    first = re.search(r"step (\d+) ", cluster.read_to(r"worker 0\] .* step \d+ ")).group(1)
    assert before <= int(first) <= 2000  # from the newest checkpoint, not from the start
    cluster.read_to(r"worker 1\] .* step \d+ ")
    assert cluster.end() == 0, "".join(cluster.lines)
    assert 2000 <= checkpoint_steps(run)[-1] <= 2002
    assert len(json.loads((run / "record.json").read_text())["starts"]) == 2


def test_who_is_killed_and_started_again_takes_part_and_ctrl_c_saves_and_leaves_nobody(
    launched, tmp_path, checkpoint_steps
):
    run = tmp_path / "run"
    settings = ("--restarts", "1", f"run_dir={run}", "trainer.last_step=100000")
    cluster = launched("--ps", "1", "--evaluator", *settings)
    cluster.read_to(r"worker 1\] .* step [1-9]\d\d ")
    cluster.kill_and_see_again("worker 1")
    cluster.read_to(r"worker 1\] .* step \d+ ")
    before = checkpoint_steps(run)[-1]
    cluster.kill_and_see_again("ps 0")
    for role in ("worker 0", "worker 1"):
        shown = cluster.read_to(rf"{role}\] .* step \d+ ")
        assert int(re.search(r"step (\d+) ", shown).group(1)) >= before
    cluster.process.send_signal(signal.SIGINT)
    assert cluster.end() == 130, "".join(cluster.lines)
    saved = checkpoint_steps(run)[-1]
    assert saved > before
    assert int(re.findall(r"worker 0\] .* step (\d+) ", "".join(cluster.lines))[-1]) <= saved
    assert sum("ended with 137" in line for line in cluster.lines) == 2
    assert len(json.loads((run / "record.json").read_text())["starts"]) == 1


def test_a_parameter_server_that_stays_away_ends_all_and_is_named(launched, tmp_path):
    cluster = launched("--ps", "1", f"run_dir={tmp_path}/run", "trainer.cluster_wait_secs=8")
    cluster.read_to(r"worker 0\] .* step \d+ ")
    cluster.kill("ps 0")
    assert cluster.end() == 137, "".join(cluster.lines)
    assert re.search(r"\[worker 0\] .*error: no answer from ps 0", "".join(cluster.lines))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_end_all_and_give_their_code(launched, tmp_path, name):
    number = getattr(signal, name)
    cluster = launched("--ps", "1", f"run_dir={tmp_path}/run")
    cluster.read_to("ps 0 is process")
    cluster.process.send_signal(number)
    assert cluster.end() == 128 + number, "".join(cluster.lines)
    assert len(cluster.ids) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")
def test_a_launcher_that_is_killed_leaves_nobody(launched, tmp_path):
    cluster = launched("--ps", "1", f"run_dir={tmp_path}/run")
    cluster.read_to("ps 0 is process")
    cluster.process.kill()
    cluster.process.wait()
    deadline = time.monotonic() + 10
    numbers = [number for numbers in cluster.ids.values() for number in numbers]
    assert len(numbers) == 3
    while any(map(is_alive, numbers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, numbers))


IN_STEP = ["trainer.last_step=600", "trainer.evaluate_every_n_steps=200", "model.dropout=0.5"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits_directory):
    """The directory of a run of two workers in step that nobody disturbs, and what they said."""
    run = tmp_path_factory.mktemp("in_step") / "run"
    cluster = Launched(digits_directory, "--workers", "2", f"run_dir={run}", *IN_STEP)
    timer = threading.Timer(LIMIT_SECS, cluster.process.kill)
    timer.start()
    code = cluster.end()
    timer.cancel()
    assert code == 0, "".join(cluster.lines)
    return run, cluster.lines


def test_workers_in_step_are_one_run_of_the_weights_and_numbers_of_one_process(
    undisturbed, digits, tmp_path, variables, checkpoint_steps
):
    run, lines = undisturbed
    alone = tmp_path / "alone"
    every = {f"{what}_every_n_steps": 20 for what in ("log", "checkpoint")}
    every["evaluate_every_n_steps"] = 200
    model = MLP(hidden=16, dropout=0.5, learning_rate=0.002)
    SessionTrainer(run_dir=str(alone), last_step=600, **every).fit(model, digits)
    assert checkpoint_steps(run) == checkpoint_steps(alone) == [520, 540, 560, 580, 600]
    expected, found = variables(alone), variables(run)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
    pairs = list(zip(read_metrics(f"{alone}/metrics.jsonl"), read_metrics(f"{run}/metrics.jsonl")))
    assert len(pairs) == 34
    for one, other in pairs:
        assert one.pop("split") == other.pop("split")
        for line in (one, other):
            line.pop("examples_per_sec", None)
        assert other == pytest.approx(one, rel=1e-3)
    own = [name for name in os.listdir(run / "worker-1") if name.startswith(("events", "metrics"))]
    assert not own
    assert sum("test loss: " in line for line in lines) == 1  # the chief says so

    # It resumes in one process, from the same checkpoint.
    shutil.copytree(run, tmp_path / "again")
    model = MLP(hidden=16, dropout=0.5, learning_rate=0.002)
    SessionTrainer(run_dir=str(tmp_path / "again"), last_step=610, **every).fit(model, digits)
    assert checkpoint_steps(tmp_path / "again")[-1] == 610


def test_workers_in_step_end_when_one_is_killed_and_resume_bit_for_bit(
    launched, undisturbed, tmp_path, variables
):
    run = tmp_path / "run"
    settings = ["--workers", "2", "--restarts", "1", f"run_dir={run}", *IN_STEP]
    cluster = launched(*settings, "trainer.cluster_wait_secs=60")
    cluster.read_to(r"worker 0\] .* step 40 ")
    cluster.kill("worker 1")
    saved = cluster.read_to(r"worker 0\] .* is saved")  # the step that all had finished
    assert cluster.end() == 0, "".join(cluster.lines)
    shown = "".join(cluster.lines)
    assert re.search(r"worker 0\] .* worker 1 \(.*\) is gone; all end with code 134", shown)
    assert "worker 0 ended with 134" in shown
    first = int(re.search(r"step (\d+) is saved", saved).group(1)) + 1
    assert len(re.findall(rf"steps {first} to 600 ", shown)) == 2
    expected, found = variables(undisturbed[0]), variables(run)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_sigterm_to_one_worker_in_step_ends_all_after_the_same_step(
    launched, tmp_path, checkpoint_steps
):
    run = tmp_path / "run"
    cluster = launched("--workers", "2", f"run_dir={run}", "trainer.last_step=1000000")
    cluster.read_to(r"worker 0\] .* step 40 ")
    os.kill(cluster.ids["worker 1"][-1], signal.SIGTERM)
    assert cluster.end() == 143, "".join(cluster.lines)
    shown = "".join(cluster.lines)
    assert "worker 0 ended with 143" in shown
    assert "worker 1 ended with 143" in shown
    assert re.search(r"worker 0\] .* SIGTERM of another worker: saving, then leaving", shown)
    assert checkpoint_steps(run)[-1] >= 40


def test_workers_in_step_that_are_not_alike_are_named(digits, digits_directory, tmp_path):
    digits.prepare()
    places = launch.free_addresses(2)
    processes = []
    for index, hidden in enumerate((16, 17)):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": places}, "task": task})
        words = ["trainer=cluster", f"run_dir={tmp_path}/run", f"data.directory={digits_directory}"]
        words += [f"model.hidden={hidden}", "trainer.cluster_wait_secs=60"]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", f"{PACKAGE}.train", *SETTINGS, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                env={**os.environ, "TF_CONFIG": config},
            )
        )
    for process in processes:
        shown, _ = process.communicate(timeout=LIMIT_SECS)
        assert process.returncode == 2, shown
        assert re.search(r"error: worker 1 \(.*\): model.hidden is 17, but 16 for worker 0", shown)
