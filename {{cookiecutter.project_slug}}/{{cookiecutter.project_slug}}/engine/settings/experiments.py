"""Named experiments: what is typed for one, and what it is expected to reach."""

from __future__ import annotations

import math
import os
from typing import Any, Sequence

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import ConfigError
from .overrides import nearest_to
from .targets import CONF

KEY = "experiment="


def expanded(arguments: Sequence[str]) -> list[str]:
    """`experiment=NAME` -> the words of its settings, before all others, which may change them."""
    names = [text[len(KEY) :] for text in arguments if text.startswith(KEY)]
    others = [text for text in arguments if not text.startswith(KEY)]
    return [*(read_experiment(names[-1])["settings"] if names else ()), *others]


def read_experiment(name: str) -> dict[str, Any]:
    """An experiment of conf/experiments.yaml: `settings`, `expected` and `tolerance`.

    Raises:
        ConfigError: there is none of this name, or it lacks one of the three.
    """
    path = os.path.join(CONF, "experiments.yaml")
    try:
        known: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, OmegaConfBaseException, YAMLError) as error:
        problem = str(error).splitlines()[0]
        raise ConfigError(f"{path}: {problem}; expected a key for each experiment") from None
    if not known or not isinstance(known, dict):
        raise ConfigError(f"{path}: found no keys; expected one for each experiment")
    if name not in known:
        raise ConfigError(
            f"experiment={name}: there is no such experiment in {path}; expected one of "
            f"{', '.join(known)}{nearest_to(name, list(known))}"
        )
    experiment = known[name]
    try:
        settings, expected = experiment["settings"], experiment["expected"]
        texts = isinstance(settings, list) and all(isinstance(text, str) for text in settings)
        numbers = all(map(math.isfinite, [*expected.values(), experiment["tolerance"]]))
        complete = texts and expected and numbers
    except (KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise ConfigError(
            f"{path}: {name} is incomplete; expected settings, a list of key=value, expected, a "
            "number for each measure, and tolerance, a number"
        )
    return experiment
