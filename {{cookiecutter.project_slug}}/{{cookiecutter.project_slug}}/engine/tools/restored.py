"""A trained model in a session: what evaluate, predict and export share."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from typing import Any, Iterator

import tensorflow.compat.v1 as tf
from omegaconf import DictConfig, OmegaConf

from ..errors import ConfigError, RunError
from ..graph.averages import load
from ..graph.replicas import Replicas
from ..input.source import VALIDATION, splits_of
from ..run.checkpoints import (
    check_same_variables,
    checkpoints_in,
    newest_checkpoint,
    read_best,
    step_of,
)
from ..run.deterministic import missing_kernel_named
from ..run.devices import chosen_gpus, replica_devices, set_up_devices
from ..run.run import Run
from ..run.start import check_same_dataset, describe_dataset
from ..settings.config import instantiate
from ..settings.overrides import is_allowed


class Restored:
    """The dataset and the model of a run, and the checkpoint that has its weights.

        restored = Restored(load_config(["run_dir=runs/x"]), "best")
        with restored.graph():
            outputs = restored.model(features)
            with restored.session() as session:
                session.run(outputs)

    `record` is what the run found in its data, `class_names` the part of it about labels, if any.

    Args:
        config: the run's settings.
        checkpoint: "" is the newest; "best", a step, or a path.

    Raises:
        ConfigError: there is no such run or checkpoint; the message lists what there is.
    """

    def __init__(self, config: DictConfig, checkpoint: str = "") -> None:
        self.config = config
        self.checkpoint = find_checkpoint(config.run_dir, checkpoint)
        self.step = step_of(self.checkpoint)
        self.dataset = instantiate(config.data)
        self.record: dict[str, Any] = Run(config.run_dir).read_record().get("dataset", {})
        self.class_names: list[str] = self.record.get("class_names", [])
        for name in ("image_shape", "table_columns"):  # found in files that may be gone
            if name in self.record and not getattr(self.dataset, name, True):
                setattr(self.dataset, name, self.record[name])
        self.model = instantiate(config.model)
        # Without your own hooks, which may start something.
        own = {name: () for name in ("hooks", "callbacks") if name in config.trainer}
        self._trainer = instantiate(OmegaConf.merge(config.trainer, own))
        set_up_devices(self.session_config, self._trainer.deterministic)

    @property
    def session_config(self) -> tf.ConfigProto:
        """The devices and threads of the run."""
        return self._trainer.session_config

    @contextlib.contextmanager
    def graph(self) -> Iterator[None]:
        """A new graph with the run's seed, to build the model in for as many GPUs as are there.

        The most is `trainer.replicas` of the run.
        """
        if self.model.built:  # in an earlier graph, which has its variables
            self.model = instantiate(self.config.model)
        with tf.Graph().as_default():
            tf.set_random_seed(self._trainer.seed)
            gpus = len(chosen_gpus(self.session_config))  # without one, the CPU is not split
            replicas = min(self._trainer.replicas or gpus, gpus)
            self.model.replicas = Replicas(replica_devices(self.session_config, replicas))
            yield

    def prepare(self, split: str = "") -> str:
        """Prepares the data to evaluate a split, and returns its name; "" is that of training.

        Raises:
            ConfigError: there is no such split.
            RunError: labels or features mean something else than in training.
        """
        split = split or self.dataset.evaluation_split
        if split not in splits_of(self.dataset):
            expected = ", ".join(splits_of(self.dataset))
            raise ConfigError(f"split={split}: expected one of {expected}")
        self.dataset.prepare()
        if not is_allowed("data.files", self.config.trainer.allow_changes):
            of_training = split in (self.dataset.training_split, VALIDATION)
            facts = describe_dataset(self.dataset, of_training)
            check_same_dataset(self.config.run_dir, self.record, facts)
        return split

    @contextlib.contextmanager
    def session(self) -> Iterator[tf.Session]:
        """A session of the current graph whose variables have the checkpoint's values.

        With `model.ema_decay` the weights are their averages, as in evaluations while training.

        Raises:
            RunError: the checkpoint is corrupt, or of another model.
        """
        saver = tf.train.Saver()
        with tf.Session(config=self.session_config) as session:
            session.run([tf.local_variables_initializer(), tf.tables_initializer()])
            try:
                self._restore(saver, session)
            except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
                reason = str(error).partition("\n")[0]
                raise RunError(
                    f"{self.checkpoint}: cannot be read: {reason}; set checkpoint to another, or "
                    "run the command again if training has just replaced it"
                ) from None
            with missing_kernel_named():
                yield session

    def _restore(self, saver: tf.train.Saver, session: tf.Session) -> None:
        check_same_variables(self.checkpoint, tf.global_variables())
        saver.restore(session, self.checkpoint)
        if self.model.optimization.averages.decay:
            reader = tf.train.load_checkpoint(self.checkpoint)
            variables = {variable.op.name: variable for variable in tf.global_variables()}
            names = [name for name in variables if reader.has_tensor(f"{name}/average")]
            load(variables, {name: reader.get_tensor(f"{name}/average") for name in names}, session)


def find_checkpoint(run_dir: str, name: str = "") -> str:
    """The path of a run's checkpoint; for the arguments and errors see `Restored`."""
    name = re.sub(r"\.(index|data-\d+-of-\d+)$", "", name)  # one of its files
    directory = Run(run_dir).checkpoints
    there = {str(step_of(path)): path for path in checkpoints_in(directory)}
    if not there:
        raise ConfigError(
            f"run_dir={run_dir}: there is no run with a checkpoint; expected the directory of one, "
            f"such as {', '.join(sorted(_runs_in('runs'))[-10:]) or 'train makes'}"
        )
    best = read_best(os.path.join(run_dir, "best"))
    if best:
        there["best"] = best["checkpoint"]
    if name and name not in there and not os.path.exists(f"{name}.index"):
        raise ConfigError(
            f"checkpoint={name}: there is no such checkpoint; expected one of {', '.join(there)}, "
            "or a path"
        )
    return there.get(name, name) or newest_checkpoint(directory)[0] or ""


def newest_run(directory: str = "runs") -> str:
    """The run below a directory whose checkpoint was written last; raises ConfigError if none."""
    runs = _runs_in(directory)
    if not runs:
        raise ConfigError(f"{directory}: there is no run with a checkpoint; train a model first")
    return max(runs, key=lambda run: os.path.getmtime(os.path.join(run, "checkpoints")))


def _runs_in(directory: str) -> list[str]:
    """The runs below a directory that have a checkpoint."""
    found = glob.glob(os.path.join(glob.escape(directory), "**", "checkpoints"), recursive=True)
    return [os.path.dirname(path) for path in found if checkpoints_in(path)]
