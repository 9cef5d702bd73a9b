"""Which process of a cluster this one is: read from TF_CONFIG or from Slurm's variables."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

from ..errors import ConfigError, RunError
from .slurm import slurm_places

FORM = '{"cluster": {"ps": ["host:port"], ...}, "task": {"type": "ps", "index": 0}}'
JOBS = ("chief", "worker", "ps", "evaluator")

POLL_SECS = 0.5  # from one look at the others to the next


@dataclass(frozen=True)
class Task:
    """One process of a cluster."""

    job: str  # one of JOBS
    index: int  # in the job
    address: str  # host:port; empty for an evaluator, which nobody calls

    def __str__(self) -> str:
        return f"{self.job} {self.index} ({self.address})"

    def answers(self) -> bool:
        """Whether something listens at the address."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except OSError:
            return False
        return True


def looks(needed: Sequence[Task], wait_secs: float) -> Iterator[bool]:
    """Yields whether all that are needed answer, again and again.

    Raises:
        RunError: one did not for wait_secs; names it.
    """
    gone_since = None
    while True:
        gone = [task for task in needed if not task.answers()]
        now = time.monotonic()
        gone_since = (gone_since or now) if gone else None
        yield not gone
        if gone_since and now - gone_since > wait_secs:
            raise RunError(
                f"no answer from {', '.join(map(str, gone))} in {wait_secs:g} s; start what is "
                "missing, or fix the addresses"
            )
        time.sleep(POLL_SECS)


@dataclass(frozen=True)
class Cluster:
    """The processes that train together, and the one that this is."""

    tasks: tuple[Task, ...]
    own: Task

    @property
    def trainers(self) -> list[Task]:
        """Those that compute gradients, the chief first."""
        found = [task for task in self.tasks if task.job in ("chief", "worker")]
        return sorted(found, key=lambda task: (JOBS.index(task.job), task.index))

    @property
    def chief(self) -> Task:
        """The one that saves: the task of the job chief, else worker 0."""
        return self.trainers[0]

    @property
    def servers(self) -> list[Task]:
        """Those that hold the variables."""
        return [task for task in self.tasks if task.job == "ps"]

    @property
    def in_step(self) -> bool:
        """Whether all compute each step together: nobody holds the variables for them."""
        return not self.servers

    @property
    def role(self) -> str:
        """What this process does: one of JOBS."""
        return "chief" if self.own == self.chief else self.own.job

    @property
    def place(self) -> tuple[str, int]:
        """Job and index of this process as TensorFlow knows it: in step all are workers."""
        trainers = self.trainers
        if self.in_step and self.own in trainers:
            return "worker", trainers.index(self.own)
        return self.own.job, self.own.index

    @property
    def shard(self) -> tuple[int, int]:
        """(index, number) of the share of the training records that this process takes."""
        trainers = self.trainers
        return (trainers.index(self.own), len(trainers)) if self.own in trainers else (0, 1)

    def addresses(self) -> dict[str, dict[int, str]]:
        """Job -> index -> address, as tf.train.ClusterSpec takes it."""
        if self.in_step:
            return {"worker": {i: task.address for i, task in enumerate(self.trainers)}}
        jobs: dict[str, dict[int, str]] = {}
        for task in self.servers + self.trainers:
            jobs.setdefault(task.job, {})[task.index] = task.address
        return jobs


def read_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Reads PS_TASKS with what `srun` sets, else TF_CONFIG; None if this process trains alone.

    Raises:
        ConfigError: a variable is incomplete or contradicts another; names it and the field.
    """
    if "PS_TASKS" not in environment:
        return _from_tf_config(environment.get("TF_CONFIG") or "{}")
    if environment.get("TF_CONFIG"):
        raise ConfigError("TF_CONFIG and PS_TASKS are both set; unset one of them")
    jobs, address = slurm_places(environment)
    tasks = tuple(Task(job, i, place) for job in jobs for i, place in enumerate(jobs[job]))
    if len(tasks) == 1:
        return None
    return Cluster(tasks, next(task for task in tasks if task.address == address))


def _from_tf_config(text: str) -> Cluster | None:
    try:
        config = dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"TF_CONFIG is not a JSON object ({error}); expected {FORM}") from None
    if "sparseCluster" in config:  # a Kubernetes TFJob with enableDynamicWorker
        raise ConfigError(
            "TF_CONFIG.sparseCluster: with it a parameter server knows no worker, from which it "
            "could then fetch nothing; leave enableDynamicWorker out of the TFJob"
        )
    jobs, own = config.get("cluster") or {}, config.get("task") or {}
    if not jobs and not own:
        return None
    _expect(isinstance(jobs, dict) and jobs, "cluster", jobs, FORM)
    _expect(isinstance(own, dict) and own, "task", own, FORM)
    tasks = [task for job in jobs for task in _tasks(job, jobs[job])]
    index = own.get("index")
    _expect(str(index).isdecimal(), "task.index", index, "an integer")
    task = Task(_job("task.type", own.get("type")), int(str(index)), "")
    if task.job != "evaluator":
        same = [each for each in tasks if (each.job, each.index) == (task.job, task.index)]
        _expect(same, "task", own, f"one of TF_CONFIG.cluster: {', '.join(map(str, tasks))}")
        task = same[0]
    # An evaluator is not part of a cluster, though some name it there.
    cluster = Cluster(tuple(each for each in tasks if each.job != "evaluator"), task)
    if cluster.tasks == (task,) == tuple(cluster.trainers):
        return None
    numbers = {job: sum(task.job == job for task in cluster.tasks) for job in JOBS[:3]}
    fits = numbers["chief"] < 2 and cluster.trainers
    _expect(fits, "cluster", numbers, "at most 1 chief, and a chief or workers")
    several = task.job == "evaluator" and task.index > 0  # they would keep one best/
    _expect(not several, "task", own, "one evaluator, of index 0")
    follows = task.job == "evaluator" and cluster.in_step
    _expect(not follows, "task", own, "no evaluator: workers without a ps evaluate by themselves")
    places = [task.address for task in cluster.tasks]
    shared = [str(task) for task in cluster.tasks if places.count(task.address) > 1]
    _expect(not shared, "cluster", shared, "an address for each")
    return cluster


def _tasks(name: str, addresses: Any) -> Iterator[Task]:
    """The tasks of a job, given as a list or, where indices are missing, as index -> address."""
    job, field = _job("cluster", name), f"cluster.{name}"
    _expect(isinstance(addresses, (list, dict)), field, addresses, "a list of host:port")
    pairs = addresses.items() if isinstance(addresses, dict) else enumerate(addresses)
    for index, address in pairs:
        fits = re.fullmatch(r"\d+ .+:\d+", f"{index} {address}")
        _expect(fits, field, {index: address}, "host:port")
        yield Task(job, int(index), address)


def _job(field: str, name: Any) -> str:
    _expect(name in (*JOBS, "master"), field, name, f"one of {', '.join(JOBS)}")
    return "chief" if name == "master" else name


def _expect(holds: Any, field: str, found: Any, expected: str) -> None:
    if not holds:
        raise ConfigError(f"TF_CONFIG.{field}: found {json.dumps(found)}, expected {expected}")
