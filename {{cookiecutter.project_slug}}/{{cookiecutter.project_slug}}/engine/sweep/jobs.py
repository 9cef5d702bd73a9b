"""Runs the jobs of a sweep through one of Hydra's launchers, and stops them."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple, Sequence

from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from ..errors import RunError
from ..settings.config import CONF

logger = logging.getLogger(__name__)

ONE_BY_ONE = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SIGNALS = {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)}


class Job(NamedTuple):
    """One run of a sweep."""

    name: str  # of its directory
    swept: dict[str, str]  # the settings that differ between the runs
    arguments: list[str]  # all settings


def launch(settings: DictConfig, jobs: Sequence[Job]) -> tuple[list[int | None], int]:
    """Runs all jobs, and passes SIGTERM and Ctrl-C on to those that run; no other then starts.

    Args:
        settings: those of conf/sweep.yaml.
        jobs: become processes, on this machine or on others that see the same directory.

    Returns:
        The exit code of each job, None if it was not run to its end, and the number of the signal
        that stopped them, 0 if none did.
    """
    OmegaConf.resolve(settings)  # the launcher's part goes elsewhere alone
    notes = os.path.join(settings.run_dir, "jobs")
    try:
        os.makedirs(notes, exist_ok=True)
        for job in jobs:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(notes, f"{job.name}.exit"))
        open(os.path.join(notes, "stop"), "w").close()
    except OSError as error:
        raise RunError(f"{notes}: cannot be written ({error.strerror}); set run_dir") from None
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        logger.warning("%s: the runs save and leave, no other starts", signal.Signals(number).name)
        _ask(settings.run_dir)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    # Apart from the terminal, whose Ctrl-C would end the processes that launchers make.
    command = [sys.executable, "-c", f"from {__name__} import run_launcher; run_launcher()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        process.communicate(pickle.dumps((settings, jobs, os.getpid())))
    for number, handler in before.items():
        signal.signal(number, handler)
    codes: list[int | None] = []
    for job in jobs:
        try:
            with open(os.path.join(notes, f"{job.name}.exit")) as file:
                code = int(file.read())
            codes.append(128 - code if code < 0 else code)  # as a shell shows a kill
        except (FileNotFoundError, ValueError):
            codes.append(None)
    return codes, received[0] if received else 0


def run_launcher() -> None:
    """Runs the launcher and the jobs that are given on the standard input."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    settings, jobs, parent = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_stop_without, args=(parent, settings.run_dir), daemon=True).start()
    for name in ("hydra", "hydra_plugins"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with initialize_config_dir(config_dir=CONF, version_base="1.3"):
        config = compose("sweep", return_hydra_config=True)
        with open_dict(config):
            config.hydra.launcher = settings.launcher
        alone = settings.launcher._target_ == ONE_BY_ONE
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(GlobalHydra.instance().config_loader(), Callbacks()),
            task_function=functools.partial(_run, settings.run_dir, jobs, alone),
            config=config,
        )
        try:
            launcher.launch([[]] * len(jobs), initial_job_idx=0)
        except Exception as error:  # of the launcher: a job's failure is its exit code
            reason = (str(error).strip() or repr(error)).splitlines()[-1]
            logger.error("the launcher failed: %s", reason)


def _run(directory: str, jobs: Sequence[Job], alone: bool, _: DictConfig) -> None:
    """One job, perhaps on another machine: a process that is asked to stop when the sweep is."""
    number = HydraConfig.get().job.num
    job = jobs[number]
    notes = os.path.join(directory, "jobs", job.name)
    command = [sys.executable, "-m", f"{__package__.split('.')[0]}.train", *job.arguments]
    if _asked(directory):
        return
    print(f"run {number + 1} of {len(jobs)}: {job.name}", flush=True)
    with contextlib.ExitStack() as stack:
        # Else the outputs of several would mix.
        output = None if alone else stack.enter_context(open(f"{notes}.log", "ab"))
        if os.name != "nt":  # by which Slurm warns all processes before a job's time is up
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        process = subprocess.Popen(
            [*command, f"run_dir={directory}/{job.name}"], stdout=output, stderr=output
        )
        if os.name != "nt":
            signal.signal(signal.SIGUSR2, lambda *_: process.terminate())
        passed_on = 0
        while process.poll() is None:
            for _ in range(passed_on, _asked(directory)):
                process.terminate()
                passed_on += 1
            time.sleep(0.1)
    with open(f"{notes}.exit", "w") as file:
        file.write(str(process.returncode))


def _stop_without(parent: int, directory: str) -> None:
    """Stops the sweep when the process that began it is gone, as after kill -9."""
    while os.getppid() == parent:
        time.sleep(0.5)
    _ask(directory)


def _ask(directory: str) -> None:
    with open(os.path.join(directory, "jobs", "stop"), "a") as file:
        file.write("x")


def _asked(directory: str) -> int:
    """How often the sweep was asked to stop."""
    with open(os.path.join(directory, "jobs", "stop")) as file:
        return len(file.read())
