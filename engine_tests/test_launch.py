"""Clusters of this machine: they end, whoever is killed meanwhile, and leave one complete run."""

import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from my_project.engine.run.metrics import read_metrics

pytest.importorskip("my_project.launch", reason="the project is for one machine")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

PACKAGE = "my_project"
SETTINGS = ["data=digits", "data.train_examples=640", "data.test_examples=130"]
SETTINGS += ["data.batch_size=64", "model.hidden=16", "trainer.log_every_n_steps=20"]
SETTINGS += ["trainer.checkpoint_every_n_steps=20"]
LIMIT_SECS = 120  # of a cluster that needs some ten; longer is a hang


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
        for line in self.process.stdout:
            self.lines.append(line)
            started = re.search(r" (\w+ \d) is process (\d+)$", line)
            if started:
                self.ids.setdefault(started.group(1), []).append(int(started.group(2)))
            if re.search(pattern, line):
                return line
        pytest.fail(f"no line has {pattern}:\n{''.join(self.lines)}")

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
            self.lines += self.process.stdout
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

    again = launched(f"run_dir={run}", "trainer.last_step=600")
    assert again.end() == 0, "".join(again.lines)
    assert checkpoint_steps(run) == steps
    finished = [line for line in again.lines if " is finished: " in line]
    assert len(finished) == 2  # both workers


def test_the_others_train_on_with_a_chief_that_is_killed_and_started_again(
    launched, tmp_path, checkpoint_steps
):
    run = tmp_path / "run"
    cluster = launched("--restarts", "1", f"run_dir={run}", "trainer.last_step=2000")
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
    cluster = launched("--evaluator", *settings)
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
    cluster = launched(f"run_dir={tmp_path}/run", "trainer.cluster_wait_secs=8")
    cluster.read_to(r"worker 0\] .* step \d+ ")
    cluster.kill("ps 0")
    assert cluster.end() == 137, "".join(cluster.lines)
    assert re.search(r"\[worker 0\] .*error: no answer from ps 0", "".join(cluster.lines))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_end_all_and_give_their_code(launched, tmp_path, name):
    number = getattr(signal, name)
    cluster = launched(f"run_dir={tmp_path}/run")
    cluster.read_to("ps 0 is process")
    cluster.process.send_signal(number)
    assert cluster.end() == 128 + number, "".join(cluster.lines)
    assert len(cluster.ids) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")
def test_a_launcher_that_is_killed_leaves_nobody(launched, tmp_path):
    cluster = launched(f"run_dir={tmp_path}/run")
    cluster.read_to("ps 0 is process")
    cluster.process.kill()
    cluster.process.wait()
    deadline = time.monotonic() + 10
    numbers = [number for numbers in cluster.ids.values() for number in numbers]
    assert len(numbers) == 3
    while any(map(is_alive, numbers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, numbers))
