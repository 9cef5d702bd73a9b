"""Initial weights from another run's checkpoint."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from typing import Sequence

import tensorflow.compat.v1 as tf

from ..errors import ConfigError
from .averages import load

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class WarmStart:
    """Which weights a model starts with; a run that is resumed has its own.

    Args:
        checkpoint: the directory of a run, or one of its checkpoints (.../model.ckpt-2000); ""
            loads nothing.
        rename: regular expression -> replacement, from names there to names of this model, in
            this order.
        exclude: regular expressions; variables in whose name one is found keep their own initial
            values. All others must be there, in the same shape.
    """

    checkpoint: str = ""
    rename: dict[str, str] = field(default_factory=dict)
    exclude: Sequence[str] = ()

    def load(self, variables: Sequence[tf.Variable], session: tf.Session) -> None:
        """Loads those of the variables that are not excluded; without a checkpoint none.

        Raises:
            ConfigError: there is no checkpoint, or it holds no such variables.
        """
        if not self.checkpoint:
            return
        names = [variable.op.name for variable in variables]
        excluded = matching(self.exclude, names, "model.warm_start.exclude")
        wanted = {v.op.name: v for v in variables if v.op.name not in excluded}
        reader = self._reader()
        shapes = reader.get_variable_to_shape_map()
        names_there = {self._renamed(name): name for name in sorted(shapes)}
        wrong = []
        for name, variable in wanted.items():
            found, expected = shapes.get(names_there.get(name)), variable.shape.as_list()
            if found != expected:
                wrong.append(f"{name} is {found or 'not'} there, {expected} in the model")
        if wrong:
            raise ConfigError(
                f"{self.checkpoint}: {'; '.join(wrong)}; set model.warm_start.rename or exclude"
            )
        load(wanted, {name: reader.get_tensor(names_there[name]) for name in wanted}, session)
        logger.info("warm start from %s: %s", self.checkpoint, ", ".join(wanted))

    def _reader(self) -> tf.train.NewCheckpointReader:
        newest = tf.train.latest_checkpoint(os.path.join(self.checkpoint, "checkpoints"))
        try:
            return tf.train.load_checkpoint(newest or self.checkpoint)
        except (tf.errors.OpError, ValueError, RuntimeError):
            raise ConfigError(
                f"model.warm_start.checkpoint={self.checkpoint}: found none; expected the "
                "directory of a run, or a path such as runs/x/checkpoints/model.ckpt-2000"
            ) from None

    def _renamed(self, name: str) -> str:
        for pattern, replacement in self.rename.items():
            name = re.sub(pattern, replacement, name)
        return name


def matching(patterns: Sequence[str], names: Sequence[str], setting: str) -> set[str]:
    """The names in which one of the regular expressions is found.

    Raises:
        ConfigError: a pattern is found in none; the message lists them.
    """
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ConfigError(f'{setting}: "{pattern}" is in none of {", ".join(names)}')
    return {name for name in names if any(re.search(pattern, name) for pattern in patterns)}
