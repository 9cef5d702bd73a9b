"""What is typed on a command line: key=value, compared with the setting that it changes."""

from __future__ import annotations

import difflib
import glob
import math
import os
import re
from typing import Any, Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError

# Only TensorFlow reads them; a run needs locks, renaming and sizes of files, too.
REMOTE = re.compile(r"(abfss?|az|gs|har|hdfs|ram|s3[an]?|viewfs)://")


def split_setting(argument: str) -> tuple[str, str]:
    """key=value -> (key, value as text); raises ConfigError."""
    key, equals, value = argument.partition("=")
    if not equals or not re.fullmatch(r"[\w.]+", key):
        raise ConfigError(
            f'"{argument}" is not a setting; expected key=value with a key of conf/, such as '
            "trainer.last_step=50"
        )
    return key, value


def change(
    config: DictConfig, changes: dict[str, str], known: dict[str, Any], groups: Iterable[str]
) -> None:
    """Sets what is typed, key -> text, of the keys and types in `known`; raises ConfigError.

    A message names the nearest of the keys and groups, or the type that was expected.
    """
    for key, text in changes.items():
        if key not in known:
            nearest = nearest_to(key, [*known, *groups])
            raise ConfigError(f"{key}: there is no such setting{nearest}")
        value: Any = text
        if not isinstance(known[key], str):  # else as typed: 2020_01 is not a number
            override = parsed(key, text)
            if override and not override.is_sweep_override():
                value = override.value()
        check_type(key, known[key], value)
        OmegaConf.update(config, key, value)


def make_local(config: DictConfig) -> None:
    """Makes ~ the home directory where a value begins with it: a shell does not, behind an =.

    Raises:
        ConfigError: a value is no path of this machine; see `check_local`.
    """
    for key, value in values_in(config).items():
        for each in value if OmegaConf.is_list(value) else [value]:
            check_local(key, str(each))
        if isinstance(value, str) and value.startswith("~"):
            OmegaConf.update(config, key, os.path.expanduser(value))


def check_local(key: str, path: str) -> None:
    """Raises ConfigError for a path such as gs://bucket/run, on a file system of TensorFlow's."""
    if REMOTE.match(path):
        raise ConfigError(
            f"{key}={path}: found a path of another file system; expected one of this machine; "
            "copy it here, or mount it, as gcsfuse, s3fs and hdfs-fuse do"
        )


def sweep_values(key: str, text: str) -> list[str]:
    """What a sweep takes one after another: `1,2` or `range(1,3)` -> ["1", "2"]."""
    override = parsed(key, text)
    if override and override.is_interval_sweep():
        raise ConfigError(
            f"{key}={text}: an interval is for a search alone; add search.trials=20, or name values"
        )
    if override and override.is_discrete_sweep():
        values = override.sweep_iterator()
        values = [x.text if isinstance(x, QuotedString) else x for x in values]
        return [x if isinstance(x, str) else Transformer.str(x) for x in values]
    value = override.value() if override else text
    return [value if isinstance(value, str) else text]


def parsed(key: str, text: str) -> Override | None:
    """What Hydra's grammar makes of key=text; None if it is no sentence of it."""
    try:
        return OverridesParser.create().parse_overrides([f"{key}={text}"])[0]
    except HydraException:
        return None


def check_type(key: str, default: Any, value: Any) -> None:
    """Raises ConfigError unless the value is of the type of the default; null accepts all."""
    hint = ""
    if isinstance(default, bool):
        fits, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, expected = isinstance(value, int), "an integer"
        hint = f"; {default}.0 in conf/ allows fractions" if isinstance(value, float) else ""
    elif isinstance(default, float):
        fits = isinstance(value, (int, float)) and math.isfinite(value)
        expected = "a number"
    elif OmegaConf.is_list(default):
        fits, expected = isinstance(value, list), "a list as [a,b] or ['a (b)',c]"
    elif OmegaConf.is_dict(default):
        fits = isinstance(value, dict) and not default
        inner = ", ".join(f"{key}.{name}" for name in default)
        expected = f"one of {inner}" if inner else "a dict as {a:b}"
    else:
        return
    if not fits or (isinstance(value, bool) and not isinstance(default, bool)):
        raise ConfigError(f"{key}={value}: expected {expected}, such as {default}{hint}")


def values_in(config: DictConfig, prefix: str = "") -> dict[str, Any]:
    """All keys and values, with those inside: {"seed": 1, "data": {...}, "data.batch_size": 64}."""
    found = {}
    for key, value in config.items():
        found[f"{prefix}{key}"] = value
        if OmegaConf.is_dict(value):
            found.update(values_in(value, f"{prefix}{key}."))
    return found


def nearest_to(name: str, known: Sequence[str]) -> str:
    """`; did you mean x?`, also when only the group was left out; empty if nothing is near."""
    found = [key for key in known if key.endswith(f".{name}")]
    found = found or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def is_allowed(key: str, allowed: Sequence[str]) -> bool:
    """Whether `trainer.allow_changes` names a setting, or what holds it."""
    return any(f"{key}.".startswith(f"{each}.") for each in allowed)


def is_moved(old: Any, new: Any) -> bool:
    """Whether both are paths, or lists of them, of one name in different directories.

    The new one, or its directory, must be there: a query or a column may hold a slash, too.
    """
    olds, news = (value if isinstance(value, list) else [value] for value in (old, new))
    pairs = [(str(a).rstrip("/\\"), str(b).rstrip("/\\")) for a, b in zip(olds, news)]
    return len(olds) == len(news) and all(
        re.split(r"[/\\]", a)[-1] == re.split(r"[/\\]", b)[-1] and _is_path(b) for a, b in pairs
    )


def _is_path(text: str) -> bool:
    pattern = glob.escape(os.path.expanduser(text)).replace("[*]", "*").replace("[?]", "?")
    pattern = pattern.replace("{split}", "*")
    # Or what it would be in: a directory, or an archive of arrays.
    return any(next(glob.iglob(x), None) for x in (pattern, os.path.dirname(pattern)) if x)
