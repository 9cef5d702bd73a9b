"""What a process does as part of a cluster: chief, worker or parameter server."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Iterator, Sequence

import tensorflow.compat.v1 as tf

from ...model.model import Model
from ...train.hooks.evaluate import AfterEvaluationHook, EvaluateHook
from ...train.hooks.log import LogHook
from ..errors import ConfigError, RunError
from ..loop.last_step import SavedLastStepHook
from ..loop.nan import NanHook
from ..loop.signals import SignalHook
from ..run.checkpoints import checkpoints_in, is_whole, step_of
from ..run.run import Run
from .cluster import POLL_SECS, Cluster, Task, read_cluster
from .servers import LeastBytes

if TYPE_CHECKING:
    from ...train.trainer import SessionTrainer

logger = logging.getLogger(__name__)

Hooks = Sequence[tf.train.SessionRunHook]

WATCH_SECS = 5.0  # after which a call that hangs is ended with the process, beyond wait_secs

# What a worker does beside its steps; all else writes what the chief writes.
WORKERS = (NanHook, LogHook, SignalHook)
# The weights move while they are evaluated here: an evaluator reads the checkpoints instead.
ALONE = (EvaluateHook, AfterEvaluationHook)


def join_cluster(trainer: SessionTrainer, model: Model) -> Role:
    """What this process does, by its environment: see `cluster.read_cluster`.

    Raises:
        ConfigError: a variable is wrong, or a setting makes no sense in a cluster.
        RunError: another program has this process' port.
    """
    cluster = read_cluster()
    if cluster.tasks and not trainer.run_dir:
        raise ConfigError("run_dir: found none; in a cluster all need the same one, so set it")
    if cluster.tasks and trainer.patience:
        raise ConfigError("trainer.patience: nobody evaluates while a cluster trains; set it to 0")
    if cluster.tasks and model.optimization.accumulate > 1:
        raise ConfigError(
            f"model.accumulate={model.optimization.accumulate}: workers of a cluster would gather "
            "into one sum, each at its own time; set it to 1"
        )
    return Role(cluster, trainer.session_config, trainer.cluster_wait_secs)


class Role:
    """A process and its server; that of a cluster without tasks, which has none, does it all.

    Args:
        cluster: where it belongs.
        config: the devices and threads; a parameter server has no GPU.
        wait_secs: how long to wait for others.
    """

    def __init__(self, cluster: Cluster, config: tf.ConfigProto, wait_secs: float) -> None:
        self.cluster = cluster
        self.name = cluster.role
        self.alone = not cluster.tasks
        self.wait_secs = wait_secs
        own = cluster.own
        if self.alone or self.name == "evaluator":
            return
        self._device = f"/job:{own.job}/task:{own.index}"
        config = self._filtered(config)
        if self.name == "ps":
            config.device_count["GPU"] = 0
        self._spec = tf.train.ClusterSpec(cluster.addresses())
        try:
            self.server = tf.train.Server(self._spec, own.job, own.index, config=config)
        except tf.errors.OpError as error:
            raise RunError(f"{own}: cannot listen there: {error.message}") from None
        atexit.register(setattr, self, "server", None)  # TensorFlow 1.15 complains if later
        self.config = config
        logger.info("%s of %d trainers, %d ps", own, len(cluster.trainers), len(cluster.servers))

    def _filtered(self, config: tf.ConfigProto) -> tf.ConfigProto:
        """The same, for sessions that no other trainer can hold up."""
        filtered = tf.ConfigProto()
        filtered.CopyFrom(config)
        if config.inter_op_parallelism_threads < 0:  # a server has no thread that calls it
            filtered.inter_op_parallelism_threads = 0
        others = [] if self.name == "ps" else ["/job:ps"]
        filtered.device_filters.extend([*others, self._device])
        return filtered

    def own(self, run: Run, last_step: int) -> Run:
        """The run as it is for the chief, else a directory in it for what this process writes.

        Args:
            run: that of the cluster.
            last_step: where that ends.
        """
        self._last_step = last_step
        if self.alone:
            return run
        whole = Run(os.path.abspath(run.directory))  # parameter servers read its checkpoints, too
        self._checkpoints = whole.checkpoints
        if self.name in ("chief", "ps"):
            return whole
        own = Run(os.path.join(whole.directory, f"{self.name}-{self.cluster.own.index}"))
        own.checkpoints, own.best = whole.checkpoints, whole.best
        os.makedirs(own.directory, exist_ok=True)
        return own

    def is_over(self) -> bool:
        """Whether the last step is saved; a chief that answers no more is then done."""
        newest = (checkpoints_in(self._checkpoints) or [""])[-1]
        return step_of(newest) >= self._last_step and is_whole(newest)

    @contextlib.contextmanager
    def placed(self) -> Iterator[None]:
        """Inside of the `with`, variables go to the parameter servers and all else stays here."""
        if self.alone:
            yield
            return
        strategy = LeastBytes(len(self.cluster.servers))
        setter = tf.train.replica_device_setter(
            cluster=self._spec, worker_device=self._device, ps_strategy=strategy
        )
        with self.watched(), tf.device(setter):
            yield

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Inside of the `with`, this process ends if one that it needs stays away.

        A call to a server that is gone waits for ever, and nothing can stop it. Without a chief,
        what a worker does is lost.
        """
        needed = self.cluster.servers + self.cluster.trainers[: self.name != "chief"]
        left = threading.Event()

        def watch() -> None:
            seen = time.monotonic()
            while not left.wait(POLL_SECS):
                gone = [task for task in needed if not task.answers()]
                if not gone:
                    seen = time.monotonic()
                elif time.monotonic() - seen > self.wait_secs + WATCH_SECS:
                    if self.is_over():
                        os._exit(0)
                    logger.error("error: %s", self._missing(gone))
                    os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            left.set()

    def _missing(self, gone: list[Task]) -> RunError:
        return RunError(
            f"no answer from {', '.join(map(str, gone))} in {self.wait_secs:g} s; start what is "
            "missing, or mend the addresses"
        )

    def session(
        self, hooks: Hooks, scaffold: tf.train.Scaffold, checkpoints: str, config: tf.ConfigProto
    ) -> tf.train.MonitoredSession:
        """The session that trains; in a cluster without the hooks that are another's business."""
        if self.alone:
            return tf.train.MonitoredTrainingSession(
                checkpoint_dir=checkpoints,
                scaffold=scaffold,
                hooks=hooks,
                config=config,
                save_checkpoint_secs=None,  # our hooks save and count on exact multiples
                save_checkpoint_steps=None,
                save_summaries_secs=None,
                save_summaries_steps=None,
                log_step_count_steps=None,
            )
        self._signals = next(hook for hook in hooks if isinstance(hook, SignalHook))
        if self.name == "chief":
            hooks = [hook for hook in hooks if not isinstance(hook, ALONE)]
        else:
            hooks = [hook for hook in hooks if isinstance(hook, WORKERS)]
            hooks = [SavedLastStepHook(self._last_step, self.is_over, self._signals), *hooks]
        creator = _SessionCreator(self, scaffold, checkpoints, self._filtered(config))
        return tf.train.MonitoredSession(creator, hooks)

    def wait_for_servers(self) -> None:
        """Returns when all parameter servers answer; raises RunError, which names the others."""
        deadline = time.monotonic() + self.wait_secs
        while True:
            gone = [task for task in self.cluster.servers if not task.answers()]
            if not gone:
                return
            if self._signals.received:  # there is nothing to save, and nowhere to read it
                raise SystemExit(128 + self._signals.received)
            if time.monotonic() > deadline:
                raise self._missing(gone)
            time.sleep(POLL_SECS)


class _SessionCreator(tf.train.SessionCreator):
    """Opens a session, also after a failure, when all that it needs are there.

    MonitoredTrainingSession could do it, but looks every 30 s only, and waits for ever.
    """

    def __init__(
        self, role: Role, scaffold: tf.train.Scaffold, checkpoints: str, config: tf.ConfigProto
    ) -> None:
        self._role = role
        self._scaffold = scaffold
        self._checkpoints = checkpoints
        self._config = config

    def create_session(self) -> tf.Session:
        role, scaffold = self._role, self._scaffold.finalize()
        role._signals.close()  # without a session, a signal ends the process
        role.wait_for_servers()
        manager = tf.train.SessionManager(
            local_init_op=scaffold.local_init_op,
            ready_op=scaffold.ready_op,
            ready_for_local_init_op=scaffold.ready_for_local_init_op,
            recovery_wait_secs=POLL_SECS,
        )
        target = role.server.target
        if role.name == "chief":
            return manager.prepare_session(
                target,
                scaffold.init_op,
                scaffold.saver,
                self._checkpoints,
                config=self._config,
                init_fn=scaffold.init_fn,
            )
        try:
            return manager.wait_for_session(target, self._config, role.wait_secs)
        except tf.errors.DeadlineExceededError:
            raise RunError(
                f"{role.cluster.trainers[0]} has not given the variables their values in "
                f"{role.wait_secs:g} s; start it, or see what it says"
            ) from None
