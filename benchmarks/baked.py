"""A project baked to be measured in, and what was found there next to the aims."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from environments import RUNTIMES, make_environment  # noqa: E402

BENCHMARKS = ROOT / "benchmarks"


@contextlib.contextmanager
def running(command: list[str], folder: str, limit_secs: float) -> Iterator[subprocess.Popen]:
    """A process whose lines can be read; killed after so long, with those that it started."""
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=folder, **out) as process:
        timer = threading.Timer(limit_secs, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()


def note_process(line: str, ids: dict[str, list[int]]) -> None:
    """Adds the process that a line of `launch` names to those of its role."""
    started = re.search(r" (\w+ \d+) is process (\d+)", line)
    if started:
        ids.setdefault(started[1], []).append(int(started[2]))


def left(ids: dict[str, list[int]]) -> list[int]:
    """Those that still run."""
    return [each for same in ids.values() for each in same if _is_alive(each)]


def _is_alive(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def show(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


class Cases:
    """Runs the cases of a script, each in a process of its own, in a project baked for them.

    Args:
        script: of this folder; prints its figures as a line of JSON.
        runtime: one of RUNTIMES.
        folder: where the project is baked.
        packages: a folder with more packages for the project's Python.
        answers: to the template's prompts; default its own.
    """

    def __init__(
        self, script: str, runtime: str, folder: str, packages: str = "", **answers: str
    ) -> None:
        self.script = BENCHMARKS / script
        self.python = make_environment(runtime)
        config = Path(folder, "config.json")
        config.write_text(json.dumps({"replay_dir": folder, "cookiecutters_dir": folder}))
        options = {"config_file": str(config), "output_dir": folder, "extra_context": answers}
        self.project = cookiecutter(str(ROOT), no_input=True, **options)
        self.path = os.pathsep.join(filter(None, [self.project, packages]))

    def run(self, *arguments: object) -> dict[str, float]:
        """The figures of a case, which it also prints."""
        done = subprocess.run(
            [str(word) for word in [self.python, self.script, *arguments]],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": self.path, "TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            case = f"{self.script.name} {' '.join(map(str, arguments))}"
            sys.exit(f"{done.stderr}\nerror: {case} ended with {done.returncode}")
        figures = json.loads(done.stdout.splitlines()[-1])
        if figures:
            shown = "  ".join(f"{key} {show(value)}" for key, value in figures.items())
            words = " ".join(os.path.basename(str(word)) for word in arguments if word != 0)
            print(f"{words:36} {shown}", flush=True)
        return figures


def print_aims(table: list[tuple[str, float, str, float]]) -> None:
    """Rows of name, what was found, ">=" or "<=", and what is aimed at."""
    print(f"\n{'':48} {'found':>10}    {'aim':>8}")
    for name, found, sign, aim in table:
        reached = found >= aim if sign == ">=" else found <= aim
        print(f"{name:48} {show(found):>10} {sign} {aim:8,}{'' if reached else '  missed'}")


__all__ = ["BENCHMARKS", "ROOT", "RUNTIMES", "Cases", "left", "note_process", "print_aims"]
__all__ += ["running", "show"]
