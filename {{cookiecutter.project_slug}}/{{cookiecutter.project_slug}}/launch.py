"""Starts a whole cluster on this machine, to rehearse what runs on many.

    python -m <package>.launch --workers 2 data=digits trainer.last_step=500    in step
    python -m <package>.launch --ps 2 --workers 3 --evaluator run_dir=runs/x    asynchronous
    python -m <package>.launch --restarts 2 ...    start again who was killed, as Kubernetes does

The first worker is the chief. All take the settings that follow, and trainer=cluster; run_dir is a
new directory unless it is given. Ctrl-C, SIGTERM or SIGHUP ends all, after the chief has saved; a
second one ends them at once. Whoever reaches their ports can run code as you, without a password:
see docs/many_machines.md. The exit code is the worst one, or 128 and the signal's number.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Iterator, Sequence

from .engine.errors import ConfigError, RunError
from .engine.run.files import new_directory
from .engine.run.machine import RUNS, runs
from .engine.settings.config import load_config
from .engine.tools.command import run_command

logger = logging.getLogger(__name__)

PORTS = range(20000, 32000)  # below those that systems give to connections, which may take one
END_SECS = 60.0  # how long the others may stay after the chief has ended, or after a signal
ECHO_SECS = 0.3  # within which a terminal that is closed sends SIGHUP twice


class Process:
    """A role of the cluster; its lines are shown with its name before them.

    Args:
        name: of the role.
        command: what to run.
        config: TF_CONFIG for it.
        restarts: how often it starts again after a signal has killed it.
        sharing: how many processes hold the data on this machine.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        config: dict[str, Any],
        restarts: int = 0,
        sharing: int = 1,
    ) -> None:
        self.name = name
        self.code: int | None = None  # None while it runs
        self.told = False  # to end, by us
        self._command = command
        self._restarts = restarts
        self._environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **os.environ,
            "TF_CONFIG": json.dumps(config),
            RUNS: str(runs() * sharing),
            "PYTHONUNBUFFERED": "1",
        }
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
            with contextlib.suppress(OSError):  # as of `| head`; read on, or the role blocks
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
        """Sends a signal, after which it does not start again."""
        self._restarts = 0
        if self.code is None:
            self.told = True
            with contextlib.suppress(ValueError):  # Windows has few; its console tells all of ^C
                self._child.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, if it still runs."""
        if self.code is None:
            self._child.kill()
            self._child.wait()


def launch(arguments: list[str]) -> int:
    """Starts the processes and waits for them; returns the worst exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--ps", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--evaluator", action="store_true")
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("settings", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if given.ps < 0 or given.workers < 1:
        found = f"--ps {given.ps} --workers {given.workers}"
        raise ConfigError(f"found {found}; expected 0 or more, and 1 or more")
    if given.evaluator and not given.ps:
        raise ConfigError(
            "found --evaluator without --ps; workers in step evaluate by themselves, so leave it "
            "out, or add --ps 1"
        )
    package = __name__.rpartition(".")[0] or __package__
    command = [sys.executable, "-m", f"{package}.train", *complete(given.settings)]

    places = free_addresses(given.ps + given.workers)
    cluster = {"worker": places[given.ps :]}
    if given.ps:
        cluster["ps"] = places[: given.ps]
    roles = [(job, index) for job in cluster for index in range(len(cluster[job]))]
    roles += [("evaluator", 0)] if given.evaluator else []
    processes: list[Process] = []
    received = note_signals()
    try:
        for job, index in roles:
            config = {"cluster": cluster, "task": {"type": job, "index": index}}
            name = f"{job} {index}"
            processes.append(Process(name, command, config, given.restarts, given.workers))
        return outcome(processes, received)
    finally:  # whatever happened, nobody stays
        for process in processes:
            process.kill()


def complete(settings: Sequence[str]) -> list[str]:
    """The settings of all processes, checked, so that an error is shown once."""
    settings = [text for text in settings if text != "trainer=cluster"]
    for text in settings:
        if text.startswith("trainer="):
            raise ConfigError(f"{text}: a cluster trains with trainer=cluster; leave it out")
    where = [text for text in settings if text.startswith("run_dir=")]
    # A trainer that is chosen again would lose the settings that a run was started with.
    if not load_config(where).trainer._target_.endswith(".ClusterTrainer"):
        settings = ["trainer=cluster", *settings]
    run_dir = load_config(settings).run_dir or new_directory("cluster")
    return [*(text for text in settings if text not in where), f"run_dir={run_dir}"]


def free_addresses(number: int) -> list[str]:
    """As many addresses of this machine that are free."""
    found: list[str] = []
    with contextlib.ExitStack() as open_:
        for port in random.sample(PORTS, len(PORTS)):
            with contextlib.suppress(OSError):
                open_.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(f"127.0.0.1:{port}")
            if len(found) == number:
                return found
    raise RunError(f"127.0.0.1: found no free port in {PORTS}; is a network there?")


def note_signals() -> list[int]:
    """A list to which signals that come from now on are added; they do nothing else."""
    received: list[int] = []
    for number in {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, frame: received.append(number))
    if hasattr(signal, "SIGUSR1"):  # which is for the chief
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
    return received


def outcome(processes: Sequence[Process], received: list[int], end_secs: float = END_SECS) -> int:
    """Waits for the processes, of which the first is the chief; returns the worst exit code.

    If the chief fails, or at the first of the received signals, the others are ended. After the
    chief, they may stay end_secs, but an evaluator as long as it takes: nobody else does its work.
    """
    chief, stayed = processes[0], []
    evaluators = [process for process in processes if process.name.startswith("evaluator")]
    wait(processes, until=lambda: received or chief.code is not None)
    if chief.code == 0:
        others = [process for process in processes if process not in evaluators]
        wait(others, until=lambda: received, secs=end_secs)
        stayed = [process.name for process in others if process.code is None]
        wait(evaluators, until=lambda: received)
    if received:
        logger.warning("ending all, which may take a while; Ctrl-C again ends them at once")
        time.sleep(ECHO_SECS)
        del received[1:]
    for process in processes:
        process.send(received[0] if received else signal.SIGTERM)
    wait(processes, until=lambda: received[1:], secs=end_secs)
    if received:
        return 128 + received[0]
    if stayed:
        logger.error("%s did not leave in %g s", ", ".join(stayed), end_secs)
        return 1
    return max(process.code or 0 for process in processes if not process.told)


def wait(
    processes: Sequence[Process], until: Callable[[], Any], secs: float = float("inf")
) -> None:
    """Waits until all have ended, or something holds, or the time is over."""
    deadline = time.monotonic() + secs
    while any(process.code is None for process in processes):
        if until() or time.monotonic() > deadline:
            return
        time.sleep(0.1)
        for process in processes:
            process.poll()


def _die_with_parent() -> None:
    """Linux kills the child when the launcher is gone, even by kill -9."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(run_command(launch, __doc__, needs_reader=False))
