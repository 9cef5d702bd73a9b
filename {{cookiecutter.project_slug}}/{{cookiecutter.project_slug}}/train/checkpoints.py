"""Which checkpoint a run continues from: the newest that is whole and fits the model."""

from __future__ import annotations

import glob
import logging
import os
from typing import Sequence

import tensorflow.compat.v1 as tf

from ..errors import RunError

logger = logging.getLogger(__name__)


def newest_checkpoint(directory: str) -> tuple[str | None, int]:
    """The newest checkpoint that can be read whole, and its global step; (None, 0) if none.

    Raises:
        RunError: there are checkpoints, but none can be read.
    """
    # Not from the file `checkpoint` alone: it may name files that are gone.
    prefixes = {path[: -len(".index")] for path in glob.glob(f"{glob.escape(directory)}/*.index")}
    for prefix in sorted(prefixes, key=_step_in_name, reverse=True):
        try:
            reader = tf.train.load_checkpoint(prefix)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)  # checks the sum
            return prefix, int(reader.get_tensor(tf.GraphKeys.GLOBAL_STEP))
        except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
            logger.warning("%s is damaged, looking for an older one: %s", prefix, error)
    if prefixes:
        raise RunError(f"{directory}: no checkpoint there can be read; start a new run")
    return None, 0


def continue_from(directory: str, prefix: str, variables: Sequence[tf.Variable]) -> None:
    """Makes a checkpoint the one that the session restores.

    Args:
        directory: the checkpoints'.
        prefix: the path of one of them.
        variables: those of the graph, each of which it must hold.

    Raises:
        RunError: it is of another model; names the variables and shapes that differ.
    """
    saved = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    wanted = {variable.op.name: variable.shape.as_list() for variable in variables}
    different = [
        f"{name} is {saved.get(name, 'not there')} there, {shape} in the model"
        for name, shape in sorted(wanted.items())
        if saved.get(name) != shape
    ]
    if different:
        raise RunError(
            f"{prefix}: is of another model: {'; '.join(different[:5])}; start a new run, or "
            "make the model what it was"
        )
    state = tf.train.get_checkpoint_state(directory)
    listed = [os.path.abspath(path) for path in state.all_model_checkpoint_paths] if state else []
    if listed[-1:] != [os.path.abspath(prefix)]:
        kept = [path for path in listed if _step_in_name(path) < _step_in_name(prefix)]
        tf.train.update_checkpoint_state(
            directory, prefix, [path for path in kept if os.path.exists(f"{path}.index")] + [prefix]
        )


def _step_in_name(prefix: str) -> int:
    step = prefix.rpartition("-")[2]
    return int(step) if step.isdigit() else -1
