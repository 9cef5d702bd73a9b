"""A run directory is a record: what was started, from what, with what result."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from typing import Any, Iterator

import tensorflow.compat.v1 as tf

from ..compat import RUNTIME
from ..errors import RunError

logger = logging.getLogger(__name__)


class Run:
    """The paths of a run directory, new or resumed.

    Args:
        directory: the run directory; it need not exist.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.checkpoints = os.path.join(directory, "checkpoints")
        self.checkpoint_prefix = os.path.join(self.checkpoints, "model.ckpt")
        self.evaluations = os.path.join(directory, "eval")
        self.metrics = os.path.join(directory, "metrics.jsonl")
        self.config = os.path.join(directory, "config.yaml")
        self.record = os.path.join(directory, "record.json")

    def latest_checkpoint(self) -> str | None:
        """The path of the newest checkpoint, None before the first."""
        return tf.train.latest_checkpoint(self.checkpoints)

    def steps_done(self) -> int:
        """The global step of the newest checkpoint, 0 before the first."""
        checkpoint = self.latest_checkpoint()
        if checkpoint is None:
            return 0
        return int(tf.train.load_checkpoint(checkpoint).get_tensor(tf.GraphKeys.GLOBAL_STEP))

    def refuse_if_foreign(self) -> None:
        """Raises RunError if the directory holds something, but not a run."""
        holds_files = os.path.isdir(self.directory) and os.listdir(self.directory)
        if holds_files and not os.path.exists(self.record):
            raise RunError(
                f"{self.directory}: holds files, but no record.json, so it is no run of this "
                "project; set run_dir to a new directory or to one that train made"
            )

    @contextlib.contextmanager
    def opened(self, record: dict[str, Any], config: str) -> Iterator[None]:
        """Makes or resumes the directory, alone in it, and logs into its `train.log`.

        If nothing was trained because of an error, a directory made here is removed again.

        Args:
            record: facts about this start, appended to those of earlier ones in `record.json`.
            config: text of `config.yaml`.

        Raises:
            RunError: another process trains in the directory, or it cannot be written.
        """
        new = not os.path.exists(self.directory)
        try:
            os.makedirs(self.checkpoints, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.directory}: cannot be made ({error.strerror}); "
                "set run_dir to a directory you may write to"
            ) from None
        try:
            with self._locked(), self._logged():
                self._write(record, config)
                yield
        finally:
            if new and not os.path.exists(self.metrics):
                shutil.rmtree(self.directory)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds `lock`, made by O_EXCL because that also works on NFS and on Windows."""
        path = os.path.join(self.directory, "lock")
        mine = {"host": platform.node(), "process": os.getpid()}
        for attempt in range(2):
            try:
                with open(path, "x", encoding="utf-8") as file:
                    json.dump(mine, file)
                break
            except FileExistsError:
                holder = _read_json(path)
                if attempt or not _is_dead(holder):
                    raise RunError(
                        f"{self.directory}: in use by process {holder.get('process')} on "
                        f"{holder.get('host')}; if that is over, remove {path}"
                    ) from None
                os.remove(path)
            except OSError as error:
                raise RunError(f"{path}: cannot be written ({error.strerror})") from None
        try:
            yield
        finally:
            os.remove(path)

    @contextlib.contextmanager
    def _logged(self) -> Iterator[None]:
        package = logging.getLogger(__name__.split(".")[0])
        file = logging.FileHandler(os.path.join(self.directory, "train.log"), encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        package.addHandler(file)
        try:
            yield
        finally:
            package.removeHandler(file)
            file.close()

    def _write(self, record: dict[str, Any], config: str) -> None:
        starts = _read_json(self.record).get("starts", [])
        _replace(self.record, json.dumps({"starts": [*starts, record]}, indent=2) + "\n")
        if config:
            _replace(self.config, config)


def new_directory(name: str) -> str:
    """`runs/<time>_<name>`, with a number behind it if that is taken."""
    path = os.path.join("runs", f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}_{name}")
    taken = 1
    while os.path.exists(path if taken == 1 else f"{path}_{taken}"):
        taken += 1
    return path if taken == 1 else f"{path}_{taken}"


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
        "data": {path: _sha256(path) for path in files},
    }


def _git_state() -> dict[str, Any] | None:
    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", *arguments], stderr=subprocess.DEVNULL, universal_newlines=True
        ).strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the process of a lock is known to be gone; only this host's can be asked."""
    if holder.get("host") != platform.node() or os.name == "nt":  # there, os.kill would kill
        return False
    try:
        os.kill(holder["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


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
