"""Trains a model on a dataset in a MonitoredTrainingSession."""

from __future__ import annotations

import logging
import re
from typing import Sequence

import tensorflow.compat.v1 as tf

from ..data.dataset import Dataset
from ..errors import ConfigError, RunError
from ..model.model import Model
from .evaluation import Evaluation
from .hooks import CheckpointHook, EvaluateHook, LogHook, SignalHook, SummaryHook
from .hooks.every import STEP_AFTER_UPDATE
from .loop import LeanLoop
from .metrics import drop_metrics_after, last_metrics
from .run import Run, describe_start, new_directory

logger = logging.getLogger(__name__)


class SessionTrainer:
    """`SessionTrainer(...).fit(model, dataset)` is the whole program.

    Everything that happens every so often does so on exact multiples of the global step
    (`..._every_n_steps`), or by the clock (`..._every_n_secs`); 0 switches either off.

    Args:
        run_dir: where everything is written; an existing run is continued. Default: a new
            directory below `runs/`.
        seed: of the initial weights and of dropout.
        last_step: the global step to end at.
        last_epoch: the epoch to end at; sets `last_step` if above 0.
        log_every_n_steps, log_every_n_secs: a line on the console, in train.log, metrics.jsonl.
        summary_every_n_steps, summary_every_n_secs: TensorBoard's curves.
        checkpoint_every_n_steps, checkpoint_every_n_secs: checkpoints; the last step has one.
        evaluate_every_n_steps, evaluate_every_n_secs: evaluations; the last step has one.
        max_to_keep: newest checkpoints to keep; 0 keeps all.
        keep_checkpoint_every_n_hours: beside these, one for every so many hours is kept.
        max_inner_steps: the most steps that run inside the graph between two that hooks see; 1
            is a plain loop.
        hooks: your own tf.train.SessionRunHook objects; with one that has no `next_step` (see
            `EveryHook`) the loop is plain, since such a hook sees every step.
        gpus: "all", "none", or the numbers of those to use, such as "0,2".
        allow_growth: take a GPU's memory as it is needed, not all at once.
        intra_op_threads: threads within one operation; 0 lets TensorFlow choose.
        inter_op_threads: operations at a time; 0 lets TensorFlow choose.
        soft_placement: run on the CPU what has no GPU kernel.
    """

    def __init__(
        self,
        run_dir: str | None = None,
        seed: int = 1,
        last_step: int = 2000,
        last_epoch: int = 0,
        log_every_n_steps: int = 100,
        log_every_n_secs: float = 0.0,
        summary_every_n_steps: int = 100,
        summary_every_n_secs: float = 0.0,
        checkpoint_every_n_steps: int = 1000,
        checkpoint_every_n_secs: float = 0.0,
        evaluate_every_n_steps: int = 0,
        evaluate_every_n_secs: float = 0.0,
        max_to_keep: int = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        max_inner_steps: int = 1000,
        hooks: Sequence[tf.train.SessionRunHook] = (),
        gpus: str | int = "all",
        allow_growth: bool = True,
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
        soft_placement: bool = True,
    ) -> None:
        self.run_dir = run_dir
        self.seed = seed
        self.last_step = last_step
        self.last_epoch = last_epoch
        self.log_every = (log_every_n_steps, log_every_n_secs)
        self.summary_every = (summary_every_n_steps, summary_every_n_secs)
        self.checkpoint_every = (checkpoint_every_n_steps, checkpoint_every_n_secs)
        self.evaluate_every = (evaluate_every_n_steps, evaluate_every_n_secs)
        self.max_to_keep = max_to_keep
        self.keep_checkpoint_every_n_hours = keep_checkpoint_every_n_hours
        self.max_inner_steps = max_inner_steps
        self.hooks = list(hooks)
        self.session_config = session_config(
            str(gpus), allow_growth, intra_op_threads, inter_op_threads, soft_placement
        )
        self._signals = SignalHook()

    @property
    def stopped_by(self) -> int | None:
        """Number of the signal that ended `fit` early, else None."""
        return self._signals.received

    def fit(self, model: Model, dataset: Dataset, config: str = "") -> dict[str, float]:
        """Trains up to the last step, continuing from the newest checkpoint.

        Args:
            model: not yet built.
            dataset: gives the batches; its first split is trained on, its last evaluated.
            config: the settings as YAML, kept in the run directory.

        Returns:
            The means of the last evaluation: {"loss": ..., <measure>: ...}.

        Raises:
            UserError: its subclasses, each with one line for people.
        """
        run = Run(self.run_dir or new_directory(model.name))
        run.refuse_if_foreign()
        dataset.prepare()
        last_step = self._last_step(dataset)
        if run.steps_done() < last_step:
            with tf.Graph().as_default():
                tf.set_random_seed(self.seed)
                train_op, loop, hooks, scaffold = self._build(model, dataset, run, last_step)
                with run.opened(describe_start(self.seed, dataset.files()), config):
                    self._train(train_op, loop, hooks, scaffold, run)
        else:
            logger.info("%s is finished: %d steps are done", run.directory, run.steps_done())
        return last_metrics(run.metrics, dataset.splits[-1])

    def _last_step(self, dataset: Dataset) -> int:
        if self.last_epoch:
            return self.last_epoch * (dataset.count(dataset.splits[0]) // dataset.batch_size)
        return self.last_step

    def _build(
        self, model: Model, dataset: Dataset, run: Run, last_step: int
    ) -> tuple[tf.Operation, LeanLoop, list[tf.train.SessionRunHook], tf.train.Scaffold]:
        """One graph: the training step, its summaries, the evaluation, and what happens when."""
        global_step = tf.train.get_or_create_global_step()
        batches = dataset.batches(dataset.splits[0], True, start_step=global_step.read_value())
        iterator = tf.data.make_initializable_iterator(batches)
        # Run after a checkpoint is restored (a Scaffold's init_fn is not), so the order goes on.
        tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)

        features, labels = iterator.get_next()
        train_op, loss, outputs = model.training_step(features, labels)
        with tf.control_dependencies([train_op]):
            tf.add_to_collection(STEP_AFTER_UPDATE, global_step.read_value())
        shown = {"loss": loss, **model.measure(outputs, labels)}
        with tf.name_scope("training"):  # your hooks may fetch "training/loss:0"
            shown = {name: tf.reduce_mean(value, name=name) for name, value in shown.items()}
        for name, value in shown.items():
            tf.summary.scalar(name, value)
        for variable in model.trainable_variables:
            tf.summary.histogram(f"weights/{variable.op.name}", variable)
        summaries = tf.summary.merge_all()  # before the loop's step adds what cannot be fetched

        saver = tf.train.Saver(
            max_to_keep=self.max_to_keep or None,
            keep_checkpoint_every_n_hours=self.keep_checkpoint_every_n_hours,
            save_relative_paths=True,  # so that a run directory can be moved
        )
        evaluation = Evaluation(model, dataset, dataset.splits[-1])
        ends = (1, last_step)
        hooks = [
            *self.hooks,
            LogHook(shown, dataset.batch_size, run.metrics, *self.log_every, ends),
            SummaryHook(run.directory, summaries, *self.summary_every, ends),
            EvaluateHook(evaluation, run.evaluations, run.metrics, *self.evaluate_every, ends[1:]),
            CheckpointHook(run.checkpoint_prefix, saver, *self.checkpoint_every),
        ]
        loop = LeanLoop(
            lambda: model.training_step(*iterator.get_next())[0], hooks, self.max_inner_steps
        )
        self._signals = SignalHook(loop.stop_op)
        hooks = [tf.train.StopAtStepHook(last_step=last_step), self._signals, *hooks]
        return train_op, loop, hooks, tf.train.Scaffold(saver=saver, summary_op=summaries)

    def _train(
        self,
        train_op: tf.Operation,
        loop: LeanLoop,
        hooks: list[tf.train.SessionRunHook],
        scaffold: tf.train.Scaffold,
        run: Run,
    ) -> None:
        drop_metrics_after(run.metrics, run.steps_done())
        logger.info("run directory: %s", run.directory)
        session = tf.train.MonitoredTrainingSession(
            checkpoint_dir=run.checkpoints,
            scaffold=scaffold,
            hooks=hooks,
            config=self.session_config,
            save_checkpoint_secs=None,  # ours save and count on exact multiples
            save_checkpoint_steps=None,
            save_summaries_secs=None,
            save_summaries_steps=None,
            log_step_count_steps=None,
        )
        try:
            with session:
                while not session.should_stop():
                    session.run_step_fn(loop.advance)  # steps that no hook wants to see
                    session.run(train_op)
        except tf.errors.InvalidArgumentError as error:
            found = re.search(r"the (loss|gradient of \S+) is not finite", error.message)
            if not found:
                raise
            raise RunError(
                f"{found.group()} after step {hooks[-1].step}; nothing was written since; lower "
                f"model.learning_rate or set model.clip, then continue with "
                f"run_dir={run.directory}"
            ) from None
        finally:
            self._signals.restore()


def session_config(
    gpus: str = "all",
    allow_growth: bool = True,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    soft_placement: bool = True,
) -> tf.ConfigProto:
    """The session's devices and threads; for the arguments see `SessionTrainer`.

    Raises:
        ConfigError: `gpus` is neither "all", "none" nor numbers.
    """
    config = tf.ConfigProto(
        allow_soft_placement=soft_placement,
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=inter_op_threads,
    )
    config.gpu_options.allow_growth = allow_growth
    if gpus == "none":
        config.device_count["GPU"] = 0
    elif re.fullmatch(r"\d+(,\d+)*", gpus):
        config.gpu_options.visible_device_list = gpus
    elif gpus != "all":
        raise ConfigError(f'trainer.gpus: found "{gpus}"; expected all, none or numbers as 0,2')
    return config
