"""Where workers in step meet before the first step: all are there, and all are alike."""

from __future__ import annotations

import json
import os
import time
import uuid
from typing import Any, Sequence

from ..errors import ConfigError, RunError
from ..run.files import atomic_write
from .cluster import Cluster, Task

POLL_SECS = 0.2  # from one look at the files of the others to the next


class Meeting:
    """A file of each worker in the run directory, `in_step/<index>.json`, says that it is there.

    The ports alone would not do: one that is started again must not take for ready who is about to
    end, since it misses the one that was there before. So each names all that it has seen, by a
    word that is new with each start, and they have met when all name the same.

    Args:
        cluster: whose trainers meet.
        run_dir: on a disk that they share.
    """

    def __init__(self, cluster: Cluster, run_dir: str) -> None:
        self.tasks = cluster.trainers
        self.index = self.tasks.index(cluster.own)
        self._directory = os.path.join(run_dir, "in_step")
        self._own: dict[str, Any] = {"start": uuid.uuid4().hex, "facts": None, "seen": []}

    def meet(self, wait_secs: float) -> None:
        """Waits until all are there; then nobody of the start before writes any more.

        Call it with the lock of the run, or of the worker's directory in it: from then on nobody
        takes this process for the one before, which is over.

        Raises:
            RunError: some are not there in time; names them.
        """
        self._agree(wait_secs)

    def tell(self, facts: dict[str, Any], wait_secs: float) -> list[dict[str, Any]]:
        """The facts of each, in their order, once all have met; raises as `meet` does."""
        self._own["facts"] = json.loads(json.dumps(facts, default=str))  # as others read it
        return [each["facts"] for each in self._agree(wait_secs)]

    def _agree(self, wait_secs: float) -> list[dict[str, Any]]:
        """Waits until all have seen all, and tell their facts if this one does."""
        deadline = time.monotonic() + wait_secs
        while True:
            found = [self._read(index) for index in range(len(self.tasks))]
            starts = [each.get("start") for each in found]
            tell = [self._own["facts"] is None or bool(each.get("facts")) for each in found]
            if starts != self._own["seen"] or found[self.index] != self._own:
                self._own["seen"] = starts
                self._write()
            elif all(tell) and all(each.get("seen") == starts for each in found):
                return found
            if time.monotonic() > deadline:
                own = self._own["start"]
                missing = [
                    str(task)
                    for task, each, tells in zip(self.tasks, found, tell)
                    if own not in each.get("seen", []) or not tells
                ]
                raise RunError(
                    f"no sign of {', '.join(missing) or 'agreement'} in {wait_secs:g} s; start "
                    "what is missing, with this run_dir on the disk that all share, or see what "
                    "it says"
                )
            time.sleep(POLL_SECS)

    def is_same(self, index: int) -> bool:
        """Whether a worker is the process that was met, not one that was started again since."""
        start = self._read(index).get("start")
        return start is None or start == self._own["seen"][index]

    def _write(self) -> None:
        with atomic_write(self._path(self.index)) as file:
            file.write(json.dumps(self._own).encode())

    def _read(self, index: int) -> dict[str, Any]:
        try:
            with open(self._path(index), encoding="utf-8") as file:
                return dict(json.load(file))
        except (OSError, ValueError):  # not yet there
            return {}

    def _path(self, index: int) -> str:
        return os.path.join(self._directory, f"{index}.json")


def check_alike(tasks: Sequence[Task], facts: Sequence[dict[str, Any]]) -> None:
    """Raises ConfigError if a worker has other facts than the chief, the first; names both."""
    for task, found in zip(tasks, facts):
        for key in dict.fromkeys([*facts[0], *found]):
            expected, there = facts[0].get(key), found.get(key)
            if there != expected:
                raise ConfigError(
                    f"{task}: {key} is {there}, but {expected} for {tasks[0]}; workers in step "
                    "need the same settings, code and data, so start all alike"
                )
