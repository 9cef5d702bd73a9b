"""What is typed on a command line: key=value, compared with the setting that it changes."""

from __future__ import annotations

import difflib
import math
import re
from typing import Any, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError


def split_setting(argument: str) -> tuple[str, str]:
    """key=value -> (key, value as text); raises ConfigError."""
    key, equals, value = argument.partition("=")
    if not equals or not re.fullmatch(r"[\w.]+", key):
        raise ConfigError(
            f'"{argument}" is no setting; expected key=value with a key that is in conf/, such as '
            "trainer.last_step=50"
        )
    return key, value


def value_of(key: str, text: str) -> Any:
    """A number, a truth value, a list or a dict, as Hydra reads them."""
    try:
        (override,) = OverridesParser.create().parse_overrides([f"{key}={text}"])
        if not override.is_sweep_override():
            return override.value()
    except HydraException:
        pass
    return text


def sweep_values(key: str, text: str) -> list[str]:
    """What a sweep takes one after another: `1,2` or `range(1,3)` -> ["1", "2"]."""
    try:
        (override,) = OverridesParser.create().parse_overrides([f"{key}={text}"])
        if override.is_discrete_sweep():
            values = override.sweep_iterator()
            values = [x.text if isinstance(x, QuotedString) else x for x in values]
            return [x if isinstance(x, str) else Transformer.str(x) for x in values]
        if isinstance(override.value(), str):
            return [override.value()]
    except HydraException:
        pass
    return [text]


def check_type(key: str, default: Any, value: Any) -> None:
    """Raises ConfigError unless the value is of the type of the default; null accepts all."""
    if isinstance(default, bool):
        fits, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, expected = isinstance(value, int), "a whole number"
    elif isinstance(default, float):
        fits = isinstance(value, (int, float)) and math.isfinite(value)
        expected = "a number"
    elif OmegaConf.is_list(default):
        fits, expected = isinstance(value, list), "a list as [a,b]"
    elif OmegaConf.is_dict(default):
        fits = isinstance(value, dict) and not default
        inner = ", ".join(f"{key}.{name}" for name in default)
        expected = f"one of {inner}" if inner else "a dict as {a:b}"
    else:
        return
    if not fits or (isinstance(value, bool) and not isinstance(default, bool)):
        raise ConfigError(f"{key}={value}: expected {expected}, such as {default}")


def keys_of(config: DictConfig, prefix: str = "") -> list[str]:
    """All keys, with those of the groups inside: ["seed", "data", "data.batch_size", ...]."""
    keys = []
    for name in config:
        keys.append(f"{prefix}{name}")
        if OmegaConf.is_dict(config[name]):
            keys += keys_of(config[name], f"{prefix}{name}.")
    return keys


def nearest_to(name: str, known: Sequence[str]) -> str:
    """`; did you mean x?`, also when only the group was left out; empty if nothing is near."""
    found = [key for key in known if key.endswith(f".{name}")]
    found = found or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {' or '.join(found)}?" if found else ""
