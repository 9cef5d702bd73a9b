"""A run directory is a record: what was started, from what, with what result."""

from __future__ import annotations

import contextlib
import datetime
import glob
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Iterator

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ..compat import RUNTIME
from ..errors import DataError, RunError
from ..interrupts import held
from .lock import locked

logger = logging.getLogger(__name__)

CHECKSUM_BYTES = 2**30  # of data, which takes some three seconds


class Run:
    """The paths of a run directory, new or resumed.

    Args:
        directory: the run directory; it need not exist.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.checkpoints = os.path.join(directory, "checkpoints")
        self.checkpoint_prefix = os.path.join(self.checkpoints, "model.ckpt")
        self.input = os.path.join(directory, "input")
        self.evaluations = os.path.join(directory, "eval")
        self.best = os.path.join(directory, "best")
        self.nan = os.path.join(directory, "nan")
        self.profile = os.path.join(directory, "profile")
        self.metrics = os.path.join(directory, "metrics.jsonl")
        self.config = os.path.join(directory, "config.yaml")
        self.record = os.path.join(directory, "record.json")

    def check_is_run(self) -> None:
        """Raises RunError if the directory holds something, but not a run."""
        found = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        # What a process that waits for the lock, or a worker of a cluster, may have made before.
        ours = re.compile(r"lock|train\.log|checkpoints|(worker|evaluator)-\d+")
        if not all(map(ours.fullmatch, found)) and not os.path.exists(self.record):
            raise RunError(
                f"{self.directory}: holds files, but no record.json, so it is no run of this "
                "project; set run_dir to a new directory or to one that train made"
            )

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Makes or resumes the directory, alone in it, and logs into its `train.log`.

        If an error comes before the first step, a directory made here is removed again.

        Raises:
            RunError: another process trains in the directory, or it cannot be written.
        """
        self.check_is_run()
        new = False
        with contextlib.ExitStack() as lock:
            try:
                with held():  # so that a signal comes before all of it, or after
                    self._make()
                    lock.enter_context(locked(self.directory))
                    new = not os.path.exists(self.record) and not os.listdir(self.checkpoints)
                with self._logged(), disk_errors(self.directory):
                    yield
            finally:
                if new and not self._holds_results():  # with the lock: nobody else is in it
                    with held():
                        shutil.rmtree(self.directory, ignore_errors=True)

    def _make(self) -> None:
        try:
            os.makedirs(self.checkpoints, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.directory}: cannot be made ({error.strerror}); "
                "set run_dir to a directory you may write to"
            ) from None

    def _holds_results(self) -> bool:
        paths = [self.metrics, self.nan, *glob.glob(f"{glob.escape(self.checkpoints)}/*")]
        # In a cluster, too, where others write their logs into it.
        paths += glob.glob(f"{glob.escape(self.directory)}/*-[0-9]*")
        return any(map(os.path.exists, paths))

    @contextlib.contextmanager
    def _logged(self) -> Iterator[None]:
        package = logging.getLogger(__name__.split(".")[0])
        file = logging.FileHandler(os.path.join(self.directory, "train.log"), encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        package.addHandler(file)
        if package.level == logging.NOTSET:
            package.setLevel(logging.INFO)
        try:
            yield
        finally:
            package.removeHandler(file)
            file.close()

    def write_start(self, record: dict[str, Any], config: str) -> None:
        """Appends facts about this start to `record.json`, and writes `config.yaml`."""
        starts = _read_json(self.record).get("starts", [])
        _replace(self.record, json.dumps({"starts": [*starts, record]}, indent=2) + "\n")
        if config:
            _replace(self.config, config)


@contextlib.contextmanager
def disk_errors(directory: str) -> Iterator[None]:
    """Turns what a full disk or lost rights cause in the run directory into one line."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        text = str(error)
        cause = re.search("No space left on device|Permission denied|Read-only file system", text)
        elsewhere = getattr(error, "filename", None) and directory not in str(error.filename)
        if elsewhere or (cause is None and "Disk quota exceeded" not in text):
            raise
        raise RunError(
            f"{directory}: cannot be written ({cause.group() if cause else 'disk quota'}); the "
            "checkpoints in it are whole; make room, then give the same command again"
        ) from None


def describe_start(seed: int, files: list[str]) -> dict[str, Any]:
    """What must be known to repeat a run: command, code, versions, host, seed, data."""
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": [os.path.basename(sys.executable), *sys.argv],
        "git": _git_state(),
        "runtime": RUNTIME,
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__},
        "host": platform.node(),
        "seed": seed,
        "data": _describe_files(files),
    }


def start_described(seed: int, dataset: Dataset) -> Future[dict[str, Any]]:
    """`describe_start` in a thread: checksums take as long as to build a graph, meanwhile."""
    files = [path for split in dataset.splits for path in dataset.files(split)]
    thread = ThreadPoolExecutor(1)
    described = thread.submit(describe_start, seed, files)
    thread.shutdown(wait=False)  # an error elsewhere need not wait for it
    return described


def _git_state() -> dict[str, Any] | None:
    here = os.path.dirname(os.path.abspath(__file__))

    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", *arguments], cwd=here, stderr=subprocess.DEVNULL, text=True
        ).strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


def _describe_files(files: list[str]) -> dict[str, Any]:
    """Path -> sha256; of many bytes, for which that takes long, their number and size alone."""
    try:
        size = sum(os.path.getsize(path) for path in files)
        if size > CHECKSUM_BYTES:
            return {"files": len(files), "bytes": size}
        return {path: _sha256(path) for path in files}
    except OSError as error:
        found = f"{error.filename}: {error.strerror}"
        raise DataError(f"{found}; expected a readable file") from None


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def _replace(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)
