"""What a process does as part of a cluster: chief, worker or parameter server."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from typing import Iterator

import tensorflow.compat.v1 as tf

from ..errors import RunError
from ..loop.lifecycle import Hooks
from ..loop.signals import SignalHook
from ..run.checkpoints import checkpoints_in, is_whole, step_of
from ..run.run import Run
from .cluster import POLL_SECS, Cluster, Task

logger = logging.getLogger(__name__)

WATCH_SECS = 5.0  # after which a call that hangs is ended with the process, beyond wait_secs


class Role:
    """A process of a cluster and its server.

    Args:
        cluster: where it belongs.
        config: the devices and threads; a parameter server has no GPU.
        wait_secs: how long to wait for others.
    """

    def __init__(self, cluster: Cluster, config: tf.ConfigProto, wait_secs: float) -> None:
        self.cluster = cluster
        self.name = cluster.role
        self.wait_secs = wait_secs
        own = cluster.own
        self.last_step = 0  # set when it is known
        if self.name == "evaluator":
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

    def own(self, run_dir: str) -> Run:
        """The run as it is for the chief, else a directory in it for what this process writes.

        Args:
            run_dir: the cluster's.
        """
        directory = os.path.abspath(run_dir)  # parameter servers read its checkpoints, too
        self._checkpoints = Run(directory).checkpoints
        if self.name in ("chief", "ps"):
            return Run(directory)
        own = Run(os.path.join(directory, f"{self.name}-{self.cluster.own.index}"), shared=True)
        own.checkpoints, own.best = Run(directory).checkpoints, Run(directory).best
        os.makedirs(own.directory, exist_ok=True)
        return own

    def is_over(self) -> bool:
        """Whether the last step is saved; a chief that answers no more is then done."""
        newest = (checkpoints_in(self._checkpoints) or [""])[-1]
        return step_of(newest) >= self.last_step and is_whole(newest)

    @contextlib.contextmanager
    def placed(self) -> Iterator[None]:
        """Inside of the `with`, variables go to the parameter servers and all else stays here."""
        strategy = LeastBytes(len(self.cluster.servers))
        setter = tf.train.replica_device_setter(
            cluster=self._spec, worker_device=self._device, ps_strategy=strategy
        )
        with tf.device(setter):
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
        self,
        config: tf.ConfigProto,
        scaffold: tf.train.Scaffold,
        checkpoints: str,
        hooks: Hooks,
        signals: SignalHook,
    ) -> tf.train.MonitoredSession:
        """The session that trains."""
        self._signals = signals
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


class LeastBytes:
    """Gives each variable to the parameter server that holds the fewest bytes so far."""

    def __init__(self, servers: int) -> None:
        self._bytes = [0] * servers

    def __call__(self, variable: tf.Operation) -> int:
        server = self._bytes.index(min(self._bytes))
        if "shape" in variable.node_def.attr:  # a lookup table has none
            shape = tf.TensorShape(variable.get_attr("shape"))
            size = tf.as_dtype(variable.get_attr("dtype")).size
            self._bytes[server] += size * (shape.num_elements() or 1)
        return server
