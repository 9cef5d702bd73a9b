"""The settings of a command as YAML, in which those that are not the defaults are marked."""

from __future__ import annotations

from typing import Any, Iterator, Sequence

import yaml
from omegaconf import OmegaConf

from .config import load_config


def print_settings(arguments: Sequence[str]) -> int:
    """Prints a line for each setting of `train` with these arguments; returns the exit code.

    A comment stands where the default is another or, as with another data set, there is none.
    """
    print("\n".join(_lines(load_config(arguments), load_config([]), "")))
    return 0


def _lines(settings: Any, default: Any, indent: str) -> Iterator[str]:
    for key, value in settings.items():
        before = default.get(key) if key in default else {}
        if OmegaConf.is_dict(value) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, before if OmegaConf.is_dict(before) else {}, f"{indent}  ")
        else:
            mark = f"  # default: {_text(before)}" if key in default else "  # no default"
            yield f"{indent}{key}: {_text(value)}{'' if value == before else mark}"


def _text(value: Any) -> str:
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6)
    return text.partition("\n...")[0].strip()
