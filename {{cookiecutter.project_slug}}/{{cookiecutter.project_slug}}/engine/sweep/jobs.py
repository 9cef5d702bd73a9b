"""Runs the jobs of a sweep: as processes of this machine, or as jobs of Slurm."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Iterable, NamedTuple, Sequence

from omegaconf import DictConfig, OmegaConf

from ..errors import RunError
from ..run.gpus import share_gpus, visible_gpus
from ..run.machine import RUNS

logger = logging.getLogger(__name__)

PACKAGE = __name__.split(".")[0]
SIGNALS = {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)}
# Exit codes of runs that have saved and left, to be resumed.
STOPPED = {128 + number for number in {*SIGNALS, getattr(signal, "SIGUSR1", signal.SIGTERM)}}


class Job(NamedTuple):
    """One run of a sweep."""

    name: str  # of its directory
    swept: dict[str, Any]  # the settings that differ between the runs
    arguments: list[str]  # all settings


def launch(
    settings: DictConfig,
    jobs: Iterable[Job],
    count: int,
    ended: Callable[[Job, int], None] = lambda job, code: None,
) -> tuple[list[int | None], int]:
    """Runs all jobs; after SIGTERM, SIGHUP or Ctrl-C those running save and leave, no other starts.

    Args:
        settings: those of conf/sweep.yaml.
        jobs: each becomes a process, here or on a machine of Slurm that sees the same directory.
            Here the next one is asked for when it can start.
        count: the number of jobs.
        ended: told of each job that ended, and its exit code.

    Returns:
        The exit code of each job, None if it has none, and the signal that stopped them, or 0.
    """
    running: list[subprocess.Popen[bytes]] = []  # on this machine
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        for process in running:  # at once: if it gets the same signal from elsewhere, it is one
            process.terminate()
        logger.warning("%s: the runs save and leave, no other starts", signal.Signals(number).name)

    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    if hasattr(signal, "SIGUSR1"):  # which is for the runs; not ignored, or they would be born so
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        if settings.launcher == "slurm":
            jobs = list(jobs)
            codes = _run_on_slurm(settings, jobs, received)
            for job, code in zip(jobs, codes):
                if code is not None:
                    ended(job, code)
        else:
            codes = _run_here(settings, jobs, count, ended, received, running)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return codes, received[0] if received else 0


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """As a shell shows it, also of a kill."""
    code = process.wait()
    return 128 - code if code < 0 else code


def _run_here(
    settings: DictConfig,
    jobs: Iterable[Job],
    count: int,
    ended: Callable[[Job, int], None],
    received: list[int],
    running: list[subprocess.Popen[bytes]],
) -> list[int | None]:
    processes: dict[subprocess.Popen[bytes], Job] = {}
    free = share_gpus(visible_gpus(), settings.jobs) if settings.jobs > 1 else []
    taken: dict[subprocess.Popen[bytes], str] = {}  # of the GPUs, by those that run

    def wait(least: int) -> None:
        """Waits until fewer run."""
        while len(running) >= least:
            time.sleep(0.05)
            for process in [process for process in running if process.poll() is not None]:
                running.remove(process)
                if process in taken:
                    free.append(taken.pop(process))
                ended(processes[process], _exit_code(process))

    try:
        for number, job in enumerate(jobs, 1):
            print(f"run {number} of {count}: {job.name}", flush=True)
            share = free.pop(0) if free else ""
            process = _start(settings, job, share, min(settings.jobs, count))
            if share:
                taken[process] = share
            processes[process] = job
            running.append(process)
            if received:  # while it was started
                process.terminate()
            wait(settings.jobs)
            if received:
                break
        wait(1)
    except BaseException:  # of `ended`, or of what makes the jobs
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        raise
    codes: list[int | None] = [_exit_code(process) for process in processes]
    return codes + [None] * (count - len(codes))


def slurm_executor(settings: DictConfig) -> Any:
    """What hands jobs to Slurm; raises RunError where there is none, or for an unknown option."""
    import submitit  # installed by install.py --extras slurm

    slurm = OmegaConf.to_container(settings.slurm)
    try:
        executor = submitit.AutoExecutor(f"{settings.run_dir}/jobs/%j", cluster=slurm["cluster"])
        executor.update_parameters(
            name=PACKAGE,
            timeout_min=slurm["timeout_min"],
            cpus_per_task=slurm["cpus_per_task"],
            mem_gb=slurm["mem_gb"],
            slurm_array_parallelism=slurm["array_parallelism"],
            # When the time is almost up; by submitit's own SIGUSR2 the runs would end unsaved.
            slurm_additional_parameters={"signal": "TERM@90", **slurm["additional_parameters"]},
        )
    except (RuntimeError, ValueError) as error:
        raise _slurm_error(error) from None
    return executor


def _slurm_error(error: Exception) -> RunError:
    reason = str(error).strip().splitlines()[-1]
    return RunError(f"launcher=slurm: {reason}; see slurm in conf/sweep.yaml")


def _run_on_slurm(
    settings: DictConfig, jobs: Sequence[Job], received: list[int]
) -> list[int | None]:
    try:
        array = slurm_executor(settings).map_array(_run_in_job, [settings] * len(jobs), jobs)
    except (RuntimeError, ValueError) as error:
        raise _slurm_error(error) from None
    canceled = False
    while len(received) < 2 and not all(each.done() for each in array):
        if received and not canceled:
            canceled = True
            for each in array:
                each.cancel(check=False)
                each.watcher.clear()  # to ask Slurm soon: it is asked ever less often
        time.sleep(1)
    # For a result that is not there, as of a canceled job, exception() would wait a while.
    ended = [each for each in array if not received or each.paths.result_pickle.exists()]
    return [each.result() if each in ended and not each.exception() else None for each in array]


def _run_in_job(settings: DictConfig, job: Job) -> int:
    return _exit_code(_start(settings, job))


def _start(
    settings: DictConfig, job: Job, gpus: str = "", at_a_time: int = 1
) -> subprocess.Popen[bytes]:
    run = os.path.join(settings.run_dir, job.name)
    log = os.path.join(settings.run_dir, "jobs", f"{job.name}.log")
    numbered = any(text.startswith("trainer.gpus=") for text in job.arguments)  # of all there are
    chosen = {"CUDA_VISIBLE_DEVICES": gpus} if gpus and not numbered else {}
    end_with_parent = functools.partial(_end_with_parent, os.getpid())
    alone = settings.launcher == "local" and settings.jobs == 1  # else their outputs would mix
    with contextlib.nullcontext() if alone else open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", f"{PACKAGE}.train", *job.arguments, f"run_dir={run}"],
            env={**os.environ, **chosen, RUNS: str(at_a_time)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the sweep alone, which passes it on
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )


def _end_with_parent(parent: int) -> None:
    """Linux sends SIGTERM to a run whose sweep is gone, even by kill -9: it saves and leaves."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # gone already
        os.kill(os.getpid(), signal.SIGTERM)
