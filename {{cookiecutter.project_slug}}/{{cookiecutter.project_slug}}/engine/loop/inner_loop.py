"""The lean loop: the steps that nobody wants to see run inside the graph."""

from __future__ import annotations

import logging
import time
from typing import Callable, Sequence

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...train.hooks.every import EveryHook
from ..errors import ModelError, RunError

logger = logging.getLogger(__name__)


class InnerLoop:
    """Runs training steps in a `tf.while_loop`, up to the next one that a hook wants to see.

    A `session.run` for each step costs more than a small step itself. So the steps between two
    log lines, summaries, checkpoints or evaluations stay in the graph, and the one to be seen
    runs in the open, with every hook. The weights are the same, bit for bit.

    Args:
        step: builds one more training step and returns its train op.
        hooks: those that have a `next_step`; one without (yours, perhaps) sees every step.
        max_steps: the most steps between two that are seen; 1 is a plain loop.
    """

    def __init__(
        self,
        step: Callable[[], tf.Operation],
        hooks: Sequence[tf.train.SessionRunHook],
        max_steps: int,
    ) -> None:
        self._hooks = [hook for hook in hooks if hasattr(hook, "next_step")]
        self._max_steps = max_steps if 0 < len(self._hooks) == len(hooks) else 1
        for hook in hooks if max_steps > 1 else ():
            if hook not in self._hooks:
                name = type(hook).__name__
                logger.info("%s has no next_step: every step runs in the open, slower", name)
        self._secs_per_step = float("inf")  # unknown, so the first steps are all seen
        self._measured_from: tuple[int, float] | None = None
        self._global_step = tf.train.get_or_create_global_step()
        local = [tf.GraphKeys.LOCAL_VARIABLES]
        self._stop = tf.Variable(False, trainable=False, collections=local, name="stop")
        #: Ends a running loop after the step at work; run it from another thread.
        self.stop_op = self._stop.assign(True).op
        if self._max_steps > 1:
            self._build(step)

    def _build(self, step: Callable[[], tf.Operation]) -> None:
        self._limit = tf.placeholder(tf.int64, [])

        def body(done: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([step()]):
                return done + 1

        variables = {variable.op.name for variable in tf.global_variables()}
        self._loop = tf.while_loop(
            lambda done: tf.logical_and(done < self._limit, ~self._stop.read_value()),
            body,
            [tf.constant(0, tf.int64)],
            parallel_iterations=1,
            back_prop=False,
        )
        again = [v.op.name for v in tf.global_variables() if v.op.name not in variables]
        if again:
            raise ModelError(
                f"{', '.join(again)}: made again for the loop inside the graph, which would train "
                "them apart; make optimisers, averages and variables in __init__ or build"
            )

    def advance(self, session: tf.train.MonitoredSession) -> None:
        """Does the steps before the next one to be seen."""
        if self._max_steps > 1:
            session.run_step_fn(self._advance)

    def _advance(self, step_context: tf.train.MonitoredSession.StepContext) -> None:
        session, now = step_context.session, time.perf_counter()
        step = int(session.run(self._global_step))
        if self._measured_from:
            step_before, time_before = self._measured_from
            self._secs_per_step = (now - time_before) / max(step - step_before, 1)
        self._measured_from = (step, now)
        following = [hook.next_step(self._secs_per_step) - step for hook in self._hooks]
        unseen = min([*following, self._max_steps]) - 1
        if unseen < 1:
            return
        try:
            step += int(session.run(self._loop, {self._limit: unseen}))
        except tf.errors.OpError:
            step = int(session.run(self._global_step))  # the last good one
            raise
        finally:
            for hook in self._hooks:
                hook.step = step


def batches_ended(
    hooks: Sequence[tf.train.SessionRunHook], last_step: int, dataset: Dataset
) -> RunError:
    """What is wrong when training batches come to an end; the hooks know after which step."""
    done = max(hook.step for hook in hooks if isinstance(hook, EveryHook))
    return RunError(
        f"the training batches ended after step {done} of {last_step}, which is saved; "
        f"for training, {type(dataset).__name__}.batches must repeat them"
    )
