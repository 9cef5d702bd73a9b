"""Trains as one of several processes that compute each step together."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tensorflow.compat.v1 as tf
from omegaconf import OmegaConf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.trainer import SessionTrainer
from ..errors import ConfigError
from ..graph.workers import set_workers
from ..input.rows import take_all_rows, take_rows
from ..loop.checkpoint import CheckpointHook
from ..loop.evaluation import Evaluation
from ..loop.graph import TrainingGraph
from ..loop.lifecycle import Hooks
from ..loop.nan import NanHook
from ..loop.stop import LastStepHook
from ..loop.stream_position import position_hooks
from ..run.checkpoints import newest_checkpoint
from ..run.devices import set_up_devices
from ..run.machine import cores
from ..run.run import Run
from ..settings.overrides import values_in
from .cluster import Cluster, looks
from .collective import Workers
from .exchange import Exchange
from .meeting import Meeting, check_alike
from .role import Role
from .together import FollowedSignalHook, FollowHook, LeadHook, StepHook, Together
from .watch import Watch

# What may differ from machine to machine.
OWN_SETTINGS = ("run_dir", "trainer.run_dir", "trainer.gpus", "data.directory")


class InStepSession(tf.train.SingularMonitoredSession):
    """One that is never opened again: a collective knows its workers from its start.

    Args:
        watch: over these workers.
        others: see `tf.train.SingularMonitoredSession`.
    """

    def __init__(self, watch: Watch, **others: Any) -> None:
        self._watch = watch
        super().__init__(**others)

    def run(self, *arguments: Any, **others: Any) -> Any:
        """As any session's; the hooks say when it waits for the others."""
        try:
            with self._watch.held():
                return super().run(*arguments, **others)
        finally:
            self._watch.waits = False

    def run_step_fn(self, step_fn: Any) -> Any:
        """As any session's; such a function waits for the others."""
        with self._watch.waiting():
            return super().run_step_fn(step_fn)


@dataclasses.dataclass(eq=False)
class InStepTrainer(SessionTrainer):
    """A `SessionTrainer` in each of several processes, which gives what one would give.

    Each has all variables, makes the same batches and takes its rows of each; gradients, and all
    else that a step makes of its batch, are averaged before anything is written. The first one, the
    chief, writes the run.
    """

    cluster_wait_secs: float = 300.0  # how long to wait for another process, then named
    cluster: Any = None  # the `Cluster`
    in_cluster = True

    def fit(self, model: Model, dataset: Dataset, config: str = "") -> dict[str, float]:
        """As `SessionTrainer.fit`; all processes return the same."""
        cluster: Cluster = self.cluster
        number = len(cluster.trainers)
        if not self.run_dir:
            raise ConfigError("run_dir: found none; in a cluster all need the same one, so set it")
        devices = number * len(self.replica_devices())
        if dataset.batch_size % devices:
            nearest = max(round(dataset.batch_size / devices), 1) * devices
            raise ConfigError(
                f"data.batch_size={dataset.batch_size}: {number} workers with {devices // number} "
                f"devices each cannot share it equally; set it to {nearest}"
            )
        self._config = config
        # Before the server, which else would choose the threads.
        set_up_devices(self.session_config, self.deterministic)
        self._meeting = Meeting(cluster, os.path.abspath(self.run_dir))
        self._watch = Watch(self._meeting, self.cluster_wait_secs)
        self._role = Role(cluster, self.session_config, self.run_dir, self.cluster_wait_secs)
        try:
            return super().fit(model, dataset, config)
        finally:
            self._watch.leave()
            take_all_rows(dataset)

    def _run(self, model: Model) -> Run:
        return self._role.run()

    def _build(self, model: Model, dataset: Dataset) -> TrainingGraph:
        place = self._meeting.index, len(self._meeting.tasks)
        workers = Workers(*place, divided=take_rows(dataset, *place))
        with self._role.placed():
            set_workers(workers)
            graph = super()._build(model, dataset)
            self._together = Together(
                tasks=self._meeting.tasks,
                exchange=Exchange(workers, self._watch.waiting),
                watch=self._watch,
                evaluation=graph.evaluation,
                loop=graph.loop,
                variables=tf.global_variables(),
                signals=lambda: self._signals,
            )
        return graph

    def _train(self, graph: TrainingGraph, run: Run, last_step: int) -> None:
        with self._role.placed():
            # Before it looks for the newest checkpoint: the chief before may save one more.
            self._meeting.meet(self.cluster_wait_secs)
            super()._train(graph, run, last_step)

    def _session(self, graph: TrainingGraph, run: Run, hooks: Hooks) -> tf.train.MonitoredSession:
        checkpoint, step = newest_checkpoint(run.checkpoints, read=not run.kept.shared)
        facts = self._meeting.tell(self._facts(graph, run, step), self.cluster_wait_secs)
        check_alike(self._meeting.tasks, facts)
        for all_answer in looks(self._meeting.tasks, self.cluster_wait_secs):
            if all_answer:
                break
        self._watch.start()
        graph.scaffold.saver.resumes_from = checkpoint
        return InStepSession(
            self._watch,
            hooks=hooks,
            scaffold=graph.scaffold,
            master=self._role.server.target,
            config=self._role.filtered(self.session_config),
            checkpoint_filename_with_path=checkpoint,
        )

    def _facts(self, graph: TrainingGraph, run: Run, step: int) -> dict[str, Any]:
        """What must be the same for all workers."""
        start = run.read_record()["starts"][-1]
        settings = values_in(OmegaConf.create(self._config))
        devices = self.session_config.device_count
        gpus = tf.config.experimental.list_physical_devices("GPU")
        return {
            "workers": list(map(str, self._meeting.tasks)),
            **{
                key: str(value)
                for key, value in settings.items()
                if not OmegaConf.is_dict(value) and key not in OWN_SETTINGS
            },
            "trainer.last_step": self.last_step,
            "the git commit": start["git"],
            "TensorFlow": start["versions"]["tensorflow"],
            "the data": start["data"],
            "the order of the data": start["order"],
            "whether the data is held in memory": graph.dataset.in_memory(
                graph.dataset.training_split
            ),
            # The sum of a large array depends on them.
            "trainer.intra_op_threads, or the number of cores,": self.intra_op_threads or cores(),
            "whether it has a GPU": bool(gpus) and devices.get("GPU", 1) > 0,
            "the step of the newest checkpoint": step,
        }

    def _hooks(self, graph: TrainingGraph, run: Run, last_step: int) -> Hooks:
        first = StepHook(self._watch)
        if self._role.name == "chief":
            hooks = super()._hooks(graph, run, last_step)
            (save,) = [hook for hook in hooks if isinstance(hook, CheckpointHook)]
            save.check = self._together.check
            gone = "another worker is gone"
            self._watch.save = lambda: save.save_after(failed_step=True, reason=gone)
            return [first, *hooks, LeadHook(self._together)]
        # The chief writes everything.
        position = position_hooks(graph.iterator, graph.dataset, run, self.limit_batches)
        self._signals = FollowedSignalHook(graph.loop.stop_op, self.on_sigusr1)
        return [
            first,
            LastStepHook(last_step),
            *position,
            NanHook(run.nan, graph, position),
            FollowHook(self._together),
            self._signals,
        ]

    def _evaluation_hooks(self, evaluation: Evaluation, *others: Any) -> Hooks:
        return super()._evaluation_hooks(self._together.evaluation, *others)
