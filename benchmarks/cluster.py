"""Trains a baked project with a parameter server: does it end, and what survives kill -9?

    python benchmarks/cluster.py                   TensorFlow 1.15, some twenty minutes
    python benchmarks/cluster.py --runtime tf2     TensorFlow 2.x
    python benchmarks/cluster.py --quick           two runs, one kill each: does it work?

All runs train the MLP on drawn digits. In each, every role must end with exit code 0 and leave no
process behind, with a checkpoint at the last step or up to a step for each worker beyond it. A role
that was killed must have taken part again, and nothing may be lost of the newest checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from baked import RUNTIMES, Cases, left, note_process, print_aims, running

SETTINGS = ["data=digits", "data.batch_size=64", "trainer.checkpoint_every_n_steps=50"]
SETTINGS += ["trainer.log_every_n_steps=50"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
LIMIT_SECS = 120  # of a run of some seconds; longer is a hang
KILL_AT = 500  # step
# What a role says that takes part.
WORKS = {"worker": r"step \d+  loss", "ps": "trainers, ", "evaluator": r"step \d+  test"}


def checkpoint_steps(run_dir: Path) -> list[int]:
    return sorted(int(p.stem.split("-")[1]) for p in run_dir.glob("checkpoints/*.index"))


def launch(cases: Cases, run_dir: Path, steps: int, *arguments: str, kill: str = "") -> float:
    """One run of a cluster, with kill -9 of a role on the way; returns its seconds.

    Exits with what it printed unless all is as it must be.
    """
    command = [str(cases.python), "-m", "my_project.launch", *SETTINGS, *arguments]
    command += [f"trainer.last_step={steps}", f"run_dir={run_dir}", "--restarts", "1"]
    command += ["trainer.cluster_wait_secs=60", "--ps", "1"]
    start, lines, ids, newest, killed = time.perf_counter(), [], {}, 0, 0
    with running(command, cases.project, LIMIT_SECS) as launcher:
        for line in launcher.stdout:
            lines.append(line)
            note_process(line, ids)
            step = re.search(r"\] .* step (\d+)  loss", line)
            if kill and not newest and step and int(step[1]) >= KILL_AT:
                newest = (checkpoint_steps(run_dir) or [0])[-1]
                if newest:  # a worker may be far ahead of the chief's first one
                    os.kill(ids[kill][0], signal.SIGKILL)
            if line.endswith(f" {kill} ended with 137\n"):
                killed = len(lines)
    secs = time.perf_counter() - start
    found = (checkpoint_steps(run_dir) or [0])[-1]
    workers = sum(name.startswith("worker") for name in ids)
    faults = [f"process {each} is left" for each in left(ids)]
    if not steps <= found <= steps + workers:
        faults.append(f"the last checkpoint is {found}")
    ends = dict(re.findall(r" (\w+ \d+) ended with (\d+)\n", "".join(lines)))
    faults += [f"{name} ended with {code}" for name, code in ends.items() if code != "0"]
    if launcher.returncode or set(ends) != set(ids):
        faults.append(f"code {launcher.returncode}, and these ended: {list(ends)}")
    if kill:
        later = "".join(lines[killed:])
        if not re.search(rf"^\[{kill}\] .*{WORKS[kill.split()[0]]}", later, re.M):
            faults.append(f"{kill} did not take part again")
        resumed = re.findall(r"^\[worker 0\] .* step (\d+)  loss", later, re.M)
        if not killed or min(map(int, resumed), default=0) < newest:
            faults.append(f"the chief resumed before its checkpoint {newest}")
    if faults:
        sys.exit(f"{''.join(lines)}\nerror: {'; '.join(faults)}")
    return secs


def accuracy(cases: Cases, run_dir: Path) -> float:
    """Of the newest checkpoint, in percent."""
    command = [cases.python, "-m", "my_project.evaluate", f"run_dir={run_dir}"]
    subprocess.run(command, cwd=cases.project, check=True, **QUIET)
    (file,) = run_dir.glob("evaluation/*.json")
    return 100 * json.loads(file.read_text())["accuracy"]


def steps_per_sec(run_dir: Path) -> float:
    """Of all workers together: the median between two log lines, after the first ones."""
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    rates = [line["examples_per_sec"] / 64 for line in lines if line["split"] == "train"]
    return statistics.median(rates[2:])


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a baked project on clusters.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="tf1")
    parser.add_argument("--quick", action="store_true", help="few runs, to see that it works")
    options = parser.parse_args()
    runs, kills = (2, 1) if options.quick else (20, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = Cases("cluster.py", options.runtime, name, many_machines="yes")
        measure(cases, folder, runs, kills, 400 if options.quick else 2000)
    return 0


def measure(cases: Cases, folder: Path, runs: int, kills: int, steps: int) -> None:
    secs = [launch(cases, folder / f"run{i}", 200, "--evaluator") for i in range(runs)]
    print(f"{runs} runs of 200 steps: all ended, {min(secs):.1f} to {max(secs):.1f} s", flush=True)
    for role in ("worker 1", "worker 0", "ps 0", "evaluator 0"):
        for i in range(kills):
            launch(cases, folder / f"{role}{i}", 3000, "--evaluator", kill=role)
        print(f"kill -9 of {role}, {kills} times: it took part again, all ended", flush=True)
    one = folder / "one"
    command = [str(cases.python), "-m", "my_project.train", *SETTINGS, f"run_dir={one}"]
    command += [f"trainer.last_step={steps}", "trainer.steps_per_loop=1"]
    subprocess.run(command, cwd=cases.project, check=True, **QUIET)
    rates = {"one process": steps_per_sec(one)}
    for workers in (1, 2):
        run_dir = folder / f"1+{workers}"
        launch(cases, run_dir, steps, "--workers", str(workers))
        rates[f"1 ps + {workers}"] = steps_per_sec(run_dir)
    for name, rate in rates.items():
        print(f"{name:12} {rate:,.0f} steps/s")
    apart = accuracy(cases, one) - accuracy(cases, folder / "1+2")
    print_aims([("accuracy: one process less 1 ps + 2, points", apart, "<=", 0.5)])


if __name__ == "__main__":
    sys.exit(main())
