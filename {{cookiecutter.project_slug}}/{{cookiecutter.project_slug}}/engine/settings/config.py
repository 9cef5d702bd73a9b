"""Settings: composed from `conf/` by Hydra, and checked before TensorFlow is imported."""

from __future__ import annotations

import difflib
import glob
import os
import pathlib
import pydoc
import re
import traceback
from typing import Any, Sequence

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import ConfigError
from .overrides import check_type, keys_of, nearest_to, split_setting, value_of

CONF = str(pathlib.Path(__file__).absolute().parents[2] / "conf")

# What a run that is continued may not change: the weights would belong to neither setting.
FIXED = ("seed", "data", "model", "trainer.seed", "trainer.limit_batches")
FREE = ("data.directory",)  # but for where the same data lie

PLACES = {"loss": "loss@model.loss"}  # a group that a model's YAML includes, as Hydra calls it


def load_config(arguments: Sequence[str], name: str = "train") -> DictConfig:
    """The settings of `conf/<name>.yaml`, changed as `["model=mlp", "trainer.last_step=50"]` says.

    With `run_dir=<an existing run>` they are that run's own, changed by the arguments.

    Raises:
        ConfigError: one line that names the argument, what was expected and the nearest key.
    """
    settings = dict(split_setting(argument) for argument in arguments)
    choices = {key: value for key, value in settings.items() if key in _groups()}
    changes = {key: value for key, value in settings.items() if key not in choices}
    for group, choice in choices.items():
        _check_choice(group, choice)
    if "trainer.last_step" in changes:  # else the epoch that a run was started with would count
        changes.setdefault("trainer.last_epoch", "0")
    try:
        config = _compose(name, choices)
        typed = changes.get("run_dir") or changes.get("trainer.run_dir")
        run_dir = str(OmegaConf.create({"run_dir": typed or config.run_dir}).run_dir)
        # A run without a checkpoint has no weights yet that belong to its settings.
        if (
            name == "sweep"
            or not run_dir
            or not glob.glob(f"{glob.escape(run_dir)}/checkpoints/*.index")
        ):
            _change(config, changes)
            return config
        before = _load(run_dir)
        config.seed = before.seed
        # Such as model.optimizer, which is in a folder of its own but no part of its own.
        chosen = {group: config.model[group] for group in set(choices) - {*config, "debug"}}
        for group in set(_groups()).intersection(before) - set(choices):
            # Below the run's own values stand those of settings that are newer than the run.
            newer = _same_classes(config[group], before[group])
            config[group] = OmegaConf.merge(newer, before[group])
        for group in chosen:
            config.model[group] = chosen[group]
        if "debug" in choices:  # above the run's own
            config.merge_with(OmegaConf.load(f"{CONF}/debug/{choices['debug']}.yaml"))
        config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        _change(config, changes)
        config.run_dir = config.trainer.run_dir = run_dir
        _check_same_settings(before, config, [*keys_of(before), *changes], run_dir)
        return config
    except (HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        if PLACES["loss"] in str(error):
            raise ConfigError("loss: this model has one of its own; leave it out") from None
        if "launcher" in choices:
            raise ConfigError("launcher: is for sweeps; with -m, each run is a job of it") from None
        raise ConfigError(f"the settings cannot be read: {_first_line(error)}") from None


def _same_classes(newer: DictConfig, before: DictConfig) -> DictConfig:
    """Those settings of `newer` that are arguments of the same classes as in `before`."""
    if newer.get("_target_") != before.get("_target_"):
        return OmegaConf.create({})
    for key in newer:
        if OmegaConf.is_dict(newer[key]) and OmegaConf.is_dict(before.get(key)):
            newer[key] = _same_classes(newer[key], before[key])
    return newer


def _load(run_dir: str) -> DictConfig:
    """The settings that a run was started with."""
    path = os.path.join(run_dir, "config.yaml")
    if not os.path.exists(path):
        raise ConfigError(f"{run_dir}: was started without settings; continue it from Python")
    try:
        config = OmegaConf.load(path)
        whole = all("_target_" in config[group] for group in ("data", "model", "trainer"))
    except (OmegaConfBaseException, YAMLError, TypeError, ValueError, KeyError, IndexError):
        whole = False
    if not whole or "seed" not in config:
        raise ConfigError(f"{path}: is damaged; write it again, or start a new run")
    return config


def instantiate(config: DictConfig) -> Any:
    """The object that a group's `_target_` and arguments describe.

    Raises:
        ConfigError: there is no such class, or it has no such argument. What the class itself
            raises keeps its type and stack trace.
    """
    try:
        return hydra_instantiate(config, _convert_="all")
    except HydraException as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        files = [frame.filename for frame in traceback.extract_tb(cause.__traceback__)]
        unexpected = "__init__() got an unexpected keyword argument"
        mistaken = "__init__() missing" in str(cause) or any(
            f"{unexpected} '{key.split('.')[-1]}'" in str(cause) for key in keys_of(config)
        )
        if mistaken or all("importlib" in f or f"{os.sep}hydra{os.sep}" in f for f in files):
            target = re.match(r"Error locating target '(.+?)'", str(error))
            known = _known(target.group(1)) if target else ""
            raise ConfigError(f"{config._target_}: {_first_line(cause)}{known}") from None
        raise cause from None


def _known(target: str) -> str:
    """`; expected one of ...`: what there is where a class or function was looked for."""
    place, _, name = target.rpartition(".")
    module = pydoc.locate(place)
    public = {key: getattr(module, key) for key in dir(module) if not key.startswith("_")}
    known = [key for key, value in public.items() if callable(value)]
    own = [key for key in known if getattr(public[key], "__module__", "") == place] or known
    nearest = difflib.get_close_matches(name, own, n=10, cutoff=0.4) if len(own) > 10 else own
    return f"; expected one of {', '.join(nearest)}{nearest_to(name, own)}" if module else ""


def _groups() -> dict[str, list[str]]:
    """Group -> names of its files: {"data": ["digits", "mnist"], ...}."""
    return {
        group: sorted(path.stem for path in pathlib.Path(CONF, group).glob("*.yaml"))
        for group in sorted(os.listdir(CONF))
        if os.path.isdir(os.path.join(CONF, group))
    }


def _check_choice(group: str, name: Any) -> None:
    known = _groups()[group]
    if name not in known:
        raise ConfigError(
            f"{group}={name}: there is no conf/{group}/{name}.yaml; "
            f"expected one of {', '.join(known)}{nearest_to(str(name), known)}"
        )


def _compose(name: str, choices: dict[str, str]) -> DictConfig:
    # In quotes: to Hydra, debug=nan is a number.
    overrides = [f"{PLACES.get(group, group)}='{choice}'" for group, choice in choices.items()]
    with initialize_config_dir(config_dir=CONF, version_base="1.3"):
        config = compose(name, overrides)
    OmegaConf.resolve(config.copy())  # a reference to a missing key shows here
    OmegaConf.set_struct(config, False)  # a dict may get new keys; others are refused by name
    return config


def _change(config: DictConfig, changes: dict[str, str]) -> None:
    keys = keys_of(config)
    for key, text in changes.items():
        if key not in keys:
            raise ConfigError(
                f"{key}: there is no such setting{nearest_to(key, [*keys, *_groups()])}"
            )
        default = OmegaConf.select(config, key)
        # Text stays as it was typed: 2020_01 is no number, and an é needs no quotes.
        value = text if isinstance(default, str) else value_of(key, text)
        check_type(key, default, value)
        OmegaConf.update(config, key, value)


def _check_same_settings(
    before: DictConfig, now: DictConfig, keys: list[str], run_dir: str
) -> None:
    fixed = [key for key in keys if f"{key}.".startswith(tuple(f"{name}." for name in FIXED))]
    different = [
        f"{key} was {OmegaConf.select(before, key)}, is {OmegaConf.select(now, key)}"
        for key in dict.fromkeys(fixed)
        if key not in FREE
        and not OmegaConf.is_dict(OmegaConf.select(before, key))
        and OmegaConf.select(before, key) != OmegaConf.select(now, key)
    ]
    if different:
        raise ConfigError(
            f"this run was started with other settings: {'; '.join(different)}; leave them as "
            f"they were, start a new run, or edit {run_dir}/config.yaml if you mean it"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
