"""Trains a baked project in step: is it a run of one device, and what survives kill -9?

    python benchmarks/in_step.py                   TensorFlow 1.15, some forty minutes
    python benchmarks/in_step.py --runtime tf2     TensorFlow 2.x
    python benchmarks/in_step.py --quick           few runs of two models: does it work?

Each model trains for 200 steps on one device, on 2 and 4 replicas of the CPU and in 2 processes:
the largest difference of a weight from one device's, next to that of a run on one device whose
first weights were moved by one in 10 million, which shows what rounding alone grows to. Runs of two
processes must end equal, bit for bit, also with kill -9 of one of them on the way, at a random
step. A run that is killed and resumed on other numbers of replicas must end near that of one
device.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from baked import RUNTIMES, Cases, left, note_process, print_aims, running

SETTINGS = ["data=digits", "data.batch_size=64", "trainer.log_every_n_steps=20"]
SETTINGS += ["trainer.checkpoint_every_n_steps=50", "trainer.evaluate_every_n_steps=100"]
MODELS = {
    "mlp": ["model=mlp"],
    "cnn": ["model=cnn"],
    "resnet": ["model=resnet"],
    "resnet, synchronized": ["model=resnet", "model.sync=true"],
    "rnn": ["model=rnn"],
    "mlp, mixed precision": ["model=mlp", "model.loss_scale=128"],
    "cnn, momentum": ["model=cnn", "optimizer=momentum", "model.learning_rate=0.01"],
}
WORKERS = ["--workers", "2", "trainer.cluster_wait_secs=60"]
LIMIT_SECS = 600  # of a run; longer is a hang
KILLED = 600  # steps of the runs that are killed on the way


class Runs:
    """Runs of a project, each in a directory of its own.

    Each exits with what it printed unless it ends as it must.
    """

    def __init__(self, cases: Cases, folder: Path) -> None:
        self.cases, self.folder = cases, folder

    def train(self, name: str, *words: str, kill_at: int = 0) -> Path:
        """A run in one process; kill_at: the step after which it is killed."""

        def kill(ids: dict[str, list[int]], process: subprocess.Popen) -> None:
            process.kill()

        return self._run("train", name, words, kill_at, kill)

    def launch(self, name: str, *words: str, kill: str = "", kill_at: int = 0) -> Path:
        """A run of two workers in step, with kill -9 of one after a step, which starts again."""

        def kill_worker(ids: dict[str, list[int]], process: subprocess.Popen) -> None:
            os.kill(ids[kill][0], signal.SIGKILL)

        return self._run("launch", name, [*WORKERS, *words], kill_at, kill_worker)

    def _run(self, command: str, name: str, words, kill_at: int, kill: Callable) -> Path:
        run_dir = self.folder / re.sub(r"\W+", "_", name)
        settings = [*([] if run_dir.exists() else SETTINGS), *words, f"run_dir={run_dir}"]
        command = [str(self.cases.python), "-m", f"my_project.{command}", *settings]
        lines, ids, killed = [], {}, False
        with running(command, self.cases.project, LIMIT_SECS) as process:
            for line in process.stdout:
                lines.append(line)
                note_process(line, ids)
                step = re.search(r" step (\d+)  loss", line)
                if kill_at and not killed and step and int(step[1]) >= kill_at:
                    killed = True
                    time.sleep(random.random() / 5)  # anywhere in what follows
                    kill(ids, process)
        faults = [f"process {each} is left" for each in left(ids)]
        if kill_at and not killed:
            faults.append(f"it ended before step {kill_at}, and so was not killed")
        if kill_at and ids and any(len(same) != 2 for same in ids.values()):
            faults.append(f"not all started twice: {ids}")
        if process.returncode != (-signal.SIGKILL if kill_at and not ids else 0):
            faults.append(f"it ended with {process.returncode}")
        if faults:
            sys.exit(f"{''.join(lines)}\nerror: {' '.join(command)}: {'; '.join(faults)}")
        return run_dir

    def apart(self, one: Path, other: Path, what: str = "weights") -> float:
        """The largest difference of a weight, or of "all" that the last checkpoints hold."""
        return self.cases.run("apart", one, other)[what]


def compare_models(runs: Runs, names: list[str], steps: int) -> None:
    """Prints how far from one device's run each model's others end."""
    for name in names:
        words = [*MODELS[name], f"trainer.last_step={steps}"]
        one = runs.train(f"{name} 1", *words)
        others = {
            "2 replicas": runs.train(f"{name} 2", *words, "trainer.replicas=2"),
            "4 replicas": runs.train(f"{name} 4", *words, "trainer.replicas=4"),
            "2 processes": runs.launch(f"{name} workers", *words),
        }
        first = runs.train(f"{name} nudged", *words[:-1], "trainer.last_step=1")
        runs.cases.run("nudge", first)
        others["nudged"] = runs.train(f"{name} nudged", words[-1])
        found = "  ".join(f"{what} {runs.apart(one, run):.1e}" for what, run in others.items())
        print(f"{name}, {steps} steps, from one device: {found}", flush=True)


def kill_and_compare(runs: Runs, number: int, kills: int) -> list[tuple[str, float, str, float]]:
    """Runs of two processes, disturbed and not; rows for print_aims."""
    last = f"trainer.last_step={KILLED}"
    expected = runs.launch("undisturbed 0", last)
    apart = [
        runs.apart(expected, runs.launch(f"undisturbed {i}", last), "all") for i in range(1, number)
    ]
    rows = [(f"{number} runs of 2 processes, all ended; apart", max(apart, default=0), "<=", 0)]
    for role in ("worker 0", "worker 1"):
        apart = []
        for i in range(kills):
            at = random.randrange(20, KILLED - 100)
            words = [last, "--restarts", "1"]
            run = runs.launch(f"{role} killed {i}", *words, kill=role, kill_at=at)
            apart.append(runs.apart(expected, run, "all"))
        rows.append((f"kill -9 of {role}, {kills} times, all ended; apart", max(apart), "<=", 0))
    one = runs.train("alone", last)
    numbers = [1, 2, 4]
    for i in range(kills):
        at = sorted(random.sample(range(20, KILLED - 100), 3))
        for step, replicas in zip(at, random.sample(numbers, 3), strict=True):
            words = [last, f"trainer.replicas={replicas}"]
            run = runs.train(f"changing {i}", *words, kill_at=step)
        run = runs.train(f"changing {i}", f"trainer.replicas={random.choice(numbers)}")
        name = f"killed 3 times, on 1, 2 and 4 replicas ({i}); apart from one"
        rows.append((name, runs.apart(one, run), "<=", 1e-4))
    return rows


def cost(runs: Runs, steps: int) -> None:
    """Prints what a step costs in one process and in two, and on replicas."""
    for batch_size in (64, 512):
        words = ["trainer.intra_op_threads=1", f"trainer.last_step={steps}"]
        words += [f"data.batch_size={batch_size}", "trainer.evaluate_every_n_steps=0"]
        words += ["trainer.log_every_n_steps=100", "trainer.checkpoint_every_n_steps=1000"]
        found = {
            "one process": runs.train(f"cost {batch_size}", *words),
            "2 processes": runs.launch(f"cost {batch_size} workers", *words),
            "2 replicas": runs.train(f"cost {batch_size} 2", *words, "trainer.replicas=2"),
        }
        rates = {
            name: runs.cases.run("rate", run)["examples_per_sec"] for name, run in found.items()
        }
        shown = "  ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
        print(f"MLP, {batch_size} examples in a step, examples/s: {shown}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a baked project in step.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="tf1")
    parser.add_argument("--quick", action="store_true", help="few runs, to see that it works")
    parser.add_argument("--seed", type=int, default=1, help="of the steps at which runs are killed")
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as name:
        answers = {"examples": "all", "many_machines": "yes"}
        cases = Cases("in_step_cases.py", options.runtime, name, **answers)
        runs = Runs(cases, Path(name))
        cost(runs, 200 if options.quick else 4000)
        names = ["mlp", "rnn"] if options.quick else list(MODELS)
        compare_models(runs, names, 20 if options.quick else 200)
        number, kills = (2, 1) if options.quick else (20, 5)
        print_aims(kill_and_compare(runs, number, kills))
    return 0


if __name__ == "__main__":
    sys.exit(main())
