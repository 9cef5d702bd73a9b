"""Where the tasks of a Slurm step are, and what each is for."""

from __future__ import annotations

import subprocess
from typing import Mapping

from ..errors import ConfigError

# What srun sets. (TensorFlow 1.15's SlurmClusterResolver ignores steps.)
VARIABLES = ("PROCID", "STEP_NUM_TASKS", "JOB_ID", "STEP_NODELIST", "STEP_TASKS_PER_NODE")


def slurm_places(environment: Mapping[str, str]) -> tuple[dict[str, list[str]], str]:
    """The cluster that PS_TASKS makes of a step, whose tasks otherwise train independently.

    The first task is the chief, the next PS_TASKS hold the variables, the others are workers. With
    PS_TASKS=0 nobody holds them: all train in step.

    Returns:
        Job -> addresses, and this task's.

    Raises:
        ConfigError: variables are missing or contradict each other; names them.
    """
    values = [environment.get(f"SLURM_{name}", "") for name in VARIABLES]
    missing = [f"SLURM_{name}" for name, value in zip(VARIABLES, values) if not value]
    if missing:
        raise ConfigError(f"PS_TASKS is set, but {', '.join(missing)} is not; start with srun")
    nodes, tasks_per_node = values[3:]
    found = f"PS_TASKS={environment['PS_TASKS']}, SLURM_STEP_TASKS_PER_NODE={tasks_per_node}"
    try:
        rank, number, job, servers = map(int, [*values[:3], environment["PS_TASKS"]])
        counts = _counts(tasks_per_node)
    except ValueError:
        raise ConfigError(f"{found}: expected an integer, and counts as 2(x3),1") from None
    names = _host_names(nodes)
    if not 0 <= servers < number or len(names) != len(counts) or sum(counts) != number:
        raise ConfigError(
            f"{found}, SLURM_STEP_NUM_TASKS={number}, SLURM_STEP_NODELIST={nodes}: expected at "
            "least 1 task besides the ps, and a count for each node, which add up to all tasks"
        )
    hosts = [name for name, count in zip(names, counts) for _ in range(count)]
    here = environment.get("SLURMD_NODENAME", hosts[rank])
    if here != hosts[rank]:  # as with --distribution=cyclic
        raise ConfigError(
            f"SLURMD_NODENAME={here}, but task SLURM_PROCID={rank} belongs to {hosts[rank]}; "
            "start with srun --distribution=block"
        )
    # Jobs on one node take other ports.
    places = [f"{host}:{10000 + (job * 128 + task) % 20000}" for task, host in enumerate(hosts)]
    end = 1 + servers
    return {"ps": places[1:end], "worker": [places[0], *places[end:]]}, places[rank]


def _counts(tasks_per_node: str) -> list[int]:
    """2(x3),1 -> 2 2 2 1."""
    counts = []
    for part in tasks_per_node.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts


def _host_names(nodes: str) -> list[str]:
    """gpu[08-09],login -> gpu08 gpu09 login."""
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        return subprocess.check_output(command, stderr=subprocess.STDOUT, text=True).split()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "output", "").strip() or str(error)).splitlines()[0]
        raise ConfigError(
            f"SLURM_STEP_NODELIST={nodes}: `scontrol show hostnames`, which expands it, failed "
            f"({reason}); fix that, or set TF_CONFIG in place of PS_TASKS"
        ) from None
