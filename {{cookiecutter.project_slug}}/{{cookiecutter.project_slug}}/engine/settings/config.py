"""Settings: composed from `conf/` by Hydra, and checked before TensorFlow is imported."""

from __future__ import annotations

import glob
import os
import pathlib
from typing import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import ConfigError
from .overrides import change, expand_home, nearest_to, split_setting, values_in
from .targets import instantiate

__all__ = ["CONF", "instantiate", "load_config"]

CONF = str(pathlib.Path(__file__).absolute().parents[2] / "conf")

# What a resumed run may not change: the weights would belong to neither setting.
FIXED = ("seed", "data.", "model.", "trainer.seed", "trainer.limit_batches")
FREE = ("data.directory",)  # the same data may be elsewhere

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
        arguments: the words of the command line.
        name: train, or a key of conf/commands.yaml.

    Raises:
        ConfigError: one line that names the argument, what was expected and the nearest key.
    """
    settings = dict(split_setting(argument) for argument in arguments)
    choices: dict[str, str] = {}
    try:
        options = register(CONF)
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
        typed = changes.get("run_dir") or changes.get("trainer.run_dir") or config.run_dir
        typed = os.path.expanduser(typed)
        run_dir = str(OmegaConf.create({"run_dir": typed}).run_dir)
        before = _load(run_dir) if run_dir and "trainer" in config else None  # not of a sweep
        if before is None:
            change(config, changes, values_in(config), options)
            expand_home(config)
            return config
        now = _resumed(before, config, choices, run_dir)
        # A setting that is newer than the run has the default of its class until it is typed.
        change(now, changes, values_in(OmegaConf.merge(config, now)), options)
        expand_home(now)
        _check_same(before, now, changes)
        return now
    except (HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        for group, choice in choices.items():
            if f"Could not override '{PLACES.get(group, group)}'" in line:
                line = f"{group}={choice} has no place here; leave it out"
        raise ConfigError(f"the settings cannot be read: {line}") from None


def _compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    with initialize_config_dir(config_dir=CONF, version_base="1.3"):
        config = compose(name, [*overrides])
    OmegaConf.resolve(config.copy())  # a reference to a missing key shows here
    OmegaConf.set_struct(config, False)  # a dict may get new keys; others are refused by name
    return config


def _load(run_dir: str) -> DictConfig | None:
    """The settings that a run was last started with; None if there is no run."""
    path = os.path.join(run_dir, "config.yaml")
    if not os.path.exists(path):
        if glob.glob(f"{glob.escape(run_dir)}/checkpoints/*.index"):
            raise ConfigError(f"{run_dir}: was started without settings; resume it from Python")
        return None
    try:
        config = OmegaConf.load(path)
        complete = all("_target_" in config[group] for group in ("data", "model", "trainer"))
    except (OmegaConfBaseException, YAMLError, TypeError, ValueError, KeyError, IndexError):
        complete = False
    if not complete or "seed" not in config:
        raise ConfigError(f"{path}: is corrupt; restore it, or start a new run")
    return config


def _resumed(
    before: DictConfig, config: DictConfig, choices: dict[str, str], run_dir: str
) -> DictConfig:
    """A run's own settings, with those of the command and of what is chosen now."""
    own = {key: config[key] for key in config if key not in before}
    now = OmegaConf.merge(own, before)
    for group in choices.keys() - {"debug"}:
        place = PLACES.get(group, group).rpartition("@")[2]
        OmegaConf.update(now, place, OmegaConf.select(config, place), merge=False)
    preset = _compose(f"debug/{choices.get('debug', 'none')}")
    now.merge_with(preset.get("debug", preset))
    now.run_dir = now.trainer.run_dir = run_dir
    OmegaConf.resolve(now)  # as it was: a schedule does not follow a last step that is typed now
    return now


def _check_same(before: DictConfig, now: DictConfig, changes: dict[str, str]) -> None:
    """Raises ConfigError if a run would be resumed with other data, another model or seed."""
    old, new = values_in(before), values_in(now)
    different = [
        f"{key} was {old.get(key)}, is {new.get(key)}"
        for key in dict.fromkeys([*old, *changes])
        if key.startswith(FIXED)
        and key not in FREE
        and not OmegaConf.is_dict(old.get(key))
        and old.get(key) != new.get(key)
    ]
    if different:
        raise ConfigError(
            f"this run was started with other settings: {'; '.join(different)}; leave them as "
            f"they were, start a new run, or edit {now.run_dir}/config.yaml if you mean it"
        )


def register(conf: str) -> dict[str, list[str]]:
    """Tells Hydra of them; returns group -> all options, with the files in a folder of its name."""
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
