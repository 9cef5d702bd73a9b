"""What must be known to repeat a start: command, code, versions, host, seed, data, changes."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
from typing import Any

import google.protobuf
import numpy as np
import tensorflow.compat.v1 as tf
from omegaconf import OmegaConf

from ...data.dataset import Dataset
from ..compat import RUNTIME
from ..errors import DataError, RunError
from ..input.footprint import file_bytes
from ..input.split import shared_path
from ..settings.overrides import values_in
from .deterministic import is_deterministic
from .gpus import name_of_all

CHECKSUM_BYTES = 2**30  # of data, which takes some three seconds


def describe_start(seed: int, dataset: Any, files: dict[str, list[str]]) -> dict[str, Any]:
    """What must be known to repeat a run: command, code, versions, host, GPU, seed, data."""
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": [os.path.basename(sys.executable), *sys.argv],
        "git": _git_state(),
        "runtime": RUNTIME,
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "protobuf": google.protobuf.__version__,
        },
        "host": platform.node(),
        # Of those that `set_up_devices` left visible.
        "gpu": (name_of_all() or "a GPU") * bool(tf.config.experimental.get_visible_devices("GPU")),
        "deterministic": is_deterministic(),
        "seed": seed,
        "data": _describe_files(dataset, files),
    }


def _git_state() -> dict[str, Any] | None:
    git = ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "--no-optional-locks"]
    try:
        commit, status = (
            subprocess.check_output([*git, *words], stderr=subprocess.DEVNULL).strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.decode(errors="replace"), "dirty": bool(status)}


def _describe_files(dataset: Any, files: dict[str, list[str]]) -> dict[str, Any]:
    """Split -> number, bytes and sha256 of its files in their order; of very many bytes no sum."""
    try:
        found: dict[str, dict[str, Any]] = {
            split: {"files": len(paths), "bytes": file_bytes(dataset, split)}
            for split, paths in files.items()
        }
        if sum(split["bytes"] for split in found.values()) <= CHECKSUM_BYTES:
            for split, paths in files.items():
                sums = "".join(map(_sha256, paths))
                found[split]["sha256"] = hashlib.sha256(sums.encode()).hexdigest()
        return found
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise DataError(f"{reason}; expected a readable file") from None


def check_same_files(directory: str, before: Any, now: Any) -> None:
    """Raises RunError where a split's files are others than those `describe_start` found before.

    Their order and contents count, not their paths: they may have been moved.
    """
    for split, found in now.items():
        known = (before or {}).get(split) or found
        different = [key for key in found if known.get(key, found[key]) != found[key]]
        if different:
            key = different[-1]  # the sum, if there is one
            raise RunError(
                f"{directory}: the files of the split {split} are others than at the last start "
                f"({key} {known[key]}, now {found[key]}); give it the same, start a new run, or if "
                "you mean it add trainer.allow_changes=[data.files]"
            )


def describe_dataset(dataset: Dataset, of_training: bool = True) -> dict[str, Any]:
    """What labels and features mean, which files alone do not say, or which may be gone.

    of_training: whether also the names of the training files, by which validation_share divides.
    """
    names = ("class_names", "image_shape", "table_columns")
    found = {name: getattr(dataset, name) for name in names if hasattr(dataset, name)}
    facts: dict[str, Any] = json.loads(json.dumps(found, default=str))  # as it is read again
    if of_training and dataset.validation_share and not dataset.overrides("records"):
        paths = dataset.files(dataset.training_split)
        inner = [path[len(shared_path(paths)) :] for path in paths]
        names_of_files = "\n".join(inner).encode(errors="surrogateescape")
        facts["file_names"] = hashlib.sha256(names_of_files).hexdigest()
    return facts


def check_same_dataset(run: str, before: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Raises RunError where labels or features mean something else than `describe_dataset` says."""
    for name, known in (before or {}).items():
        if now.get(name, known) != known and known:
            change = f"{name} was {known!s:.200}, is {now[name]!s:.200}"
            if name == "file_names":
                change = "the training files have other names, by which validation_share divides"
            raise RunError(
                f"{run}: {change}; give it the data that it was trained on, start a new run, or "
                "where that is meant add trainer.allow_changes=[data.files]"
            )


def changes(before: str, now: str) -> dict[str, list[Any]]:
    """Setting -> [value before, value now], where two texts of YAML differ."""
    old, new = (values_in(OmegaConf.create(text)) for text in (before, now))
    keys = [key for key in {**old, **new} if not OmegaConf.is_dict({**old, **new}[key])]
    found = {key: [old.get(key), new.get(key)] for key in keys if old.get(key) != new.get(key)}
    return OmegaConf.to_container(OmegaConf.create(found))


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
