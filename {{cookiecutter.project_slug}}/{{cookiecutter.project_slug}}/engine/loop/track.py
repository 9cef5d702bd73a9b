"""Tells a tracker what a run writes into metrics.jsonl, and how it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import Any, Callable, Iterator

import tensorflow.compat.v1 as tf
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
        run: opened, with its settings written. `tracker.json` in it holds the tracker's name for
            it, so that the same tracked run is resumed.
        stopped: asked at the end; if true, training was interrupted.
    """

    def __init__(self, name: str, run: Run, stopped: Callable[[], Any]) -> None:
        super().__init__()
        self._name = name
        self._run = run
        self._stopped = stopped
        self._tracker: Any = TRACKERS[name][0]()
        self._told = 0  # bytes of metrics.jsonl

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

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        self._call(self._tell)

    def _call(self, action: Callable[..., Any], *arguments: Any) -> None:
        try:
            if self._tracker:
                action(*arguments)
        except Exception as error:
            self._tracker = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            logger.warning("%s tracks no more of this run, which goes on: %s", self._name, reason)

    def _start(self) -> None:
        directory = os.path.abspath(self._run.directory)
        path = os.path.join(directory, "tracker.json")
        ids = {}
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            ids = json.load(file)
        settings = {}
        if os.path.exists(self._run.config):
            settings = values_in(OmegaConf.load(self._run.config))
        plain = {
            key: list(value) if OmegaConf.is_list(value) else value
            for key, value in settings.items()
            if not OmegaConf.is_dict(value) and not key.endswith("run_dir")
        }
        known = ids.get(self._name)
        ids[self._name] = self._tracker.start(directory, known, plain)
        if known and os.path.exists(self._run.metrics):
            self._told = os.path.getsize(self._run.metrics)
        with atomic_write(path) as file:
            file.write(json.dumps(ids).encode())

    def _end(self, status: str) -> None:
        best = read_best(self._run.best)
        numbers = (
            {f"best/{best['metric']}": best["value"], "best/step": best["step"]} if best else {}
        )
        self._tracker.end(status, numbers)

    def _tell(self) -> None:
        path = self._run.metrics
        if not os.path.exists(path) or os.path.getsize(path) <= self._told:
            return
        with open(path, "rb") as file:
            file.seek(self._told)
            for text in file:
                line = json.loads(text)
                step, split = line.pop("step"), line.pop("split")
                numbers = {f"{split}/{name}": x for name, x in line.items() if x is not None}
                self._tracker.log(step, numbers)
                self._told += len(text)


def track_hooks(name: str, run: Run, stopped: Callable[[], Any]) -> list[TrackHook]:
    """What tells the tracker; nothing if its name is none."""
    return [] if name == "none" else [TrackHook(name, run, stopped)]
