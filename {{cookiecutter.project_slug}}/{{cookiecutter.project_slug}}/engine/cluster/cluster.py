"""Which process of a cluster this one is: read from TF_CONFIG or from Slurm's variables."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

from ..errors import ConfigError

FORM = 'expected {"cluster": {"ps": ["host:port"], ...}, "task": {"type": "ps", "index": 0}}'
JOBS = ("chief", "worker", "ps", "evaluator")

POLL_SECS = 0.5  # from one look at the others to the next

# What srun sets. (TensorFlow 1.15's SlurmClusterResolver asks `scontrol`, and ignores steps.)
SLURM = ("PROCID", "STEP_NUM_TASKS", "STEP_NODELIST", "STEP_TASKS_PER_NODE", "JOB_ID")


@dataclass(frozen=True)
class Task:
    """One process of a cluster."""

    job: str  # one of JOBS
    index: int  # in the job
    address: str  # host:port; empty for an evaluator, which nobody calls

    def __str__(self) -> str:
        return f"{self.job} {self.index} ({self.address})"

    def answers(self, secs: float = 1.0) -> bool:
        """Whether something listens at the address."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), secs).close()
        except OSError:
            return False
        return True


NOBODY = Task("chief", 0, "")


@dataclass(frozen=True)
class Cluster:
    """The processes that train together; without tasks, this one trains alone."""

    tasks: tuple[Task, ...] = ()
    own: Task = NOBODY

    @property
    def trainers(self) -> list[Task]:
        """Those that compute gradients; the first, the job chief or else worker 0, is the chief."""
        found = [task for task in self.tasks if task.job in ("chief", "worker")]
        return sorted(found, key=lambda task: (JOBS.index(task.job), task.index))

    @property
    def servers(self) -> list[Task]:
        """Those that hold the variables."""
        return [task for task in self.tasks if task.job == "ps"]

    @property
    def role(self) -> str:
        """What this process does: one of JOBS."""
        is_chief = not self.tasks or self.own == self.trainers[0]
        return "chief" if is_chief else self.own.job

    @property
    def shard(self) -> tuple[int, int]:
        """(index, number) of the share of the training records that this process takes."""
        trainers = self.trainers
        return (trainers.index(self.own), len(trainers)) if self.own in trainers else (0, 1)

    def addresses(self) -> dict[str, dict[int, str]]:
        """Job -> index -> address, as tf.train.ClusterSpec takes it."""
        jobs: dict[str, dict[int, str]] = {}
        for task in self.servers + self.trainers:
            jobs.setdefault(task.job, {})[task.index] = task.address
        return jobs


def read_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Reads TF_CONFIG, else PS_TASKS with what `srun` sets, else finds a process on its own.

    PS_TASKS says how many tasks of a Slurm step hold the variables: those that follow the first,
    which is the chief. Without it, the tasks of a step train independently.

    Raises:
        ConfigError: a variable is half set or contradicts another; names it and the field.
    """
    if "PS_TASKS" in environment:
        if environment.get("TF_CONFIG"):
            raise ConfigError("TF_CONFIG and PS_TASKS are both set; unset one of them")
        return _from_slurm(environment)
    try:
        return _from_tf_config(dict(json.loads(environment.get("TF_CONFIG") or "{}")))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"TF_CONFIG is no JSON object ({error}); {FORM}") from None


def _from_tf_config(config: dict[str, Any]) -> Cluster:
    if "sparseCluster" in config:  # a Kubernetes TFJob with enableDynamicWorker
        raise ConfigError(
            "TF_CONFIG.sparseCluster: with it a parameter server knows no worker, from which it "
            "could then fetch nothing; leave enableDynamicWorker out of the TFJob"
        )
    jobs, own = config.get("cluster") or {}, config.get("task") or {}
    if not jobs and not own:
        return Cluster()
    for field, value in (("cluster", jobs), ("task", own)):
        if not isinstance(value, dict) or not value:
            raise ConfigError(f"TF_CONFIG.{field}: found {json.dumps(value)}, {FORM}")
    tasks = [task for job in jobs for task in _tasks(job, jobs[job])]
    job, number = own.get("type"), own.get("index")
    if not re.fullmatch(r"\d+", str(number)):
        raise ConfigError(f"TF_CONFIG.task.index: found {json.dumps(number)}, expected a number")
    index = int(str(number))
    job = "chief" if job == "master" else job
    if job not in JOBS:
        raise ConfigError(f"TF_CONFIG.task.type: found {job}, expected one of {', '.join(JOBS)}")
    same = [task for task in tasks if (task.job, task.index) == (job, index)]
    if job == "evaluator":  # no part of a cluster, though some name it there
        same = [Task(job, index, "")]
    if not same:
        known = ", ".join(map(str, tasks))
        raise ConfigError(f"TF_CONFIG.task: {job} {index} is not in TF_CONFIG.cluster: {known}")
    tasks = [task for task in tasks if task.job != "evaluator"]
    return _checked(Cluster(tuple(tasks), same[0]), "TF_CONFIG.cluster")


def _tasks(job: str, addresses: Any) -> Iterator[Task]:
    """The tasks of a job, given as a list or, where indices are missing, as index -> address."""
    field = f"TF_CONFIG.cluster.{job}"
    job = "chief" if job == "master" else job
    if job not in JOBS:
        raise ConfigError(f"{field}: there is no such job; expected one of {', '.join(JOBS)}")
    if not isinstance(addresses, (list, dict)):
        raise ConfigError(f"{field}: found {json.dumps(addresses)}, expected a list of host:port")
    pairs = addresses.items() if isinstance(addresses, dict) else enumerate(addresses)
    for index, address in pairs:
        if not re.fullmatch(r"\d+", str(index)) or not re.fullmatch(r".+:\d+", str(address)):
            raise ConfigError(f'{field}: found "{index}: {address}", expected host:port')
        yield Task(job, int(index), address)


def _checked(cluster: Cluster, field: str) -> Cluster:
    if cluster.tasks == (cluster.own,) == tuple(cluster.trainers):
        return Cluster()
    chiefs = [task for task in cluster.tasks if task.job == "chief"]
    if len(chiefs) > 1 or not cluster.trainers or not cluster.servers:
        raise ConfigError(
            f"{field}: found {len(cluster.servers)} ps, {len(chiefs)} chiefs and "
            f"{len(cluster.trainers) - len(chiefs)} workers; expected 1 or more ps, at most 1 "
            "chief, and a chief or workers"
        )
    places: dict[str, Task] = {}
    for task in cluster.tasks:
        other = places.setdefault(task.address, task)
        if other is not task:
            raise ConfigError(f"{field}: {other} and {task} have the same address")
    return cluster


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    values = [environment.get(f"SLURM_{name}", "") for name in SLURM]
    missing = [f"SLURM_{name}" for name, value in zip(SLURM, values) if not value]
    if missing:
        raise ConfigError(f"PS_TASKS is set, but {', '.join(missing)} is not; start with srun")
    hosts, servers = _hosts(*values[2:4]), environment["PS_TASKS"]
    try:
        rank, number, count, job = (int(text) for text in (*values[:2], servers, values[4]))
    except ValueError:
        raise ConfigError(f"PS_TASKS={servers}: expected a number of tasks") from None
    if not 1 <= count <= number - 1 or len(hosts) != number:
        raise ConfigError(
            f"PS_TASKS={servers}, SLURM_STEP_NUM_TASKS={number}, SLURM_STEP_TASKS_PER_NODE="
            f"{values[3]}: expected 1 ps or more, a task beside them, and as many on the nodes"
        )
    here = environment.get("SLURMD_NODENAME", hosts[rank])
    if here != hosts[rank]:  # as with --distribution=cyclic
        raise ConfigError(
            f"SLURMD_NODENAME={here}, but task SLURM_PROCID={rank} belongs to {hosts[rank]}; "
            "start with srun --distribution=block"
        )
    # Jobs on one node take other ports.
    places = [f"{host}:{10000 + (job * 128 + task) % 20000}" for task, host in enumerate(hosts)]
    workers = [places[0], *places[1 + count :]]
    tasks = [Task("ps", i, place) for i, place in enumerate(places[1 : 1 + count])]
    tasks += [Task("worker", i, place) for i, place in enumerate(workers)]
    own = next(task for task in tasks if task.address == places[rank])
    return _checked(Cluster(tuple(tasks), own), "PS_TASKS")


def _hosts(nodes: str, tasks_per_node: str) -> list[str]:
    """("gpu[01-02,7],login", "2(x2),1(x2)") -> the host of each task, as `scontrol` expands it."""
    names, counts = [], []
    try:
        for name in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodes):
            parts = re.split(r"\[(.*?)\]", name)  # every second one stood in brackets
            parts = [_numbers(part) if i % 2 else [part] for i, part in enumerate(parts)]
            names += ["".join(each) for each in itertools.product(*parts)]
        for part in tasks_per_node.split(","):
            count, _, times = part.rstrip(")").partition("(x")
            counts += [int(count)] * int(times or 1)
    except ValueError:
        names = []
    if not names or len(names) != len(counts):
        raise ConfigError(
            f"SLURM_STEP_NODELIST={nodes} and SLURM_STEP_TASKS_PER_NODE={tasks_per_node}: expected "
            "a list of nodes as gpu[1-2,7] and a count for each as 2(x3); set TF_CONFIG instead"
        )
    return [name for name, count in zip(names, counts) for _ in range(count)]


def _numbers(ranges: str) -> list[str]:
    """08-10,3 -> 08, 09, 10, 3, as text."""
    bounds = [part.partition("-")[::2] for part in ranges.split(",")]
    numbers = [(len(a), range(int(a), int(b or a) + 1)) for a, b in bounds]
    return [str(number).zfill(width) for width, each in numbers for number in each]
