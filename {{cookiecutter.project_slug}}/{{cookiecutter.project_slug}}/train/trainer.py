"""Trains a model on a dataset in a MonitoredTrainingSession."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ..data.dataset import Dataset
from ..engine.cluster.evaluator import follow
from ..engine.cluster.roles import join_cluster
from ..engine.cluster.servers import serve
from ..engine.errors import ConfigError, ModelError
from ..engine.input.bad_records import locate_bad_record
from ..engine.interrupts import held
from ..engine.loop.checkpoint import CheckpointHook
from ..engine.loop.evaluation import Evaluation
from ..engine.loop.events import drop_events_after
from ..engine.loop.inner_loop import InnerLoop, batches_ended
from ..engine.loop.last_step import LastStepHook
from ..engine.loop.nan import NanHook
from ..engine.loop.profile import ProfileHook
from ..engine.loop.progress import ProgressHook
from ..engine.loop.signals import SignalHook
from ..engine.loop.stream_position import training_batches
from ..engine.loop.summaries import image_summaries, step_summaries
from ..engine.run.checkpoints import continue_from, newest_checkpoint, run_saver
from ..engine.run.devices import adapt, session_config, start_threads, warn_of_unused_gpu
from ..engine.run.metrics import drop_metrics_after, is_evaluated, last_metrics
from ..engine.run.new_directory import new_directory
from ..engine.run.run import Run, start_described
from ..model.model import Model
from .hooks.best import BestHook
from .hooks.early_stop import EarlyStopHook, stopped_early
from .hooks.evaluate import EvaluateHook
from .hooks.every import STEP_AFTER_UPDATE, EveryHook
from .hooks.log import LogHook
from .hooks.summary import SummaryHook

logger = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class SessionTrainer:
    """`SessionTrainer(...).fit(model, dataset)` is the whole program.

    Everything that happens every so often does so on exact multiples of the global step
    (`..._every_n_steps`), or by the clock (`..._every_n_secs`); 0 switches either off.
    """

    run_dir: str = ""  # an existing run is continued; default: a new directory below runs/
    seed: int = 1  # of the initial weights and of dropout
    last_step: int = 2000  # the global step to end at
    last_epoch: int = 0  # the epoch to end at; sets last_step if above 0
    log_every_n_steps: int = 100  # a line on the console, in train.log and metrics.jsonl
    log_every_n_secs: float = 0.0
    summary_every_n_steps: int = 100  # TensorBoard's curves
    summary_every_n_secs: float = 0.0
    histograms: bool = False  # there, of weights and gradients; 0.1 s for a million weights
    checkpoint_every_n_steps: int = 1000  # the last step has one, too
    checkpoint_every_n_secs: float = 0.0
    evaluate_every_n_steps: int = 0  # the last step has one, too
    evaluate_every_n_secs: float = 0.0
    max_to_keep: int = 5  # newest checkpoints; 0 keeps all
    keep_checkpoint_every_n_hours: float = 10000.0  # beside these, one for every so many hours
    metric: str = "loss"  # the number of an evaluation by which best/ is kept
    mode: str = "min"  # whether the least or the greatest ("max") is best
    patience: int = 0  # evaluations no better, after which training ends; 0: see EarlyStopHook
    min_delta: float = 0.0  # by how much one must be better to count as such
    profile_steps: Sequence[int] = ()  # first and last step to trace, see ProfileHook
    limit_batches: int = 0  # train on so many over and over, evaluate as many; 0 is all
    steps_per_loop: int = 1000  # in the graph between two that hooks see; 1: a plain loop
    # Your tf.train.SessionRunHook objects. With one that has no `next_step` (see EveryHook) the
    # loop is plain, since such a hook sees every step.
    hooks: Sequence[tf.train.SessionRunHook] = ()
    gpus: str = "all"  # or "none", or the numbers of those to use: "0,2"
    allow_growth: bool = True  # take a GPU's memory as it is needed
    intra_op_threads: int = 0  # within one operation; 0 lets TensorFlow choose
    inter_op_threads: int = 0  # operations at a time; -1: in the thread that calls
    soft_placement: bool = True  # run on the CPU what has no GPU kernel
    xla: bool = False  # compile the graph for the GPU; the last bits of results then differ
    cluster_wait_secs: float = 300.0  # in a cluster: for a process that is not there

    def __post_init__(self) -> None:
        least = {"last_step": 1, "steps_per_loop": 1, "inter_op_threads": -1}
        least.update(seed=0, last_epoch=0, max_to_keep=0, limit_batches=0, patience=0)
        least.update(intra_op_threads=0, keep_checkpoint_every_n_hours=0, cluster_wait_secs=0)
        for name, lowest in least.items():
            if not lowest <= getattr(self, name) < 2**31:
                raise ConfigError(
                    f"trainer.{name}: found {getattr(self, name)}, expected {lowest} to 2**31 - 1"
                )
        if not all(isinstance(hook, tf.train.SessionRunHook) for hook in self.hooks):
            raise ConfigError("trainer.hooks: found no hook; expected [{_target_: module.Class}]")
        self.directory = self.run_dir  # that of the last fit
        self.log_every = (self.log_every_n_steps, self.log_every_n_secs)
        self.summary_every = (self.summary_every_n_steps, self.summary_every_n_secs)
        self.checkpoint_every = (self.checkpoint_every_n_steps, self.checkpoint_every_n_secs)
        self.evaluate_every = (self.evaluate_every_n_steps, self.evaluate_every_n_secs)
        self.best: dict[str, Any] = {"metric": self.metric, "mode": self.mode}
        self.early_stop = {**self.best, "patience": self.patience, "min_delta": self.min_delta}
        self.session_config = session_config(
            *(str(self.gpus), self.allow_growth, self.intra_op_threads, self.inter_op_threads),
            *(self.soft_placement, self.xla),
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
        start_threads(self.session_config)
        self._role = role = join_cluster(self, model)  # in a cluster, if the environment names one
        if role.name != "ps" or self.last_epoch:  # a ps counts steps with it, no more
            dataset.prepare()
        dataset.shard = role.cluster.shard
        last_step = self.last_step
        if self.last_epoch:
            with locate_bad_record(dataset):
                last_step = self.last_epoch * dataset.steps_per_epoch(dataset.training_split)
        model.optimization.check_updates(last_step)
        self.directory = self.run_dir or new_directory(model.name)
        run = role.own(Run(self.directory), last_step)
        if role.name == "ps":
            return serve(role, self._signals)
        if role.name == "evaluator":
            return follow(self, role, self._signals, model, dataset, run)
        _, step = newest_checkpoint(run.checkpoints, role.name != "worker")
        finished = stopped_early(run.metrics, dataset.evaluation_split, step, **self.early_stop)
        if self._is_done(run, dataset, step, last_step):
            finished = f"{step} steps are done"
        if not finished:
            with run.opened(), tf.Graph().as_default(), role.placed(), locate_bad_record(dataset):
                self._train(model, dataset, run, last_step, config)
        else:
            logger.info("%s is finished: %s", run.directory, finished)
        return last_metrics(run.metrics, dataset.evaluation_split)

    def _train(self, model: Model, dataset: Dataset, run: Run, last_step: int, config: str) -> None:
        logger.info("run directory: %s", run.directory)
        warn_of_unused_gpu(self.gpus)
        tf.set_random_seed(self.seed)
        start = start_described(self.seed, dataset)
        with held():
            train_op, loop, hooks, scaffold = self._build(model, dataset, run, last_step)
        chief = self._role.name == "chief"
        checkpoint, step = newest_checkpoint(run.checkpoints, chief)  # again: now it is alone
        if self._is_done(run, dataset, step, last_step):
            return
        if checkpoint and chief:
            continue_from(run.checkpoints, checkpoint, tf.global_variables())
        run.write_start(start.result(), config)
        drop_metrics_after(run.metrics, step)
        drop_events_after(step, run.directory, run.evaluations)
        adapt(self.session_config, dataset, model)
        data_ended = True
        try:
            session = self._role.session(hooks, scaffold, run.checkpoints, self.session_config)
            with session, self._nan.reported():
                while step < last_step and not session.should_stop():
                    loop.advance(session)  # by the steps that no hook wants to see
                    session.run(train_op)
                data_ended = False  # the session passes over an OutOfRangeError in silence
        finally:
            for hook in hooks:
                if isinstance(hook, (EveryHook, SignalHook)):
                    hook.close()
        if data_ended:
            raise batches_ended(hooks, last_step, dataset)

    def _is_done(self, run: Run, dataset: Dataset, step: int, last_step: int) -> bool:
        """Whether training has come to its end, and the evaluation of that, too."""
        owed = self._role.alone and not is_evaluated(run.metrics, dataset.evaluation_split, step)
        return step > last_step or (step == last_step and not owed)

    def _build(
        self, model: Model, dataset: Dataset, run: Run, last_step: int
    ) -> tuple[tf.Operation, InnerLoop, list[tf.train.SessionRunHook], tf.train.Scaffold]:
        """One graph: the training step, its summaries, the evaluation, and what happens when."""
        iterator, inputs = training_batches(dataset, run, self.limit_batches)
        features, labels = batch = iterator.get_next()
        train_op, loss, outputs = model.build_step(features, labels)
        with tf.control_dependencies([train_op]):
            step_after = tf.train.get_global_step().read_value()
        tf.add_to_collection(STEP_AFTER_UPDATE, step_after)
        shown = model.means(loss, outputs, labels)
        shown["learning_rate"] = model.optimization.rate(step_after - 1)
        summaries = step_summaries(model, train_op, shown, self.histograms)  # before the loop
        scaffold = self._scaffold(model, summaries)
        evaluation = Evaluation(model, dataset, dataset.evaluation_split, self.limit_batches)
        every, ends, last = self.evaluate_every, (1, last_step), [last_step]
        often = (*self.checkpoint_every, inputs, last)
        save = CheckpointHook(run.checkpoint_prefix, scaffold.saver, *often)
        how = (*every, last, save.save, lambda: self.stopped_by)
        evaluate = EvaluateHook(evaluation, run.evaluations, run.metrics, *how)
        self._nan = NanHook(run.nan, train_op, iterator, batch, *inputs, alone=self._role.alone)
        hooks = [
            *self.hooks,
            self._nan,
            LogHook(shown, dataset.batch_size, run.metrics, *self.log_every, ends),
            SummaryHook(
                *(run.directory, summaries, *self.summary_every, ends),
                *(dataset.batch_size, image_summaries(features), run.config),
            ),
            save,  # before the evaluation, which may be long, and is made up for after a restart
            evaluate,
            BestHook(evaluate, run.best, scaffold.saver, **self.best),
            EarlyStopHook(evaluate, **self.early_stop),
            ProfileHook(run.profile, self.profile_steps, last_step),
            ProgressHook(shown["loss"], dataset.batch_size, last_step),
        ]
        inner_steps = self.steps_per_loop if self._role.alone else 1
        loop = InnerLoop(lambda: model.build_step(*iterator.get_next())[0], hooks, inner_steps)
        self._signals = SignalHook(loop.stop_op)
        # Signals last: until the checkpoint hook has saved at the end, none may kill.
        hooks = [LastStepHook(last_step), *inputs, *hooks, self._signals]
        return train_op, loop, hooks, scaffold

    def _scaffold(self, model: Model, summaries: tf.Tensor | None = None) -> tf.train.Scaffold:
        """What is saved, and what a new run starts with."""
        return tf.train.Scaffold(
            saver=run_saver(self.max_to_keep, self.keep_checkpoint_every_n_hours),
            summary_op=summaries,
            init_fn=lambda _, session: model.warm_start.load(model.variables, session),
        )
