"""Trains a model on a dataset in a MonitoredTrainingSession."""

from __future__ import annotations

import logging
import re
from typing import Sequence

import tensorflow.compat.v1 as tf

from ..data.dataset import Dataset
from ..errors import ConfigError, ModelError, RunError
from ..model.model import Model
from .checkpoints import continue_from, newest_checkpoint
from .devices import session_config
from .evaluation import Evaluation
from .hooks import CheckpointHook, EvaluateHook, LogHook, SignalHook, SummaryHook
from .hooks.every import STEP_AFTER_UPDATE, EveryHook
from .loop import LeanLoop
from .metrics import drop_metrics_after, last_metrics
from .run import Run, describe_start, disk_errors, new_directory

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
        numbers = {"last_step": last_step, "max_inner_steps": max_inner_steps, "seed": seed + 1}
        wrong = [name for name, value in numbers.items() if not 1 <= value <= 2**31]
        if wrong or last_epoch < 0 or max_to_keep < 0:
            raise ConfigError(
                f"trainer: found {', '.join(wrong) or 'last_epoch or max_to_keep'} below its least "
                "value (1 for last_step and max_inner_steps, else 0), or above 31 bits"
            )
        if not all(isinstance(hook, tf.train.SessionRunHook) for hook in hooks):
            raise ConfigError("trainer.hooks: found no hook; expected [{_target_: module.Class}]")
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
            dataset: gives the batches.
            config: the settings as YAML, kept in the run directory.

        Returns:
            The means of the last evaluation: {"loss": ..., <measure>: ...}.

        Raises:
            UserError: its subclasses, each with one line for people.
        """
        if model.built:
            raise ModelError(f"{model.name}: is in another graph already; make a new one to fit")
        dataset.prepare()
        last_step = self.last_step
        if self.last_epoch:
            last_step = self.last_epoch * dataset.steps_per_epoch(dataset.training_split)
        run = Run(self.run_dir or new_directory(model.name))
        _, step = newest_checkpoint(run.checkpoints)
        if step < last_step:
            with run.opened(), tf.Graph().as_default(), disk_errors(run.directory):
                self._train(model, dataset, run, last_step, config)
        else:
            logger.info("%s is finished: %d steps are done", run.directory, step)
        return last_metrics(run.metrics, dataset.evaluation_split)

    def _train(self, model: Model, dataset: Dataset, run: Run, last_step: int, config: str) -> None:
        tf.set_random_seed(self.seed)
        train_op, loop, hooks, scaffold = self._build(model, dataset, run, last_step)
        checkpoint, step = newest_checkpoint(run.checkpoints)  # again: alone in it only now
        if step >= last_step:
            return
        if checkpoint:
            continue_from(run.checkpoints, checkpoint, tf.global_variables())
        run.write_start(describe_start(self.seed, dataset.files()), config)
        drop_metrics_after(run.metrics, step)
        logger.info("run directory: %s", run.directory)
        data_ended = True
        try:
            with tf.train.MonitoredTrainingSession(
                checkpoint_dir=run.checkpoints,
                scaffold=scaffold,
                hooks=hooks,
                config=self.session_config,
                save_checkpoint_secs=None,  # our hooks save and count on exact multiples
                save_checkpoint_steps=None,
                save_summaries_secs=None,
                save_summaries_steps=None,
                log_step_count_steps=None,
            ) as session:
                while not session.should_stop():
                    session.run_step_fn(loop.advance)  # steps that no hook wants to see
                    session.run(train_op)
                data_ended = False  # the session passes over an OutOfRangeError in silence
        except tf.errors.InvalidArgumentError as error:
            found = re.search(r"the (loss|gradient of \S+) is not finite", error.message)
            if not found:
                raise
            _, saved = newest_checkpoint(run.checkpoints)
            raise RunError(
                f"{found.group()} after step {_steps_done(hooks)}; nothing was written since. The "
                f"newest checkpoint has step {saved} and is finite; start a new run with a lower "
                "model.learning_rate or another model.clip"
            ) from None
        finally:
            for hook in hooks:
                if isinstance(hook, (EveryHook, SignalHook)):
                    hook.close()
        if data_ended:
            raise RunError(
                f"the training batches ended after step {_steps_done(hooks)} of {last_step}, which "
                f"is saved; for training, {type(dataset).__name__}.batches must repeat them"
            )

    def _build(
        self, model: Model, dataset: Dataset, run: Run, last_step: int
    ) -> tuple[tf.Operation, LeanLoop, list[tf.train.SessionRunHook], tf.train.Scaffold]:
        """One graph: the training step, its summaries, the evaluation, and what happens when."""
        global_step = tf.train.get_or_create_global_step()
        batches = dataset.batches(dataset.training_split, True, global_step.read_value())
        iterator = tf.data.make_initializable_iterator(batches)
        # Run after a checkpoint is restored (a Scaffold's init_fn is not), so the order goes on.
        tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)

        features, labels = iterator.get_next()
        train_op, loss, outputs = model.training_step(features, labels)
        with tf.control_dependencies([train_op]):
            tf.add_to_collection(STEP_AFTER_UPDATE, global_step.read_value())
        shown = model.means(loss, outputs, labels)
        for name, value in shown.items():
            # Your hooks may fetch "training/loss:0".
            tf.identity(value, name="training/" + re.sub(r"[^\w.]", "_", name))
            tf.summary.scalar(name, value)
        for variable in model.trainable_variables:
            tf.summary.histogram(f"weights/{variable.op.name}", variable)
        summaries = tf.summary.merge_all()  # before the loop's step adds what cannot be fetched

        saver = tf.train.Saver(
            max_to_keep=self.max_to_keep or None,
            keep_checkpoint_every_n_hours=self.keep_checkpoint_every_n_hours,
            save_relative_paths=True,  # so that a run directory can be moved
            defer_build=True,  # hooks may make variables, too
        )
        evaluation = Evaluation(model, dataset, dataset.evaluation_split)
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
        # Signals last: until the checkpoint hook has saved at the end, none may kill.
        hooks = [tf.train.StopAtStepHook(last_step=last_step), *hooks, self._signals]
        return train_op, loop, hooks, tf.train.Scaffold(saver=saver, summary_op=summaries)


def _steps_done(hooks: Sequence[tf.train.SessionRunHook]) -> int:
    return max(hook.step for hook in hooks if isinstance(hook, EveryHook))
