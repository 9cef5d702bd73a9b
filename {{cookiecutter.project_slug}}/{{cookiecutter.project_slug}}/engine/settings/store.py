"""Files in conf/ whose keys are options: `optimizer=momentum` is a key of conf/optimizers.yaml."""

from __future__ import annotations

import pathlib

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ..errors import ConfigError

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
