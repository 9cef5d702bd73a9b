"""A run directory is a record: what was started, from what, with what result."""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterator, Sequence

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ..errors import ConfigError, RunError
from ..settings.overrides import check_local, is_allowed
from .files import atomic_write, make_directory, new_directory
from .lock import locked
from .start import (
    changes,
    check_same_dataset,
    check_same_files,
    describe_dataset,
    describe_start,
)

logger = logging.getLogger(__name__)


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
        self._settings = ""
        self.shared = shared
        #: Of a worker in step: the run of the chief, whose checkpoints and metrics count.
        self.chief: Run | None = None
        self._set_paths(directory)

    def _set_paths(self, directory: str) -> None:
        directory = os.fspath(directory)  # a Path, from Python
        check_local("run_dir", directory)
        pattern = re.search(r"[][*?]" if os.name == "nt" else r"[][*?\\]", directory)
        if pattern:
            raise ConfigError(
                f'run_dir={directory}: holds "{pattern.group()}", by which TensorFlow would find '
                "the checkpoints of other runs, too; choose a name without any of [ ] * ? and \\"
            )
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

    @property
    def kept(self) -> Run:
        """The run whose checkpoints and metrics say what is done: this one, or the chief's."""
        return self.chief or self

    def check_is_run(self) -> None:
        """Raises RunError if the directory is no run, but holds directories or files like a run's.

        Other files are no obstacle, such as what the command itself prints.
        """
        found = [*os.scandir(self.directory)] if os.path.isdir(self.directory) else []
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in found)
        # Not what a process that waits for the lock, or a worker of a cluster, may have made.
        runs = r"(?!(checkpoints|in_step|(worker|evaluator)-\d+)/).*/"
        runs += r"|(metrics|events|epochs|model)\..*"
        held = [name for name in names if re.fullmatch(runs, name)]
        if held and not os.path.exists(self.record):
            raise RunError(
                f"{self.directory}: holds {held[0]}, but no record.json, so it is not a run of "
                "this project; set run_dir to a new directory or to one that train made"
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
        make_directory(self.checkpoints)
        with locked(self.directory):
            try:
                # What an evaluator of a cluster writes lies in the chief's directory, too.
                with self._logged(), disk_errors(os.path.dirname(self.checkpoints)):
                    logger.info("run directory: %s", self.directory)
                    if not os.path.exists(self.record):  # its own settings, however it ends
                        self._write_settings()
                    yield
            finally:
                if "record.json" not in before and not self._holds_results():
                    self._remove_made(before)
                    if new:
                        with contextlib.suppress(OSError):  # something of yours is in it
                            os.rmdir(self.directory)

    def _remove_made(self, before: list[str]) -> None:
        """Removes what a start makes, unless it was there."""
        made = r"lock|tracker\.json|wandb|train\.log|config\.yaml|record\.json"
        made += r"|events\.out\..*|checkpoints|input|eval|in_step"
        with contextlib.suppress(OSError):  # the error that ends the start is the one to show
            for name in set(os.listdir(self.directory)) - set(before):
                path = os.path.join(self.directory, name)
                if re.fullmatch(made, name) and os.path.isdir(path):
                    shutil.rmtree(path, ignore_errors=True)
                elif re.fullmatch(made, name):
                    os.remove(path)

    def _holds_results(self) -> bool:
        paths = [self.metrics, self.nan, *glob.glob(f"{glob.escape(self.checkpoints)}/*")]
        # In a cluster, too, where others write their logs into it.
        for role in ("worker", "evaluator"):
            paths += glob.glob(f"{glob.escape(self.directory)}/{role}-[0-9]*")
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

    def describe(
        self, seed: int, dataset: Dataset, config: str, allow_changes: Sequence[str] = ()
    ) -> None:
        """Begins to collect the facts about this start, in a thread: checksums take a while.

        Args:
            seed: of the run.
            dataset: its files are what the checksums are of.
            config: the settings as YAML; "" keeps none.
            allow_changes: with data.files, these may be others than at the last start; the same
                for seed, data.seed and data.batch_size.
        """
        files = {split: dataset.files(split) for split in dataset.splits}
        self._dataset = describe_dataset(dataset)
        thread = ThreadPoolExecutor(1)
        self._facts = thread.submit(describe_start, seed, dataset, files)
        self._settings = config
        self._allowed = allow_changes
        order = {"seed": seed, "data.seed": dataset.seed, "data.batch_size": dataset.batch_size}
        self._order = {key: int(value) for key, value in order.items()}  # NumPy's, too
        thread.shutdown(wait=False)  # an error elsewhere need not wait for it

    def write_start(self) -> None:
        """Appends what `describe` found to `record.json`, and writes `config.yaml`.

        Raises:
            RunError: the files of the data, or what their order follows from, are others than at
                the last start.
        """
        starts, facts = self.read_record().get("starts", []), self._facts.result()
        facts["order"] = self._order
        if starts and not is_allowed("data.files", self._allowed):
            check_same_files(self.directory, starts[-1].get("data"), facts["data"])
            check_same_dataset(self.directory, self.read_record().get("dataset"), self._dataset)
        for key, value in starts[-1].get("order", {}).items() if starts else ():
            if value != self._order.get(key) and not is_allowed(key, self._allowed):
                raise RunError(
                    f"{self.directory}: {key} was {value}, is {self._order.get(key)}; keep it, "
                    f"start a new run, or if you mean it add trainer.allow_changes=[{key}]"
                )
        if starts and self._settings and os.path.exists(self.config):
            with open(self.config, encoding="utf-8") as file:
                facts["changes"] = changes(file.read(), self._settings)
        record = {"dataset": self._dataset, "starts": [*starts, facts]}
        with atomic_write(self.record) as file:
            file.write(f"{json.dumps(record, indent=2, default=str)}\n".encode())
        self._write_settings()

    def _write_settings(self) -> None:
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
