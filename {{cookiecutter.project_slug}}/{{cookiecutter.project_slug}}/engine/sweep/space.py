"""What a search tries: the words of a sweep, and intervals."""

from __future__ import annotations

import math
from typing import Any, Iterator, Sequence

import numpy as np
from optuna import distributions

from ..errors import ConfigError
from ..settings.config import load_config
from ..settings.overrides import parsed, split_setting, sweep_values, values_in
from .jobs import Job


class Space:
    """What is searched, setting -> distribution, and the words that are the same for all trials.

    Args:
        arguments: those of a sweep; `interval(1e-4,1e-1)`, in `tag(log,...)` if log-uniform,
            stands for the integers or numbers between, as the setting's type is.

    Raises:
        ConfigError: a word is wrong, or none has anything to search.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        typed = dict(split_setting(argument) for argument in arguments)
        values = {key: _values(key, text) for key, text in typed.items()}
        first = [f"{key}={texts[0]}" for key, texts in values.items() if texts]
        known = values_in(load_config(first))
        self.searched: dict[str, Any] = {}  # distributions of Optuna
        for key, text in typed.items():
            if not values[key]:  # of a setting that there is not, the check of a run says so
                self.searched[key] = _between(key, text, known.get(key, 0.0))
            elif len(values[key]) > 1:
                self.searched[key] = _one_of(key, text, values[key])
        self.typed = {key: typed[key] for key in self.searched}
        self._fixed = [word for word in first if word.partition("=")[0] not in self.searched]
        if not self.searched:
            raise ConfigError(
                "search.trials: nothing is searched; expected a setting with several values, such "
                "as model=mlp,cnn or 'model.learning_rate=tag(log,interval(1e-4,1e-1))'"
            )

    def size(self) -> float:
        """The number of combinations; infinite if one of the settings is any number."""
        sizes = [
            len(each.choices)
            if isinstance(each, distributions.CategoricalDistribution)
            else (each.high - each.low) / each.step + 1
            if isinstance(each, distributions.IntDistribution)
            else math.inf
            for each in self.searched.values()
        ]
        return float(np.prod(sizes))

    def job(self, name: str, params: dict[str, Any]) -> Job:
        """The run with these values of what is searched."""
        texts = [f"{key}={value}" for key, value in params.items()]
        return Job(name, params, [*self._fixed, *texts])

    def extremes(self) -> Iterator[Job]:
        """Runs with the first value of everything, but for one setting: its end, or each choice."""
        ends = {
            key: getattr(each, "choices", None) or (each.low, each.high)
            for key, each in self.searched.items()
        }
        first = {key: values[0] for key, values in ends.items()}
        for key, values in ends.items():
            for value in values:
                yield self.job("", {**first, key: value})


def _values(key: str, text: str) -> list[str]:
    """What a word of the command line names one by one; nothing if it is an interval."""
    override = parsed(key, text)
    if override and override.is_interval_sweep():
        return []
    if override and override.is_sweep_override() and getattr(override.value(), "tags", None):
        raise ConfigError(f"{key}={text}: tag(...) is for interval(low,high) alone")
    values = list(dict.fromkeys(sweep_values(key, text)))
    if not values:
        raise ConfigError(f"{key}={text}: no value is left: the range is empty")
    return values


def _between(key: str, text: str, default: Any) -> distributions.BaseDistribution:
    override: Any = parsed(key, text)
    sweep = override.value()
    low, high, log = sweep.start, sweep.end, sweep.tags == {"log"}
    whole = type(default) is int  # true is a bool
    if not whole and not isinstance(default, float):
        raise ConfigError(
            f"{key}={text}: an interval needs a setting that is a number; list values, as {key}=a,b"
        )
    if sweep.tags - {"log"} or not -math.inf < low < high < math.inf or (log and low <= 0):
        raise ConfigError(
            f"{key}={text}: expected interval(low,high) with low < high, or for log-uniform "
            "values tag(log,interval(low,high)) with low above 0"
        )
    if not whole:
        return distributions.FloatDistribution(float(low), float(high), log=log)
    if low % 1 or high % 1:
        raise ConfigError(f"{key}={text}: expected integers, as {key} is one")
    return distributions.IntDistribution(int(low), int(high), log=log)


def _one_of(key: str, text: str, values: list[str]) -> distributions.BaseDistribution:
    override: Any = parsed(key, text)
    if override.is_range_sweep() and all(value.lstrip("-").isdigit() for value in values):
        numbers = sorted(map(int, values))
        return distributions.IntDistribution(numbers[0], numbers[-1], step=numbers[1] - numbers[0])
    return distributions.CategoricalDistribution(values)
