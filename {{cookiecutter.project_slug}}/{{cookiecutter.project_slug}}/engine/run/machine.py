"""What this process may take of the machine: memory and cores."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import PurePosixPath

import psutil

# Where Linux says how much memory a group of processes may take: version 2 and 1 of cgroups.
GROUPS = "/proc/self/cgroup"
LIMITS = {
    "": "/sys/fs/cgroup{}/memory.max",
    "memory": "/sys/fs/cgroup/memory{}/memory.limit_in_bytes",
}

RUNS = "RUNS_ON_MACHINE"  # the environment's variable that says how many share it


def cores() -> int:
    """The number of cores that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def runs() -> int:
    """How many runs of a sweep share them, this one among them."""
    number = os.environ.get(RUNS, "")
    return max(int(number), 1) if re.fullmatch("[0-9]{1,4}", number) else 1


def memory_limit() -> int:
    """Bytes of memory of this machine, or of the container or job if it may take fewer.

    Of a sweep's runs at a time each has an equal part.
    """
    limits = [psutil.virtual_memory().total]
    groups = [(kind, "") for kind in LIMITS]  # what a container sees as its root
    with contextlib.suppress(OSError, ValueError), open(GROUPS) as file:
        for _, kinds, group in (line.strip().split(":", 2) for line in file):
            above = [*PurePosixPath(group).parents][:-1]
            for kind in LIMITS.keys() & kinds.split(","):
                groups += [(kind, str(path)) for path in (group, *above)]
    for path in [LIMITS[kind].format(group) for kind, group in groups]:
        try:
            with open(path) as file:
                limits.append(int(file.read()))
        except (OSError, ValueError):  # no such file, or "max"
            pass
    return min(limits) // runs()
