"""Which checkpoint a run resumes from: the newest that is complete and fits; and the best one."""

from __future__ import annotations

import functools
import glob
import json
import logging
import os
import re
from typing import Any, Collection, Sequence

import tensorflow.compat.v1 as tf

from ..errors import RunError

logger = logging.getLogger(__name__)

# What reading a checkpoint raises that is truncated, partly gone or of other bytes.
CORRUPT = (OSError, tf.errors.OpError, LookupError, RuntimeError, ValueError)


def run_saver(max_to_keep: int, keep_checkpoint_every_n_hours: float) -> tf.train.Saver:
    """Writes a run's checkpoints; for the arguments see `SessionTrainer`."""
    return RunSaver(
        max_to_keep=max_to_keep or None,
        keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
        save_relative_paths=True,  # so that a run directory can be moved
        defer_build=True,  # hooks may create variables, too
    )


class RunSaver(tf.train.Saver):
    """Resumes also where a hook made variables that the checkpoint does not hold.

    The model's own were compared before, see `restore_next`.
    """

    resumes_from: str | None = None  # set before it is built

    def build(self) -> None:
        super().build()
        self._others = None
        if self.resumes_from is None:
            return
        saved = tf.train.load_checkpoint(self.resumes_from).get_variable_to_shape_map()
        new = [v for v in tf.global_variables() if not _is_in(saved, v)]
        if new:
            names = ", ".join(variable.op.name for variable in new)
            logger.info("%s does not hold %s: initial values", self.resumes_from, names)
            others = [v for v in tf.global_variables() if _is_in(saved, v)]
            saveables = tf.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS)
            self._others = tf.train.Saver([*others, *saveables])
            self._initialize = tf.variables_initializer(new)

    def restore(self, session: tf.Session, prefix: str) -> None:
        if self._others and prefix == self.resumes_from:
            session.run(self._initialize)
            self._others.restore(session, prefix)
        else:
            super().restore(session, prefix)


def _is_in(saved: Collection[str], variable: tf.Variable) -> bool:
    """Whether a checkpoint has a variable; the parts of one that is partitioned are saved as one.

    A layer may well be called part_0, too.
    """
    name = variable.op.name
    return name in saved or re.sub(r"/part_\d+", "", name) in saved


def is_whole(prefix: str) -> bool:
    """Whether all of a checkpoint can be read."""
    try:
        _read_whole(prefix, _state(prefix))
    except CORRUPT:
        return False
    return True


def newest_checkpoint(directory: str, read: bool = True) -> tuple[str | None, int]:
    """The newest checkpoint that can be read completely, and its global step; (None, 0) if none.

    Args:
        directory: the checkpoints'.
        read: whether to read it instead of trusting its name.

    Raises:
        RunError: there are checkpoints, but none can be read.
    """
    prefixes = checkpoints_in(directory)
    for prefix in reversed(prefixes):
        try:
            return prefix, _read_whole(prefix, _state(prefix)) if read else step_of(prefix)
        except CORRUPT as error:
            logger.warning("%s is corrupt, looking for an older one: %s", prefix, error)
    if prefixes:
        best = read_best(os.path.join(os.path.dirname(directory), "best")).get("checkpoint", "")
        advice = "start a new run"
        if best and is_whole(best):
            advice += f", with model.warm_start.checkpoint={best}, which is whole"
        raise RunError(f"{directory}: no checkpoint there can be read; {advice}")
    return None, 0


@functools.lru_cache(maxsize=100)
def _read_whole(prefix: str, state: tuple[Any, ...]) -> int:
    """The global step of a checkpoint, read completely, but only once while it stays the same."""
    reader = tf.train.load_checkpoint(prefix)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)  # checks the sum
    return int(reader.get_tensor(tf.GraphKeys.GLOBAL_STEP))


def _state(prefix: str) -> tuple[Any, ...]:
    paths = sorted(glob.glob(f"{glob.escape(prefix)}.*"))
    return tuple((path, os.stat(path).st_mtime_ns, os.path.getsize(path)) for path in paths)


def remove_unfinished(*prefixes: str) -> None:
    """Removes what a kill left of checkpoints that were being written."""
    for prefix in prefixes:
        for path in glob.glob(f"{glob.escape(prefix)}-*.tempstate*"):
            os.remove(path)


def remove_corrupt_state(directory: str) -> None:
    """Removes a file `checkpoint` that cannot be read: `restore_next` writes it again."""
    try:
        tf.train.get_checkpoint_state(directory)
    except ValueError:
        path = os.path.join(directory, "checkpoint")
        logger.warning("%s is corrupt; the checkpoints themselves count", path)
        os.remove(path)


def restore_next(directory: str, prefix: str, variables: Sequence[tf.Variable]) -> None:
    """Makes a checkpoint the one that the session restores.

    Args:
        directory: the checkpoints'.
        prefix: the path of one of them.
        variables: those of the graph, each of which it must hold.

    Raises:
        RunError: it is of another model.
    """
    check_same_variables(prefix, variables)
    state = tf.train.get_checkpoint_state(directory)
    if state is None or os.path.basename(state.model_checkpoint_path) != os.path.basename(prefix):
        # Those that max_to_keep is to remove, but not those that are kept for their hours.
        older = [path for path in checkpoints_in(directory) if step_of(path) < step_of(prefix)]
        if state is not None:
            known = {os.path.basename(path) for path in state.all_model_checkpoint_paths}
            newest = max(map(step_of, known))
            older = [p for p in older if os.path.basename(p) in known or step_of(p) > newest]
        tf.train.update_checkpoint_state(directory, prefix, [*older, prefix])


def check_same_variables(prefix: str, variables: Sequence[tf.Variable]) -> None:
    """Raises RunError unless a checkpoint holds all variables; names those that differ."""
    saved = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    different = []
    for variable in variables:
        name, shape = variable.op.name, variable.shape.as_list()
        if name in saved:
            if saved[name] != shape:
                different.append(f"{name} is {saved[name]} there, {shape} in the model")
        elif not _is_in(saved, variable):
            different.append(f"{name} is in the model only")
    if different:
        raise RunError(
            f"{prefix}: is of another model: {'; '.join(different[:5])}; start a new run, or "
            "make the model what it was"
        )


def checkpoints_in(directory: str) -> list[str]:
    """All checkpoints of a directory, the oldest first."""
    # Not from the file `checkpoint` alone: it may name files that are gone.
    paths = glob.glob(os.path.join(glob.escape(directory), "*.index"))
    return sorted((path[: -len(".index")] for path in paths), key=step_of)


def step_of(prefix: str) -> int:
    """The global step in a checkpoint's name; -1 if it has none."""
    step = prefix.rpartition("-")[2]
    return int(step) if step.isdigit() else -1


def read_best(directory: str) -> dict[str, Any]:
    """What `best.json` says, with the path of the checkpoint; empty if there is none."""
    try:
        with open(os.path.join(directory, "best.json"), encoding="utf-8") as file:
            best = json.load(file)
        best["checkpoint"] = os.path.join(directory, best["checkpoint"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return best if os.path.exists(f"{best['checkpoint']}.index") else {}
