"""Starts a whole cluster on this machine, to rehearse what runs on many.

    python -m <package>.launch --ps 1 --workers 2 data=digits trainer.last_step=500
    python -m <package>.launch --ps 2 --workers 3 --evaluator run_dir=runs/x
    python -m <package>.launch --restarts 2 ...    start again who was killed, as Kubernetes does

The first worker is the chief. All take the settings that follow; run_dir is a new directory
unless it is given. Ctrl-C ends all, after the chief has saved. The exit code is the worst one.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Iterator, Sequence

from .command import run_command
from .errors import ConfigError
from .train.config import load_config
from .train.new_directory import new_directory

logger = logging.getLogger(__name__)

END_SECS = 60.0  # how long the others may stay after the chief has ended, or after Ctrl-C


class Process:
    """A role of the cluster; its lines are shown with its name before them."""

    def __init__(self, name: str, config: dict, settings: Sequence[str], restarts: int) -> None:
        self.name = name
        self.code: int | None = None  # None while it runs
        self.told = False  # to end, by us
        self._restarts = restarts
        self._environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **os.environ,
            "TF_CONFIG": json.dumps(config),
            "PYTHONUNBUFFERED": "1",
        }
        package = __name__.rpartition(".")[0] or __package__
        self._command = [sys.executable, "-m", f"{package}.train", *settings]
        self._start()

    def _start(self) -> None:
        self._child = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the launcher alone, which passes it on
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        logger.info("%s is process %d", self.name, self._child.pid)
        self._reader = threading.Thread(target=self._show, args=(self._child.stdout,), daemon=True)
        self._reader.start()

    def _show(self, lines: Iterator[str]) -> None:
        for line in lines:
            with contextlib.suppress(BrokenPipeError):  # of `| head`; read on, or the role blocks
                print(f"[{self.name}] {line}", end="", flush=True)

    def poll(self) -> None:
        """Sees whether it has ended; one that was killed by a signal may start again."""
        code = self._child.poll() if self.code is None else None
        if code is None:
            return
        self._reader.join(5)  # its last lines
        code = 128 - code if code < 0 else code
        logger.info("%s ended with %d", self.name, code)
        if code >= 128 and self._restarts:
            self._restarts -= 1
            self._start()
        else:
            self.code = code

    def send(self, number: int) -> None:
        """A signal, after which it does not start again."""
        self._restarts = 0
        if self.code is None:
            self.told = True
            self._child.send_signal(number)


def launch(arguments: list[str]) -> int:
    """Starts the processes and waits for them; returns the worst exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--ps", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--evaluator", action="store_true")
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("settings", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if min(given.ps, given.workers) < 1:
        raise ConfigError(f"found --ps {given.ps} --workers {given.workers}; expected 1 or more")
    config = load_config(given.settings)  # a mistake is shown once
    run_dir = config.run_dir or new_directory("cluster")
    settings = [text for text in given.settings if not text.startswith("run_dir=")]
    settings.append(f"run_dir={run_dir}")

    places = free_addresses(given.ps + given.workers)
    cluster = {"worker": places[given.ps :], "ps": places[: given.ps]}
    roles = [(job, index) for job in cluster for index in range(len(cluster[job]))]
    roles += [("evaluator", 0)] if given.evaluator else []
    processes: list[Process] = []
    try:
        for job, index in roles:
            task = {"cluster": cluster, "task": {"type": job, "index": index}}
            processes.append(Process(f"{job} {index}", task, settings, given.restarts))
        wait(processes)
        stayed = [process.name for process in processes if process.code is None]
        end(processes, signal.SIGTERM)
        if stayed and processes[0].code == 0:
            logger.error("%s did not leave in %g s", ", ".join(stayed), END_SECS)
            return 1
        return max(process.code or 0 for process in processes if not process.told)
    except (KeyboardInterrupt, SystemExit):
        logger.warning("ending all, which may take a while; Ctrl-C again ends them at once")
        end(processes, signal.SIGINT)
        return max(process.code or 0 for process in processes)
    finally:  # whatever happened, nobody stays
        end(processes, signal.SIGKILL)


def free_addresses(number: int) -> list[str]:
    """So many addresses of this machine that are free."""
    with contextlib.ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def wait(processes: Sequence[Process], secs: float = 0.0) -> None:
    """Until all have ended, or for so long; 0: for END_SECS after the chief, less if it failed."""
    deadline = time.monotonic() + (secs or float("inf"))
    while any(process.code is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
        for process in processes:
            process.poll()
        if not secs and processes[0].code is not None:
            left = END_SECS if processes[0].code == 0 else 0
            deadline = min(deadline, time.monotonic() + left)


def end(processes: Sequence[Process], number: int) -> None:
    """Sends a signal to those that still run, and waits for their end."""
    for process in processes:
        process.send(number)
    wait(processes, END_SECS)


def _die_with_parent() -> None:
    """Linux kills the child when the launcher is gone, even by kill -9."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(run_command(launch, __doc__))
