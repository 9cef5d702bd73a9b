"""Measures the data half of a baked project beside the ways that tutorials show.

    python benchmarks/data.py                   TensorFlow 1.15, some three minutes
    python benchmarks/data.py --runtime tf2     TensorFlow 2.x
    python benchmarks/data.py --quick           small numbers and drawn digits: does it work?

Each case runs in a process of its own, one after the other; docs/benchmark.md says what they are.
MNIST is downloaded, or taken from MNIST_MIRROR.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from environments import RUNTIMES, make_environment  # noqa: E402

RECORDS = (10_000, 100_000, 1_000_000, 10_000_000)
MIB = 2**20


def show(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


class Cases:
    """Runs cases of data_cases.py in a project that is baked for them."""

    def __init__(self, runtime: str, folder: str, images: str, seconds: float) -> None:
        self.python = make_environment(runtime)
        config = Path(folder, "config.json")
        config.write_text(json.dumps({"replay_dir": folder, "cookiecutters_dir": folder}))
        self.project = cookiecutter(
            str(ROOT), no_input=True, config_file=str(config), output_dir=folder
        )
        self.images = images
        self.seconds = seconds

    def run(self, case: str, number: int = 0) -> dict[str, float]:
        """The figures of a case."""
        command = [self.python, ROOT / "benchmarks" / "data_cases.py", case]
        done = subprocess.run(
            [str(word) for word in [*command, number, self.seconds, self.images]],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": self.project, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            sys.exit(f"error: the case {case} {number} failed")
        figures = json.loads(done.stdout.splitlines()[-1])
        if figures:
            name = f"{case} {number or ''}"
            shown = "  ".join(f"{key} {show(value)}" for key, value in figures.items())
            print(f"{name:28} {shown}", flush=True)
        return figures


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the data half of a baked project.")
    parser.add_argument("--runtime", choices=RUNTIMES, default="tf1")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    options = parser.parse_args()
    records = RECORDS[:2] if options.quick else RECORDS
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("Digits", 0.2) if options.quick else ("MNIST", 3.0)
        cases = Cases(options.runtime, folder, *arguments)
        for number in (0, *records):  # 0: the images
            cases.run("write", number)
        print(f"{RUNTIMES[options.runtime]}, {os.cpu_count()} cores, batches of 128", flush=True)
        memory, py_func = cases.run("memory"), cases.run("py_func")
        streaming, autotune = cases.run("streaming"), cases.run("autotune")
        held = [cases.run("small_in_memory", number) for number in records]
        streamed = [cases.run("small_streaming", number) for number in records]

    def costs(figures: list[dict[str, float]]) -> float:
        """The dearest example of all, in examples of the cheapest."""
        rates = [one["examples_per_sec"] for one in figures]
        return max(rates) / min(rates)

    rate = "examples_per_sec"
    table = [
        ("in memory, images/s", memory[rate], ">=", 800_000),
        ("in memory : py_func for each example", memory[rate] / py_func[rate], ">=", 25),
        ("streaming TFRecord, images/s", streaming[rate], ">=", 200_000),
        ("streaming : map for each example", streaming[rate] / autotune[rate], ">=", 5),
        ("in memory, MiB over raw records", memory["mib"] - memory["raw_mib"], "<=", 100),
        (f"streaming {records[-1]:,} records, MiB", streamed[-1]["mib"], "<=", 300),
        ("in memory, first batch, s", memory["first_batch_secs"], "<=", 0.5),
        ("streaming, first batch, s", streaming["first_batch_secs"], "<=", 1),
        (f"in memory, dearest : cheapest of {len(records)} sizes", costs(held), "<=", 1.5),
        (f"streaming, dearest : cheapest of {len(records)} sizes", costs(streamed), "<=", 1.5),
    ]
    print(f"\n{'':48} {'found':>10}    {'aim':>8}")
    for name, found, sign, aim in table:
        reached = found >= aim if sign == ">=" else found <= aim
        print(f"{name:48} {show(found):>10} {sign} {aim:8,}{'' if reached else '  missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
