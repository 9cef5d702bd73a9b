"""Runs that one command line names, nests of settings, and tables of text."""

from __future__ import annotations

import glob
import logging
import os
from typing import Any, Mapping, Sequence

from omegaconf import DictConfig

from ..errors import ConfigError
from ..settings.config import load_config

logger = logging.getLogger(__name__)


def configs_of_runs(arguments: Sequence[str], command: str) -> list[DictConfig]:
    """The settings of each run that a `run_dir=` names, changed by the other arguments.

    Args:
        arguments: `run_dir=` may come several times, and be a pattern, such as runs/sweep/*, if
            there is no directory of that name.
        command: see `load_config`.
    """
    for text in arguments:
        if "=" not in text or os.path.isdir(text):
            raise ConfigError(f"{text}: found a path alone; expected run_dir={text}")
    typed = [
        os.path.expanduser(text.partition("=")[2])
        for text in arguments
        if text.startswith("run_dir=")
    ]
    others = [text for text in arguments if not text.startswith("run_dir=")]
    run_dirs = [run_dir for text in typed or [""] for run_dir in _matching(text)]
    return [load_config([*others, f"run_dir={run_dir}"], command) for run_dir in run_dirs]


def _matching(pattern: str) -> list[str]:
    if os.path.isdir(pattern) or not set("*?[") & set(pattern):
        return [pattern]
    runs = set(map(os.path.dirname, glob.glob(os.path.join(pattern, "checkpoints"))))
    found = {run for run in runs if glob.glob(f"{glob.escape(run)}/checkpoints/*.index")}
    if not found:
        raise ConfigError(f"run_dir={pattern}: there is no run with a checkpoint that matches")
    if found != runs:
        logger.warning("left out, without a checkpoint: %s", ", ".join(sorted(runs - found)))
    return sorted(found)


def different_settings(configs: Sequence[DictConfig]) -> list[dict[str, Any]]:
    """Of each run the settings that are not the same in all of them."""
    settings = [flat(config) for config in configs]
    keys = [key for each in settings for key in each if not key.endswith("run_dir")]
    keys = [key for key in keys if len({str(each.get(key, "")) for each in settings}) > 1]
    return [{key: each.get(key, "") for key in keys} for each in settings]


def flat(nest: Any, name: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}, "c": [2, 3]} -> {"a.b": 1, "c.0": 2, "c.1": 3}.

    Args:
        nest: dicts, lists and tuples of anything, or settings.
        name: what the keys begin with; the key of what is in no dict, list or tuple.
    """
    if isinstance(nest, (str, bytes)) or not isinstance(nest, (Mapping, Sequence)):
        return {name: nest}
    items = nest.items() if isinstance(nest, Mapping) else enumerate(nest)
    parts = [flat(part, f"{name}.{key}" if name else str(key)) for key, part in items]
    leaves = [leaf for part in parts for leaf in part.items()]
    names = dict(leaves)
    if len(names) < len(leaves):
        keys = [key for key, _ in leaves]
        twice = ", ".join(key for key in names if keys.count(key) > 1)
        raise ConfigError(f"{twice}: two values have this name; rename one")
    return names


def table(rows: Sequence[dict[str, Any]], hidden: Sequence[str] = ()) -> str:
    """Lines of text, one for each row; the columns are the keys, except those hidden."""
    names = dict.fromkeys(name for row in rows for name in row if name not in hidden)
    lines = [list(names)]
    for row in rows:
        values = [row.get(name, "") for name in names]
        lines.append([f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )
