"""Trains as one process of a cluster: in step, or asynchronously with parameter servers."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.trainer import SessionTrainer
from ..errors import ConfigError, check_at_least
from ..input.bad_records import locate_bad_record
from ..loop.evaluation import Evaluation
from ..loop.graph import TrainingGraph
from ..loop.lifecycle import Hooks, last_step_of
from ..loop.nan import NanHook
from ..loop.stop import SignalHook
from ..run.checkpoints import step_of
from ..run.devices import set_up_devices
from ..run.metrics import is_evaluated, last_metrics
from ..run.run import Run
from .cluster import Cluster, read_cluster
from .evaluator import evaluate_restored, restored_steps
from .in_step import InStepTrainer
from .leaving import SavedLastStepHook, serve
from .role import Role
from .session import ClusterSessionCreator


@dataclasses.dataclass(eq=False)
class ClusterTrainer(SessionTrainer):
    """A `SessionTrainer` whose process is what TF_CONFIG or Slurm says; without either, alone.

    Without a parameter server workers train in step, see `InStepTrainer`. With one there is one
    session.run per step: of an inner loop no gain was measured.
    """

    cluster_wait_secs: float = 300.0  # how long to wait for another process, then named
    in_cluster = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0.0, "trainer", cluster_wait_secs=self.cluster_wait_secs)
        self._role: Any = None  # None while this process trains alone

    def fit(self, model: Model, dataset: Dataset, config: str = "") -> dict[str, float]:
        """As `SessionTrainer.fit`; parameter servers and evaluators do their part instead."""
        cluster = read_cluster()
        if cluster is None:
            return super().fit(model, dataset, config)
        if cluster.in_step:
            return self._fit_in_step(cluster, model, dataset, config)
        self._check(model)
        self.alone = False
        self.steps_per_loop = 1
        dataset.shard = cluster.shard
        # Before the server, which else would choose the threads.
        set_up_devices(self.session_config, self.deterministic)
        role = Role(cluster, self.session_config, self.run_dir, self.cluster_wait_secs)
        self._role = role
        if role.name in ("chief", "worker"):
            return super().fit(model, dataset, config)
        if role.name == "evaluator" or self.last_epoch:  # else a ps needs no data
            dataset.prepare()
        role.last_step = last_step_of(self, dataset)
        self.directory = role.run().directory
        results = {}
        if role.name == "evaluator":
            results = self._follow(model, dataset)
        else:
            serve(role, self._signals)
        self._check_not_stopped()
        return results

    def _fit_in_step(
        self, cluster: Cluster, model: Model, dataset: Dataset, config: str
    ) -> dict[str, float]:
        if type(self) is not ClusterTrainer:
            raise ConfigError(
                f"{type(self).__name__}: workers in step take no subclass of ClusterTrainer, whose "
                "methods they would not call; add hooks to trainer.hooks, or start with --ps 1"
            )
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        trainer = InStepTrainer(cluster=cluster, **settings)
        try:
            return trainer.fit(model, dataset, config)
        finally:
            self.directory, self._signals = trainer.directory, trainer._signals
            self.alone = cluster.role == "chief"  # who says what comes next

    def _follow(self, model: Model, dataset: Dataset) -> dict[str, float]:
        """Evaluates the chief's checkpoints, and keeps the best; returns the last means."""
        role, split = self._role, dataset.evaluation_split
        run = role.run()
        run.describe(self.seed, dataset, config="")
        with run.opened(), tf.Graph().as_default(), locate_bad_record(dataset):
            # For its variables: best/ keeps those of the optimizer, too.
            model.build_step(
                *tf.data.make_initializable_iterator(dataset.batches(split)).get_next()
            )
            evaluation = Evaluation(model, dataset, split, self.limit_batches, again=True)
            saver = tf.train.Saver()
            evaluate, best, _ = super()._evaluation_hooks(evaluation, saver, run, role.last_step)
            evaluate.begin()
            best.begin()
            run.write_start()
            with tf.Session(config=self.session_config) as session:
                session.run([tf.local_variables_initializer(), tf.tables_initializer()])
                newest = role.newest_checkpoint()
                done = newest if is_evaluated(run.metrics, split, step_of(newest)) else ""
                with contextlib.closing(evaluate), contextlib.closing(self._signals):
                    self._signals.after_create_session(session, None)
                    for step in restored_steps(role, self._signals, saver, session, done):
                        evaluate_restored(session, step, evaluate, best)
        return last_metrics(run.metrics, split)

    def _check(self, model: Model) -> None:
        """Raises ConfigError where a setting makes no sense in a cluster."""
        if not self.run_dir:
            raise ConfigError("run_dir: found none; in a cluster all need the same one, so set it")
        if self.replicas > 1:
            raise ConfigError(
                f"trainer.replicas={self.replicas}: with parameter servers, each process has one "
                "device; start a worker for each, or train on this machine alone"
            )
        if self.patience:
            raise ConfigError(
                "trainer.patience: nobody evaluates while a cluster trains; set it to 0"
            )
        if model.optimization.accumulate > 1:
            raise ConfigError(
                f"model.accumulate={model.optimization.accumulate}: workers of a cluster would "
                "accumulate into one sum, each at its own time; set it to 1"
            )

    def _run(self, model: Model) -> Run:
        return self._role.run() if self._role else super()._run(model)

    def _build(self, model: Model, dataset: Dataset) -> TrainingGraph:
        with self._role.placed() if self._role else contextlib.nullcontext():
            return super()._build(model, dataset)

    def _train(self, graph: TrainingGraph, run: Run, last_step: int) -> None:
        if not self._role:
            return super()._train(graph, run, last_step)
        self._role.last_step = last_step
        with self._role.placed(), self._role.watched():
            super()._train(graph, run, last_step)

    def _session(self, graph: TrainingGraph, run: Run, hooks: Hooks) -> tf.train.MonitoredSession:
        if not self._role:
            return super()._session(graph, run, hooks)
        creator = ClusterSessionCreator(
            self._role, graph.scaffold, self.session_config, self._signals
        )
        return tf.train.MonitoredSession(creator, hooks)

    def _hooks(self, graph: TrainingGraph, run: Run, last_step: int) -> Hooks:
        if not self._role or self._role.name == "chief":
            return super()._hooks(graph, run, last_step)
        # The chief writes everything else.
        self._signals = SignalHook(on_sigusr1=self.on_sigusr1)
        return [
            SavedLastStepHook(self._role, self._signals),
            NanHook(run.nan, graph),
            self._log_hook(graph, run, last_step),
            self._signals,
        ]

    def _evaluation_hooks(self, *arguments: Any) -> Hooks:
        # The weights move while they are evaluated: an evaluator reads the checkpoints instead.
        return [] if self._role else super()._evaluation_hooks(*arguments)
