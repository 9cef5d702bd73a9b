"""What a process is in its cluster: its server, its run, where variables go, whom it needs."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from typing import Iterator

import tensorflow.compat.v1 as tf

from ..errors import RunError
from ..run.checkpoints import checkpoints_in, is_whole, step_of
from ..run.files import make_directory
from ..run.run import Run
from .cluster import Cluster, looks

logger = logging.getLogger(__name__)

WATCH_SECS = 5.0  # beyond wait_secs, after which a call that hangs is ended with the process


class Role:
    """A process of a cluster and its server.

    Args:
        cluster: where it belongs.
        config: devices and threads; a parameter server has no GPU.
        run_dir: the cluster's, whose checkpoints the chief writes.
        wait_secs: how long to wait for others.

    Raises:
        RunError: the address cannot be listened on.
    """

    def __init__(
        self, cluster: Cluster, config: tf.ConfigProto, run_dir: str, wait_secs: float
    ) -> None:
        self.cluster = cluster
        self.name = cluster.role
        self.wait_secs = wait_secs
        self.last_step = 0  # set when it is known
        self._directory = os.path.abspath(run_dir)
        self.checkpoints = Run(self._directory).checkpoints
        own, (job, index) = cluster.own, cluster.place
        self._device = f"/job:{job}/task:{index}"
        if self.name == "evaluator":
            return
        self._spec = tf.train.ClusterSpec(cluster.addresses())
        try:
            self.server = tf.train.Server(self._spec, job, index, config=self.filtered(config))
        except tf.errors.OpError as error:
            raise RunError(f"{own}: cannot listen there: {error.message}") from None
        atexit.register(setattr, self, "server", None)  # TensorFlow 1.15 complains if later
        how = "in step" if cluster.in_step else f"{len(cluster.servers)} ps"
        logger.info("%s of %d trainers, %s", own, len(cluster.trainers), how)

    def filtered(self, config: tf.ConfigProto) -> tf.ConfigProto:
        """The same, for servers and sessions that no other trainer can hold up."""
        filtered = tf.ConfigProto()
        filtered.CopyFrom(config)
        if config.inter_op_parallelism_threads < 0:  # a server has no thread that calls it
            filtered.inter_op_parallelism_threads = 0
        if self.cluster.in_step:  # which collectives need
            filtered.experimental.collective_group_leader = "/job:worker/replica:0/task:0"
        elif self.name == "ps":
            filtered.device_count["GPU"] = 0
        else:
            filtered.device_filters.append("/job:ps")
        filtered.device_filters.append(self._device)
        return filtered

    def run(self) -> Run:
        """The run for the chief, else a directory in it for what this process writes."""
        if self.name in ("chief", "ps"):
            return Run(self._directory)
        name = f"{self.name}-{self.cluster.own.index}"
        own = Run(os.path.join(self._directory, name), shared=True)
        chief = Run(self._directory)
        own.checkpoints, own.best, own.input = chief.checkpoints, chief.best, chief.input
        own.chief = chief if self.cluster.in_step else None
        make_directory(own.directory)
        return own

    def newest_checkpoint(self) -> str:
        """The chief's newest, which may still be written; "" without any."""
        return (checkpoints_in(self.checkpoints) or [""])[-1]

    def is_over(self) -> bool:
        """Whether the last step is saved; a chief that answers no more is then done."""
        newest = self.newest_checkpoint()
        return step_of(newest) >= self.last_step and is_whole(newest)

    @contextlib.contextmanager
    def placed(self) -> Iterator[None]:
        """Inside of the `with`, variables go to the parameter servers, if any; all else is here."""
        if self.cluster.in_step:
            with tf.device(self._device):
                yield
            return
        setter = tf.train.replica_device_setter(
            cluster=self._spec,
            worker_device=self._device,
            ps_strategy=FewestBytes(len(self.cluster.servers)),
        )
        with tf.device(setter):
            yield

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Inside of the `with`, this process ends if one that it needs stays away.

        A call to a server that is gone never returns, and nothing can stop it. Without a chief,
        what a worker does is lost.
        """
        needed = self.cluster.servers + ([] if self.name == "chief" else [self.cluster.chief])
        left = threading.Event()

        def watch() -> None:
            try:
                for _ in looks(needed, self.wait_secs + WATCH_SECS):
                    if left.is_set():
                        return
            except RunError as error:
                if self.is_over():
                    os._exit(0)
                logger.error("error: %s", error)
                os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            left.set()


class FewestBytes:
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
