"""The GPUs of this machine, as NVIDIA's driver lists them; TensorFlow is not asked.

scripts/find_gpu.py asks for the first one, too: it runs before there is an environment, on any
Python 3.6, so neither can import the other.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess


def first_gpu() -> tuple[str, str]:
    """Its name, empty if there is no GPU, and its compute capability, 0 if it cannot be told."""
    for fields in ("name,compute_cap", "name"):  # old drivers do not know the second
        printed = _nvidia_smi(f"--query-gpu={fields}", "--format=csv,noheader")
        found = re.match(r"(.+?)(?:, ([\d.]+))?$", printed.strip(), re.MULTILINE)
        if found:
            return found.group(1), found.group(2) or "0"
    there = any(map(os.path.exists, ("/proc/driver/nvidia/gpus", "/dev/nvidia0")))
    return ("a GPU by NVIDIA" if there else ""), "0"


def name_of_all() -> str:
    """The name that all GPUs have; empty if there is none, or they are of several kinds.

    The driver's order is not always CUDA's, so a number would not tell which one it is.
    """
    printed = _nvidia_smi("--query-gpu=name", "--format=csv,noheader")
    names = {line.strip() for line in printed.splitlines() if line.strip()}
    return names.pop() if len(names) == 1 else ""


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES can name here: each GPU, or each part of those that have parts."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        # As CUDA reads it: up to the first one that is none.
        end = next((n for n, name in enumerate(names) if name in ("", "-1")), len(names))
        return names[:end]
    listed = _nvidia_smi("-L")
    # By their own names, for the driver's numbers are not always those of CUDA.
    return re.findall(r"UUID: (MIG-[^)\s]+)", listed) or re.findall(r"UUID: (GPU-[^)\s]+)", listed)


def share_gpus(gpus: list[str], slots: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is for each of the runs at a time; nothing if there are no GPUs.

    Each has GPUs of its own, as many as any other, so that runs can be compared; the rest are idle.
    Where there are fewer GPUs than runs, they take turns.
    """
    if not gpus:
        return []
    if len(gpus) < slots:
        return [gpus[slot % len(gpus)] for slot in range(slots)]
    each = len(gpus) // slots
    return [",".join(gpus[slot * each : (slot + 1) * each]) for slot in range(slots)]


def _nvidia_smi(*arguments: str) -> str:
    """What it prints; nothing if it is not there, or fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", *arguments]
        printed = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=30)
        return printed.decode(errors="replace")
    return ""
