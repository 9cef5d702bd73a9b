"""Initial weights from another run's checkpoint."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from typing import Collection, Iterable, Pattern, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import ConfigError
from ..run.checkpoints import newest_checkpoint
from .averages import load

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class WarmStart:
    """Which weights a model starts with; a run that is resumed has its own.

    Args:
        checkpoint: the directory of a run, or one of its checkpoints (.../model.ckpt-2000); ""
            loads nothing. Where it has averages of weights (ema_decay), these are loaded.
        rename: regular expression -> replacement, from names there to names of this model, in
            this order.
        exclude: regular expressions; variables in whose name one is found keep their own initial
            values. All others must be there, in the same shape.
    """

    checkpoint: str = ""
    rename: dict[str, str] = field(default_factory=dict)
    exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._rename = compiled(self.rename, "model.warm_start.rename")
        self._exclude = compiled(self.exclude, "model.warm_start.exclude")

    def load(self, variables: Sequence[tf.Variable], session: tf.Session) -> None:
        """Loads the variables that are not excluded; without a checkpoint, none.

        Raises:
            ConfigError: there is no checkpoint, or it does not hold these variables.
        """
        if not self.checkpoint:
            return
        names = [variable.op.name for variable in variables]
        excluded = matching(self._exclude, names, "model.warm_start.exclude")
        wanted = {v.op.name: v for v in variables if v.op.name not in excluded}
        reader = self._reader()
        shapes = reader.get_variable_to_shape_map()
        names_there = self._names_there(shapes)
        wrong = []
        for name, variable in wanted.items():
            found, expected = shapes.get(names_there.get(name)), variable.shape.as_list()
            if found != expected:
                there = "not" if found is None else found
                wrong.append(f"{name} is {there} there, {expected} in the model")
        if wrong:
            raise ConfigError(
                f"{self.checkpoint}: {'; '.join(wrong)}; set model.warm_start.rename or exclude"
            )
        load(wanted, {name: reader.get_tensor(names_there[name]) for name in wanted}, session)
        logger.info("warm start from %s: %s", self.checkpoint, ", ".join(wanted))

    def _reader(self) -> tf.train.NewCheckpointReader:
        directory = os.path.join(self.checkpoint, "checkpoints")
        try:
            newest = tf.train.latest_checkpoint(directory)
        except ValueError:  # its file `checkpoint` is corrupt
            newest, _ = newest_checkpoint(directory)
        try:
            file = re.compile(r"\.(index|data-\d+-of-\d+)$")  # one of a checkpoint's
            return tf.train.load_checkpoint(newest or file.sub("", self.checkpoint))
        except (tf.errors.OpError, ValueError, RuntimeError):
            raise ConfigError(
                f"model.warm_start.checkpoint={self.checkpoint}: found none; expected the "
                "directory of a run, or a path such as runs/x/checkpoints/model.ckpt-2000"
            ) from None

    def _names_there(self, shapes: Collection[str]) -> dict[str, str]:
        """The model's names -> those in the checkpoint; where it has averages, these."""
        averages = {f"{name}/average" for name in shapes}
        renamed = {name: name for name in shapes if name not in averages}
        for pattern, replacement in zip(self._rename, self.rename.values()):
            matching([pattern], sorted(renamed.values()), "model.warm_start.rename")
            renamed = {there: pattern.sub(replacement, name) for there, name in renamed.items()}
        names: dict[str, str] = {}
        for there, name in sorted(renamed.items()):
            if name in names:
                raise ConfigError(
                    f"model.warm_start.rename: both {names[name]} and {there} become {name}"
                )
            names[name] = there
        return {
            name: f"{there}/average" if f"{there}/average" in shapes else there
            for name, there in names.items()
        }


def weights_loaded(
    writes: Sequence[tf.Operation],
) -> tuple[list[tf.Operation], dict[str, np.ndarray]]:
    """The writes that belong to a step, and what Keras' set_weights and load_weights wrote.

    They write in a session of Keras, by a placeholder; a run's own session has to be told.
    """
    of_step = [write for write in writes if write.inputs[-1].op.type != "Placeholder"]
    handles = {write.inputs[0].op for write in set(writes).difference(of_step)}
    loaded = {v.op.name: v for v in tf.global_variables() if v.handle.op in handles}
    return of_step, tf.keras.backend.get_session().run(loaded) if loaded else {}


def compiled(patterns: Iterable[str], setting: str) -> list[Pattern[str]]:
    """Regular expressions; raises ConfigError for what is not one."""
    try:
        return [re.compile(pattern) for pattern in patterns]
    except (re.error, TypeError) as error:
        raise ConfigError(
            f"{setting}: found {list(patterns)}, expected regular expressions: {error}"
        ) from None


def matching(patterns: Sequence[Pattern[str]], names: Sequence[str], setting: str) -> set[str]:
    """The names in which one of the regular expressions is found.

    Raises:
        ConfigError: a pattern is found in no name; the message lists them.
    """
    for pattern in patterns:
        if not any(map(pattern.search, names)):
            raise ConfigError(f'{setting}: "{pattern.pattern}" is in none of {", ".join(names)}')
    return {name for name in names if any(pattern.search(name) for pattern in patterns)}
