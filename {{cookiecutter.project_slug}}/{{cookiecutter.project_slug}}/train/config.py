"""Settings: composed from `conf/` by Hydra, and checked before TensorFlow is imported."""

from __future__ import annotations

import difflib
import os
from typing import Any, Sequence

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import ConfigError, UserError

CONF = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conf")

# What a run that is continued may not change: the weights would belong to neither setting.
FIXED = ("seed", "data", "model")


def load_config(arguments: Sequence[str]) -> DictConfig:
    """The settings for a command line such as `["model=mlp", "trainer.last_step=50"]`.

    With `run_dir=<an existing run>` they are that run's own, changed by the arguments.

    Raises:
        ConfigError: one line that names the argument, what was expected and the nearest key.
    """
    overrides = [_parse(argument) for argument in arguments]
    choices = [override for override in overrides if override.key_or_group in _groups()]
    changes = {
        override.key_or_group: override.value() for override in overrides if override not in choices
    }
    for choice in choices:
        _check_choice(choice.key_or_group, choice.value())
    config = _compose([choice.input_line for choice in choices])
    saved = os.path.join(str(changes.get("run_dir")), "config.yaml")
    if not os.path.exists(saved):
        _change(config, changes)
        return config

    before = _load(saved)
    continued = before.copy()
    for choice in choices:
        resolved = OmegaConf.to_container(config[choice.key_or_group], resolve=True)
        continued[choice.key_or_group] = OmegaConf.create(resolved)
    _change(continued, changes)
    continued.trainer.run_dir = continued.run_dir
    _refuse_differences(before, continued, saved)
    return continued


def instantiate(config: DictConfig) -> Any:
    """The object that a group's `_target_` and arguments describe; raises ConfigError."""
    try:
        return hydra_instantiate(config, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, (TypeError, ValueError, ImportError, AttributeError)):
            raise ConfigError(f"{config._target_}: {_first_line(cause)}") from error
        raise


def _parse(argument: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([argument])
    except HydraException as error:
        raise ConfigError(
            f'"{argument}" is no setting; expected key=value, such as trainer.last_step=50 '
            f"({_first_line(error)})"
        ) from None
    if override.type != OverrideType.CHANGE or override.is_sweep_override():
        raise ConfigError(
            f'"{argument}": expected one key=value with a key that is in conf/; '
            "write a new key into its YAML file first"
        )
    return override


def _groups() -> dict[str, list[str]]:
    """Group -> names of its files: {"data": ["digits", "mnist"], ...}."""
    return {
        group: sorted(name[:-5] for name in os.listdir(os.path.join(CONF, group)))
        for group in sorted(os.listdir(CONF))
        if os.path.isdir(os.path.join(CONF, group))
    }


def _check_choice(group: str, name: Any) -> None:
    known = _groups()[group]
    if name not in known:
        raise ConfigError(
            f"{group}={name}: there is no conf/{group}/{name}.yaml; "
            f"expected one of {', '.join(known)}{_nearest(str(name), known)}"
        )


def _compose(choices: list[str]) -> DictConfig:
    try:
        with initialize_config_dir(config_dir=CONF, version_base="1.3"):
            config = compose("train", choices)
        OmegaConf.resolve(config.copy())  # a reference to a missing key shows here
        return config
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"conf/: {_first_line(error)}") from None


def _load(path: str) -> DictConfig:
    try:
        return OmegaConf.load(path)
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read: {_first_line(error)}") from None


def _change(config: DictConfig, changes: dict[str, Any]) -> None:
    keys = _keys(config)
    for key, value in changes.items():
        if key not in keys:
            nearest = _nearest(key, [*keys, *_groups()])
            raise ConfigError(f"{key}: there is no such setting{nearest}")
        default = OmegaConf.select(config, key)
        _check_type(key, default, value)
        OmegaConf.update(config, key, str(value) if isinstance(default, str) else value)


def _check_type(key: str, default: Any, value: Any) -> None:
    """The value must be of the type of the default; a default of null accepts everything."""
    kinds = {
        bool: ((bool,), "true or false"),
        int: ((int,), "a whole number"),
        float: ((int, float), "a number"),
        str: ((str, int, float), "a text"),
    }
    accepted, expected = kinds.get(type(default), ((type(value),), ""))
    if OmegaConf.is_dict(default):
        accepted, expected = (dict,), f"one of {', '.join(f'{key}.{k}' for k in default)}"
    if OmegaConf.is_list(default):
        accepted, expected = (list,), "a list as [a,b]"
    is_bool_for_number = isinstance(value, bool) and bool not in accepted
    if not isinstance(value, accepted) or (is_bool_for_number and expected):
        raise ConfigError(f"{key}={value}: expected {expected}, such as {default}")


def _keys(config: DictConfig, prefix: str = "") -> list[str]:
    """All keys, with those of the groups inside: ["seed", "data", "data.batch_size", ...]."""
    keys = []
    for name in config:
        keys.append(f"{prefix}{name}")
        if OmegaConf.is_dict(config[name]):
            keys += _keys(config[name], f"{prefix}{name}.")
    return keys


def _nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean x?`, also when only the group was left out; empty if nothing is near."""
    found = [key for key in known if key.endswith(f".{name}")]
    found = found or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _refuse_differences(before: DictConfig, now: DictConfig, saved: str) -> None:
    keys = [key for key in {**dict.fromkeys(_keys(before)), **dict.fromkeys(_keys(now))}]
    different = [
        f"{key} was {OmegaConf.select(before, key)}, is {OmegaConf.select(now, key)}"
        for key in keys
        if key.split(".")[0] in FIXED
        and not OmegaConf.is_dict(OmegaConf.select(now, key))
        and OmegaConf.select(before, key) != OmegaConf.select(now, key)
    ]
    if different:
        raise ConfigError(
            f"this run was started with other settings: {'; '.join(different)}; leave them as "
            f"they were, start a new run, or edit {saved} if you mean it"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
