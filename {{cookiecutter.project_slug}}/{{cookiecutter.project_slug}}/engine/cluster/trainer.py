"""Trains as one process of a cluster, asynchronously, with parameter servers."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.trainer import SessionTrainer
from ..errors import ConfigError, check_at_least
from ..loop.graph import TrainingGraph
from ..loop.lifecycle import Hooks, last_step_of
from ..loop.nan import NanHook
from ..loop.signals import SignalHook
from ..run.devices import start_threads
from ..run.run import Run
from .cluster import read_cluster
from .evaluator import follow
from .last_step import SavedLastStepHook
from .roles import Role
from .servers import serve


class ClusterTrainer(SessionTrainer):
    """A `SessionTrainer` whose process is what TF_CONFIG or Slurm say; without either, alone.

    Args:
        cluster_wait_secs: how long to wait for another process, which an error then names.
        others: see `SessionTrainer`; in a cluster `steps_per_loop` is 1 (no gain was measured).
    """

    def __init__(self, cluster_wait_secs: float = 300.0, **others: Any) -> None:
        check_at_least(0, "trainer", cluster_wait_secs=cluster_wait_secs)
        super().__init__(**others)
        self.wait_secs = cluster_wait_secs
        self._role: Any = None

    def fit(self, model: Model, dataset: Dataset, config: str = "") -> dict[str, float]:
        """As `SessionTrainer.fit`; parameter servers and evaluators do their part instead."""
        start_threads(self.session_config)
        self._role = self._join(model)
        if not self._role:
            return super().fit(model, dataset, config)
        self.alone = False
        self.steps_per_loop = 1
        dataset.shard = self._role.cluster.shard
        if self._role.name not in ("ps", "evaluator"):
            return super().fit(model, dataset, config)
        if self._role.name == "evaluator" or self.last_epoch:  # a ps counts steps with it, no more
            dataset.prepare()
        self._role.last_step = last_step_of(self, dataset)
        run = self._run(model)
        self.directory = run.directory
        if self._role.name == "ps":
            return serve(self._role, self._signals)
        hooks = super()._evaluation_hooks
        return follow(self, self._role, self._signals, model, dataset, run, hooks)

    def _join(self, model: Model) -> Role | None:
        """What this process does, by its environment; None if it trains alone."""
        cluster = read_cluster()
        if not cluster.tasks:
            return None
        if not self.run_dir:
            raise ConfigError("run_dir: found none; in a cluster all need the same one, so set it")
        if self.patience:
            raise ConfigError(
                "trainer.patience: nobody evaluates while a cluster trains; set it to 0"
            )
        if model.optimization.accumulate > 1:
            raise ConfigError(
                f"model.accumulate={model.optimization.accumulate}: workers of a cluster would "
                "accumulate into one sum, each at its own time; set it to 1"
            )
        return Role(cluster, self.session_config, self.wait_secs)

    def _run(self, model: Model) -> Run:
        return self._role.own(self.run_dir) if self._role else super()._run(model)

    def _build(self, model: Model, dataset: Dataset) -> TrainingGraph:
        if not self._role:
            return super()._build(model, dataset)
        with self._role.placed():
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
        return self._role.session(
            self.session_config, graph.scaffold, run.checkpoints, hooks, self._signals
        )

    def _hooks(self, graph: TrainingGraph, run: Run, last_step: int) -> Hooks:
        if not self._role or self._role.name == "chief":
            return super()._hooks(graph, run, last_step)
        # All else writes what the chief writes.
        self._signals = SignalHook()
        return [
            SavedLastStepHook(last_step, self._role.is_over, self._signals),
            NanHook(run.nan, graph),
            self._log_hook(graph, run, last_step),
            self._signals,
        ]

    def _evaluation_hooks(self, *arguments: Any) -> Hooks:
        # The weights move while they are evaluated: an evaluator reads the checkpoints instead.
        return [] if self._role else super()._evaluation_hooks(*arguments)
