"""Clusters of this machine: they end, whoever is killed meanwhile, and leave one whole run."""

import contextlib
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from {{ cookiecutter.project_slug }}.launch import free_addresses
from {{ cookiecutter.project_slug }}.train.metrics import read_metrics

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

PACKAGE = "{{ cookiecutter.project_slug }}"
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
        """Reads on to a line with this in it; fails if there is none."""
        for line in self.process.stdout:
            self.lines.append(line)
            started = re.search(r" (\w+ \d) is process (\d+)$", line)
            if started:
                self.ids.setdefault(started.group(1), []).append(int(started.group(2)))
            if re.search(pattern, line):
                return
        pytest.fail(f"no line has {pattern}:\n{''.join(self.lines)}")

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
    cluster = launched("--evaluator", f"run_dir={run}", "trainer.last_step=600")
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


@pytest.mark.parametrize("role", ["worker 1", "worker 0", "ps 0"])
def test_a_process_that_is_killed_and_started_again_goes_on(
    launched, tmp_path, role, checkpoint_steps
):
    run = tmp_path / "run"
    cluster = launched("--restarts", "1", f"run_dir={run}", "trainer.last_step=600")
    cluster.read_to(r"worker 0\] .* step [1-9]\d\d ")
    while not checkpoint_steps(run):
        time.sleep(0.05)
    before, shown = checkpoint_steps(run)[-1], len(cluster.lines)
    os.kill(cluster.ids[role][0], signal.SIGKILL)
    cluster.read_to(f"{role} ended with 137")
    assert cluster.end() == 0, "".join(cluster.lines)
    assert 600 <= checkpoint_steps(run)[-1] <= 602
    starts = json.loads((run / "record.json").read_text())["starts"]
    assert len(starts) == (2 if role == "worker 0" else 1)
    # From the newest checkpoint, not from the start.
    later = re.findall(r"^\[worker 0\] .* step (\d+) ", "".join(cluster.lines[shown:]), re.M)
    assert min(map(int, later)) >= before


def test_a_parameter_server_that_stays_away_ends_all_and_is_named(launched, tmp_path):
    cluster = launched(f"run_dir={tmp_path}/run", "trainer.cluster_wait_secs=10")
    cluster.read_to(r"worker 0\] .* step \d+ ")
    os.kill(cluster.ids["ps 0"][0], signal.SIGKILL)
    assert cluster.end() == 137, "".join(cluster.lines)
    assert re.search(r"\[worker 0\] .*error: no answer from ps 0", "".join(cluster.lines))


def test_ctrl_c_saves_and_leaves_nobody(launched, tmp_path, checkpoint_steps):
    run = tmp_path / "run"
    cluster = launched("--evaluator", f"run_dir={run}", "trainer.last_step=100000")
    cluster.read_to(r"worker 0\] .* step \d+ ")
    cluster.process.send_signal(signal.SIGINT)
    assert cluster.end() == 130, "".join(cluster.lines)
    saved = checkpoint_steps(run)[-1]
    assert saved % 20 or saved > 20
    assert not any("ended with 137" in line for line in cluster.lines)


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


def test_the_launcher_returns_the_worst_code_and_does_not_wait_for_the_others(launched, tmp_path):
    start = time.monotonic()
    cluster = launched(f"run_dir={tmp_path}/run", "data.train_examples=32")  # less than a batch
    assert cluster.end() == 1
    assert time.monotonic() - start < 50
    assert any("[worker 0] error: Digits: data.batch_size is 64" in line for line in cluster.lines)


@pytest.mark.parametrize("arguments", [["--ps", "0"], ["--workers", "0"], ["model.hiden=1"]])
def test_a_mistake_on_the_command_line_starts_nobody(launched, arguments):
    cluster = launched(*arguments)
    assert cluster.end() == 2
    assert len(cluster.lines) == 1
    assert not cluster.ids


def test_a_cluster_without_its_chief_ends_and_names_it(digits, digits_directory, tmp_path):
    digits.prepare()
    ps, chief, worker = free_addresses(3)
    places = {"ps": [ps], "worker": [chief, worker]}
    command = [sys.executable, "-m", f"{PACKAGE}.train", *SETTINGS, f"run_dir={tmp_path}/run"]
    command += [f"data.directory={digits_directory}", "trainer.cluster_wait_secs=8"]

    def start(job, index):
        config = {"cluster": places, "task": {"type": job, "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        return subprocess.Popen(command, env=environment, **out)

    started = [start("ps", 0), start("worker", 1), start("evaluator", 0)]
    for process in started:
        shown, _ = process.communicate(timeout=LIMIT_SECS)
        assert process.returncode == 1, shown
        assert re.search(rf"^error: worker 0 \({chief}\) (stayed away|has not given)", shown, re.M)


def test_addresses_are_free_and_differ():
    addresses = free_addresses(5)
    assert len(set(addresses)) == 5
    with socket.socket() as one:
        one.bind(("127.0.0.1", int(addresses[0].split(":")[1])))
