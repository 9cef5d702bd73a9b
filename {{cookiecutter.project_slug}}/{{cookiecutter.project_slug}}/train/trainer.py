"""Trains a model on a dataset in a MonitoredTrainingSession."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from ..data.dataset import Dataset
from ..engine.input.bad_records import locate_bad_record
from ..engine.loop import lifecycle
from ..engine.loop.checkpoint import CheckpointHook
from ..engine.loop.evaluation import Evaluation
from ..engine.loop.graph import TrainingGraph, build_training_graph
from ..engine.loop.nan import NanHook
from ..engine.loop.profile import ProfileHook
from ..engine.loop.progress import ProgressHook
from ..engine.loop.settings import TrainerSettings
from ..engine.loop.stop import LastStepHook, SignalHook
from ..engine.loop.stream_position import position_hooks
from ..engine.loop.track import track_hooks
from ..engine.run.metrics import last_metrics
from ..engine.run.run import Run
from ..model.model import Model
from .hooks.best import BestHook
from .hooks.early_stop import EarlyStopHook
from .hooks.evaluate import EvaluateHook
from .hooks.log import LogHook
from .hooks.summary import SummaryHook


class SessionTrainer(TrainerSettings):
    """`SessionTrainer(last_step=500).fit(model, dataset)` is the whole program.

    The arguments are those of `TrainerSettings`; conf/trainer/session.yaml explains each.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.directory = self.run_dir  # of the last `fit`
        self._signals = SignalHook(on_sigusr1=self.on_sigusr1)

    @property
    def stopped_by(self) -> int | None:
        """Number of the signal that ended `fit` early, else None."""
        return self._signals.received

    def fit(self, model: Model, dataset: Dataset, config: str = "") -> dict[str, float]:
        """Trains up to the last step, from the newest checkpoint if the run has one.

        Args:
            model: not yet built.
            dataset: gives the batches.
            config: the settings as YAML, kept in the run directory.

        Returns:
            The means of the last evaluation: {"loss": ..., <measure>: ...}.

        Raises:
            UserError: its subclasses, each with one line for people.
            KeyboardInterrupt: a signal, `stopped_by`, ended training; the last step is saved.
        """
        run = self._run(model)
        last_step = lifecycle.prepare(self, model, dataset)
        if lifecycle.finished(self, run, dataset, last_step):
            return last_metrics(run.metrics, dataset.evaluation_split)
        run.describe(self.seed, dataset, config, self.allow_changes)
        with tf.Graph().as_default(), locate_bad_record(dataset):
            tf.set_random_seed(self.seed)
            graph = self._build(model, dataset)
            with run.opened():
                self.directory = run.directory
                # Once more, since another process may have trained in it meanwhile.
                if not lifecycle.finished(self, run, dataset, last_step):
                    self._train(graph, run, last_step)
        self._check_not_stopped()
        return last_metrics(run.metrics, dataset.evaluation_split)

    def _check_not_stopped(self) -> None:
        if self.stopped_by:
            raise KeyboardInterrupt(f"signal {self.stopped_by}; {self.directory} is saved")

    def _train(self, graph: TrainingGraph, run: Run, last_step: int) -> None:
        step = lifecycle.resume(self, run, graph, last_step)
        run.write_start()
        hooks = graph.loop.hooks = [*graph.checks, *self._hooks(graph, run, last_step)]
        saved, batches_left = lifecycle.saved(hooks), False
        with lifecycle.closing(hooks), self._session(graph, run, hooks) as session, saved:
            while step < last_step and not session.should_stop():
                graph.loop.advance(session)  # the steps that no hook needs
                session.run(graph.train_op)
            batches_left = True  # the session swallows the OutOfRangeError at their end
        lifecycle.check_batches_left(batches_left, hooks, last_step, graph.dataset)

    def _run(self, model: Model) -> Run:
        return Run(self.run_dir, name=model.name)

    def _build(self, model: Model, dataset: Dataset) -> TrainingGraph:
        return build_training_graph(self, model, dataset)

    def _session(
        self, graph: TrainingGraph, run: Run, hooks: lifecycle.Hooks
    ) -> tf.train.MonitoredSession:
        return lifecycle.training_session(self.session_config, graph.scaffold, run, hooks)

    def _hooks(self, graph: TrainingGraph, run: Run, last_step: int) -> lifecycle.Hooks:
        """What happens next to the steps, called in this order: see `EveryHook`."""
        position = position_hooks(graph.iterator, graph.dataset, run, self.limit_batches)
        save = CheckpointHook(
            prefix=run.checkpoint_prefix,
            saver=graph.scaffold.saver,
            positions=position,
            always=[last_step],
            **self.every("checkpoint"),
        )
        self._signals = SignalHook(graph.loop.stop_op, self.on_sigusr1, save.ask)
        return [
            # Ends the loop; another hook may ask for that, too.
            LastStepHook(last_step),
            # Before what saves: restores the position that a first checkpoint would overwrite.
            *position,
            # Yours: before ours, so that a checkpoint of the same step has what they did.
            *self.hooks,
            # Names the number that was not finite; without a step of its own.
            NanHook(run.nan, graph, position),
            self._log_hook(graph, run, last_step),
            SummaryHook(
                directory=run.directory,
                summary_op=graph.summaries,
                first=graph.images,
                settings=run.config,
                batch_size=graph.dataset.batch_size,
                always=(1, last_step),
                **self.every("summary"),
            ),
            # Before the evaluation, which may be long, and is caught up after a restart.
            save,
            *self._evaluation_hooks(graph.evaluation, graph.scaffold.saver, run, last_step),
            # After the hooks that take time, so that neither counts them.
            ProfileHook(run.profile, self.profile_steps, last_step),
            ProgressHook(graph.numbers.get("loss"), graph.dataset.batch_size, last_step),
            *track_hooks(self.tracker, run, lambda: self.stopped_by),
            # Last: until the checkpoint hook has saved at the end, no signal may kill.
            self._signals,
        ]

    def _log_hook(self, graph: TrainingGraph, run: Run, last_step: int) -> LogHook:
        return LogHook(
            tensors=graph.numbers,
            batch_size=graph.dataset.batch_size,
            metrics_file=run.metrics,
            always=(1, last_step),
            **self.every("log"),
        )

    def _evaluation_hooks(
        self, evaluation: Evaluation, saver: tf.train.Saver, run: Run, last_step: int
    ) -> lifecycle.Hooks:
        evaluate = EvaluateHook(
            evaluation=evaluation,
            directory=run.evaluations,
            metrics_file=run.metrics,
            stopped=lambda: self.stopped_by,
            always=[last_step],
            **self.every("evaluate"),
        )
        return [
            evaluate,
            # After it: they look at its numbers.
            BestHook(evaluate, run.best, saver, metric=self.metric, mode=self.mode),
            EarlyStopHook(evaluate, self.metric, self.mode, self.patience, self.min_delta),
        ]
