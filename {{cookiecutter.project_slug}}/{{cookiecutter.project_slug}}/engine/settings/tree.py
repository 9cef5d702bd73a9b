"""The settings of a command as YAML: each with its meaning, those marked that are not defaults."""

from __future__ import annotations

import pathlib
import re
from typing import Any, Iterator, Sequence

import yaml
from omegaconf import DictConfig, OmegaConf

from .config import FILES, load_config
from .overrides import values_in
from .targets import CONF


def print_settings(arguments: Sequence[str]) -> int:
    """Prints a line for each setting of `train` with these arguments; returns the exit code.

    A comment says what it means, as conf/ does, and the default where that is another or, as with
    another data set, there is none.
    """
    settings = load_config(arguments)
    print("\n".join(_lines(settings, load_config([]), meanings(settings))))
    return 0


def _lines(
    settings: Any, default: Any, meant: dict[str, str], indent: str = "", above: str = ""
) -> Iterator[str]:
    for key, value in settings.items():
        before = default.get(key) if key in default else {}
        if OmegaConf.is_dict(value) and value:
            yield f"{indent}{key}:"
            below = before if OmegaConf.is_dict(before) else {}
            yield from _lines(value, below, meant, f"{indent}  ", f"{above}{key}.")
        else:
            mark = f"[default: {_text(before)}]" if key in default else "[no default]"
            notes = [mark] if value != before or key not in default else []
            comment = " ".join([*notes, *filter(None, [meant.get(above + key)])])
            yield f"{indent}{key}: {_text(value)}{'  # ' * bool(comment)}{comment}"


def _text(value: Any) -> str:
    plain = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6)
    return text.partition("\n...")[0].strip()


def meanings(settings: DictConfig) -> dict[str, str]:
    """The comments of conf/ about these settings, "model.hidden" -> "units of the hidden layer".

    Those of the very class or function that is chosen count first.
    """
    known = values_in(settings)
    found: dict[str, tuple[bool, str]] = {}
    for path in sorted(pathlib.Path(CONF).rglob("*.yaml")):
        group, target, keys = path.parent.name, "", [""]
        for line in path.read_text("utf-8").splitlines():
            parts = re.fullmatch(r"( *)(\w+):(?: (.*?))??(?: +# (.*))?", line)
            if not parts:
                continue
            depth = len(parts[1]) // 2
            keys = [*keys[:depth], parts[2]]
            if parts[2] == "_target_":
                target = parts[3]
            for place, key in _places(path, group, keys):
                name = f"{place}.{key}".strip(".")
                chosen = known.get(f"{place}._target_".strip(".")) == target
                if parts[4] and name in known and chosen >= found.get(name, (False,))[0]:
                    found[name] = (chosen, parts[4])
    return {name: text for name, (_, text) in found.items()}


def _places(path: pathlib.Path, group: str, keys: list[str]) -> list[tuple[str, str]]:
    """Where the settings of a file go: the section, and the key in it."""
    if group != "conf":
        return [(group, ".".join(keys))]
    inner = ".".join(keys[1:])
    if path.stem == "shared":
        return [(section, inner) for section in ("data", "model", "trainer")]
    place = FILES.get(path.name, "")
    return [(place.partition("@")[2], inner)] if "model" in place else [("", ".".join(keys))]
