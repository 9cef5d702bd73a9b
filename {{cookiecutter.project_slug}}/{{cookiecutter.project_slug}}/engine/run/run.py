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
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterator

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ..compat import RUNTIME
from ..errors import DataError, RunError
from .files import atomic_write, new_directory
from .lock import locked

logger = logging.getLogger(__name__)

CHECKSUM_BYTES = 2**30  # of data, which takes some three seconds


class Run:
    """The paths of a run directory, new or resumed.

    Args:
        directory: the run directory; it need not exist. "" becomes a new one below runs/ when it
            is opened.
        name: what such a directory is called, after its time.
        shared: whether another process writes its checkpoints.
    """

    def __init__(self, directory: str, name: str = "", shared: bool = False) -> None:
        self._name = name
        self.shared = shared
        self._set_paths(directory)

    def _set_paths(self, directory: str) -> None:
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
                f"{self.directory}: holds files, but no record.json, so it is not a run of this "
                "project; set run_dir to a new directory or to one that train made"
            )

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Creates or resumes the directory, alone in it, and logs into its `train.log`.

        Without a step, as after an error, what was created here is removed again.

        Raises:
            RunError: another process trains in the directory, or it cannot be written.
        """
        new = not os.path.isdir(self.directory)
        if not self.directory:
            self._set_paths(new_directory(self._name))
        self.check_is_run()
        before = [] if new else os.listdir(self.directory)
        try:
            os.makedirs(self.checkpoints, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.directory}: cannot be created ({error.strerror}); "
                "set run_dir to a directory you may write to"
            ) from None
        with locked(self.directory):
            try:
                with self._logged(), disk_errors(self.directory):
                    logger.info("run directory: %s", self.directory)
                    yield
            finally:
                if "record.json" not in before and not self._holds_results():
                    self._remove_all_but(before)

    def _remove_all_but(self, names: list[str]) -> None:
        for name in set(os.listdir(self.directory)) - set(names):
            path = os.path.join(self.directory, name)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.remove(path)
        if not names:
            os.rmdir(self.directory)

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

    def describe(self, seed: int, dataset: Dataset, config: str) -> None:
        """Begins to collect the facts about this start, in a thread: checksums take a while.

        Args:
            seed: of the run.
            dataset: its files are what the checksums are of.
            config: the settings as YAML; "" keeps none.
        """
        files = [path for split in dataset.splits for path in dataset.files(split)]
        names = ("class_names", "image_shape")  # what `predict` cannot ask files that are gone
        self._dataset = {name: getattr(dataset, name) for name in names if hasattr(dataset, name)}
        thread = ThreadPoolExecutor(1)
        self._facts = thread.submit(describe_start, seed, files)
        self._settings = config
        thread.shutdown(wait=False)  # an error elsewhere need not wait for it

    def write_start(self) -> None:
        """Appends what `describe` found to `record.json`, and writes `config.yaml`."""
        starts = self.read_record().get("starts", [])
        record = {"dataset": self._dataset, "starts": [*starts, self._facts.result()]}
        with atomic_write(self.record) as file:
            file.write(f"{json.dumps(record, indent=2, default=str)}\n".encode())
        if self._settings:
            with atomic_write(self.config) as file:
                file.write(self._settings.encode())

    def read_record(self) -> dict[str, Any]:
        """What `record.json` holds; nothing if there is none."""
        try:
            with open(self.record, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}


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
            "checkpoints in it are complete; make room, then give the same command again"
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
    """Path -> sha256; of many bytes, for which that takes long, their number and size only."""
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
