"""Settings: composed from `conf/` by Hydra, and checked before TensorFlow is imported."""

from __future__ import annotations

import functools
import glob
import os
import pathlib
import re
from typing import Any, Sequence

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import ConfigError
from .experiments import expanded
from .overrides import (
    change,
    is_allowed,
    is_moved,
    make_local,
    nearest_to,
    split_setting,
    values_in,
)
from .targets import CONF, PACKAGE, check_trusted, instantiate

__all__ = ["CONF", "instantiate", "load_config"]

# What a resumed run may not change: the weights would belong to neither setting.
FIXED = ("seed", "data.", "model.", "trainer.seed", "trainer.limit_batches")
# But for how its data are read, and where they are, whatever the setting's name: see is_moved.
FREE = re.compile(r"data\.(memory_fraction|parallel_calls|directory|path|pattern)")
READING = re.compile(r"data\.(batch_size|shuffle_\w+)")  # nor by a command that trains nothing

# File -> group of its keys @ where the settings of the chosen one go, as Hydra's overrides say it.
FILES = {
    "optimizers.yaml": "optimizer@model.optimizer",
    "schedules.yaml": "schedule@model.schedule",
    "losses.yaml": "loss@model.loss",
    "debug.yaml": "debug@_global_",
    "commands.yaml": "command@_global_",
    "shared.yaml": "",  # sections that other files include
}
PLACES = {place.partition("@")[0]: place for place in FILES.values()}


def load_config(arguments: Sequence[str], name: str = "train") -> DictConfig:
    """The settings of a command, changed as `["model=mlp", "trainer.last_step=50"]` says.

    With `run_dir=<a run>` they are that run's own, changed by the arguments.

    Args:
        arguments: the words of the command line; experiment=NAME stands for those of its own.
        name: train, or a key of conf/commands.yaml.

    Raises:
        ConfigError: one line that names the argument, what was expected and the nearest key.
    """
    arguments = expanded(arguments)
    settings = dict(split_setting(argument) for argument in arguments)
    choices: dict[str, str] = {}
    try:
        options = dict(_options(CONF, _state(CONF)))
        command = [f"+command@_global_={name}"] if name in options.pop("command") else []
        choices = {key: text for key, text in settings.items() if key in options}
        changes = {key: text for key, text in settings.items() if key not in options}
        for group, choice in choices.items():
            if choice not in options[group]:
                raise ConfigError(
                    f"{group}={choice}: there is no such {group} in conf/; expected one of "
                    f"{', '.join(options[group])}{nearest_to(choice, options[group])}"
                )
        if "trainer.last_step" in changes:  # else the epoch that a run was started with counts
            changes.setdefault("trainer.last_epoch", "0")
        # In quotes: to Hydra, debug=nan is a number.
        chosen = [f"{PLACES.get(group, group)}='{choice}'" for group, choice in choices.items()]
        config = _compose("train" if command else name, [*chosen, *command])
        _check_targets(config, choices)
        typed = changes.get("run_dir") or changes.get("trainer.run_dir") or config.run_dir
        run_dir = str(OmegaConf.create({"run_dir": os.path.expanduser(typed)}).run_dir)
        before = None
        if run_dir and "trainer" in config:  # not of a sweep
            before = _load(run_dir, name, arguments)
        if before is None:
            change(config, changes, values_in(config), options)
            make_local(config)
            return config
        old = values_in(before.copy())  # lists are changed in place
        now = _resumed(before, config, choices, run_dir)
        # A setting that is newer than the run has the default of its class until it is typed.
        change(now, changes, {**values_in(config), **values_in(now)}, options)
        make_local(now)
        free = [FREE] if name == "train" else [FREE, READING]
        _check_same(old, now, changes, free)
        return now
    except (HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        lines = (str(error).strip() or type(error).__name__).splitlines()
        line = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
        mark = getattr(error, "problem_mark", None)
        if mark:
            line = f"{mark.name}, line {mark.line + 1}: {getattr(error, 'problem', line)}"
        missing = re.search(r"Interpolation key '([\w.]+)' not found", line)
        if missing:
            line = (
                f"nothing sets {missing[1]}, which a file of conf/ refers to; add it to a file, "
                "as that of the data set, choose another model, or write a value there"
            )
        for group, choice in choices.items():
            if f"Could not override '{PLACES.get(group, group)}'" in line:
                line = f"{group}={choice} has no place here; leave it out"
        raise ConfigError(f"the settings cannot be read: {line}") from None


def _check_targets(config: DictConfig, choices: dict[str, str]) -> None:
    """Raises ConfigError where settings make no object."""
    for group in {"data", "model", "trainer"} & set(config):
        if "_target_" not in config[group]:
            raise ConfigError(
                f"{CONF}/{group}/{choices.get(group, '<the choice>')}.yaml: has no _target_; "
                f"expected that of a class, as in _target_: {PACKAGE}.{group}.{group.title()}"
            )


def _check_used(conf: str, config: DictConfig) -> None:
    """Raises ConfigError where settings lie outside of what objects are made from."""
    commands = OmegaConf.load(f"{conf}/commands.yaml").values()
    used = {"data", "model", "trainer", *OmegaConf.load(f"{conf}/train.yaml")}.union(*commands)
    for key in set(config) - used:
        raise ConfigError(
            f"{conf}: a file sets {key} outside of data, model and trainer, where nothing uses it; "
            "indent it below one of them, or remove the file's line # @package"
        )


def _compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    return _composed(CONF, _state(CONF), name, tuple(overrides)).copy()


@functools.lru_cache(maxsize=None)  # for sweeps, where it is the same for most runs
def _composed(conf: str, state: Any, name: str, overrides: tuple[str, ...]) -> DictConfig:
    _register(conf)
    with initialize_config_dir(config_dir=conf, version_base="1.3"):
        config = compose(name, [*overrides])
    if name == "train":
        _check_used(conf, config)
    OmegaConf.resolve(config.copy())  # a reference to a missing key shows here
    OmegaConf.set_struct(config, False)  # a dict may get new keys; others are refused by name
    return config


def _state(conf: str) -> tuple[Any, ...]:
    """What changes when a file of conf/ does."""
    return tuple(
        (str(path), path.stat().st_mtime_ns) for path in pathlib.Path(conf).rglob("*.yaml")
    )


def _load(run_dir: str, command: str, arguments: Sequence[str]) -> DictConfig | None:
    """The settings that a run was last started with; None if there are none to find or to need."""
    path = os.path.join(run_dir, "config.yaml")
    typed = {argument.partition("=")[0] for argument in arguments}
    if not os.path.exists(path):
        started = glob.glob(f"{glob.escape(run_dir)}/checkpoints/*.index")
        if started and not {"data", "model"} <= typed:
            raise ConfigError(
                f"{run_dir}: has no config.yaml, as one that was started from Python; restore it, "
                "or add the settings of data and model, as in data=mnist model=mlp model.hidden=64"
            )
        return None
    try:
        config = OmegaConf.load(path)
        complete = all("_target_" in config[group] for group in ("data", "model", "trainer"))
    except (OmegaConfBaseException, YAMLError, TypeError, ValueError, KeyError, IndexError):
        complete = False
    if not complete or "seed" not in config:
        raise ConfigError(f"{path}: is corrupt; restore it, or start a new run")
    if command != "train":  # it has settings of its own, and your hooks may start something
        for key in _compose(f"command/{command}").command:
            config.pop(key, None)
    for key in {"hooks", "callbacks"} & set(config.trainer):
        if command != "train" or f"trainer.{key}" in typed:
            config.trainer[key] = []
    check_trusted(OmegaConf.to_container(config), path, arguments)
    return config


def _resumed(
    before: DictConfig, config: DictConfig, choices: dict[str, str], run_dir: str
) -> DictConfig:
    """A run's own settings, with those of the command and of what is chosen now."""
    now = before
    now.update({key: config[key] for key in config if key not in now})
    for group in choices.keys() - {"debug"}:
        place = PLACES.get(group, group).rpartition("@")[2]
        OmegaConf.update(now, place, OmegaConf.select(config, place), merge=False)
    preset = _compose(f"debug/{choices.get('debug', 'none')}")
    now.merge_with(preset.get("debug", preset))
    now.run_dir = now.trainer.run_dir = run_dir
    now.trainer.allow_changes = []  # of this start alone
    OmegaConf.resolve(now)  # as it was: a schedule does not follow a last step that is typed now
    return now


def _check_same(
    old: dict[str, Any], now: DictConfig, changes: dict[str, str], free: Sequence[re.Pattern[str]]
) -> None:
    """Raises ConfigError if a run would be resumed with other data, another model or seed."""
    new = values_in(now)
    different = {
        key: f"{key} was {old.get(key)}, is {new.get(key)}"
        for key in dict.fromkeys([*old, *changes])
        if key.startswith(FIXED)
        and not any(each.fullmatch(key) for each in free)
        and not OmegaConf.is_dict(old.get(key))
        and old.get(key) != new.get(key)
        and not (key.startswith("data.") and is_moved(old.get(key), new.get(key)))
        and not is_allowed(key, now.trainer.allow_changes)
    }
    if different:
        raise ConfigError(
            f"this run was started with other settings: {'; '.join(different.values())}; leave "
            "them as they were, start a new run, or if you mean it add "
            f"trainer.allow_changes=[{','.join(different)}]"
        )


def _register(conf: str) -> dict[str, list[str]]:
    """Tells Hydra of the keys of FILES; returns group -> these and the files in its folder."""
    options: dict[str, list[str]] = {}
    for file, place in FILES.items():
        group = place.partition("@")[0]
        for name, node in OmegaConf.load(f"{conf}/{file}").items():
            ConfigStore.instance().store(group=group or None, name=name, node=node)
            options.setdefault(group, []).append(name)
    for path in pathlib.Path(conf).glob("*/*.yaml"):
        names = options.setdefault(path.parent.name, [])
        if path.stem in names:
            raise ConfigError(f"{path}: {path.stem} is a key of another file in conf/; rename one")
        names.append(path.stem)
    return {group: sorted(names) for group, names in options.items() if group}


@functools.lru_cache(maxsize=None)
def _options(conf: str, state: Any) -> dict[str, list[str]]:
    return _register(conf)
