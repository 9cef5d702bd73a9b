"""Tells a tracker what a run writes into metrics.jsonl, and how it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import Any, Callable, Iterator

from omegaconf import OmegaConf

from ...train.hooks.every import EveryHook
from ..run.checkpoints import read_best
from ..run.files import atomic_write
from ..run.run import Run
from ..run.trackers import TRACKERS
from ..settings.overrides import values_in

logger = logging.getLogger(__name__)


class TrackHook(EveryHook):
    """Needs no step of its own; let it come after the hooks that write metrics.jsonl.

    An error of the tracker's, such as of a network, ends tracking and not training.

    Args:
        name: a key of TRACKERS.
        run: opened; its `tracker.json` holds the tracker's name for it, by which that is resumed.
        stopped: asked at the end; if true, training was interrupted.
    """

    def __init__(self, name: str, run: Run, stopped: Callable[[], Any]) -> None:
        super().__init__()
        self._name = name
        self._run = run
        self._stopped = stopped
        self._tracker: Any = TRACKERS[name][0]()
        self._path = os.path.join(run.directory, "tracker.json")
        self._state: dict[str, Any] = {}

    @contextlib.contextmanager
    def tracked(self) -> Iterator[None]:
        """Inside of the `with` a run is tracked; the way out says how it ended."""
        self._call(self._start)
        status = "failed"
        try:
            yield
            status = "interrupted" if self._stopped() else "finished"
        finally:
            self._call(self._tell)
            self._call(self._end, status)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self._call(self._tell)

    def _call(self, action: Callable[..., Any], *arguments: Any) -> None:
        try:
            if self._tracker:
                action(*arguments)
        except Exception as error:
            tracker, self._tracker = self._tracker, None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            logger.warning("%s: tracking stopped, training continues: %s", self._name, reason)
            with contextlib.suppress(Exception):  # else the next run of this process would join it
                tracker.end("failed", {})

    def _start(self) -> None:
        run, directory = self._run, os.path.abspath(self._run.directory)
        known = self._read().get(self._name, {})
        if known and known["directory"] != directory and os.path.exists(known["directory"]):
            known = {}  # a copy of that run
        config = OmegaConf.load(run.config) if os.path.exists(run.config) else OmegaConf.create()
        settings = {
            key: OmegaConf.to_container(value) if OmegaConf.is_list(value) else value
            for key, value in values_in(config).items()
            if not OmegaConf.is_dict(value) and not key.endswith("run_dir")
        }
        identity = self._tracker.start(directory, known.get("id"), settings)
        # What was logged after the last checkpoint of a run that was killed is no longer there.
        size = os.path.getsize(run.metrics) if os.path.exists(run.metrics) else 0
        told = min(known.get("told", 0), size)
        self._state = {"id": identity, "directory": directory, "told": told}
        self._write()

    def _read(self) -> dict[str, Any]:
        """Name of a tracker -> its name for the run, the run's directory, bytes that were told."""
        with contextlib.suppress(OSError, ValueError), open(self._path, encoding="utf-8") as file:
            found = json.load(file)
            return found if isinstance(found, dict) else {}
        return {}

    def _write(self) -> None:
        text = json.dumps({**self._read(), self._name: self._state})
        with atomic_write(self._path) as file:
            file.write(text.encode())

    def _end(self, status: str) -> None:
        best = read_best(self._run.best)
        values = best and {f"best/{best['metric']}": best["value"], "best/step": best["step"]}
        self._tracker.end(status, values)

    def _tell(self) -> None:
        told = self._state["told"]
        with contextlib.suppress(FileNotFoundError), open(self._run.metrics, "rb") as file:
            file.seek(told)
            for text in file:
                line = json.loads(text)
                step, split = line.pop("step"), line.pop("split")
                numbers = {f"{split}/{name}": x for name, x in line.items() if x is not None}
                self._tracker.log(step, numbers)
                self._state["told"] += len(text)
        if self._state["told"] > told:
            self._write()


def track_hooks(name: str, run: Run, stopped: Callable[[], Any]) -> list[TrackHook]:
    """The hook for `trainer.tracker`, if one is asked for."""
    return [] if name == "none" else [TrackHook(name, run, stopped)]
