"""The inner loop: the steps between hook events run inside the graph."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from ..graph.stale import computed_before
from ..graph.workers import workers_of

logger = logging.getLogger(__name__)


class InnerLoop:
    """Runs training steps in a `tf.while_loop`, up to the next one that a hook needs.

    A `session.run` for each step costs more than a small step itself. So the steps between two log
    lines, summaries, checkpoints or evaluations stay in the graph, and the next one runs by
    `session.run`, with every hook. The weights are the same, bit for bit.

    Args:
        step: builds one more training step and returns its train op.
        max_steps: the most steps between two with hooks; 1 is one session.run per step.
        hooks: added to `hooks` later; one without `next_step` (yours, perhaps) is called at every
            step, so there is no loop.

    Attributes:
        hooks: those that have a `next_step`; set it before the first `advance`.
        stop_op: ends a running loop after the current step; run it from another thread. Of workers
            in step it ends those of all.
        agreed: the steps of the next `advance` that workers in step have agreed on, else None.
    """

    def __init__(
        self,
        step: Callable[[], tf.Operation],
        max_steps: int,
        hooks: Sequence[tf.train.SessionRunHook] = (),
    ) -> None:
        self.hooks = hooks
        self.agreed: int | None = None
        self._max_steps = max_steps
        for hook in hooks if max_steps > 1 else ():
            if not hasattr(hook, "next_step"):
                name = type(hook).__name__
                logger.info("%s has no next_step: one session.run per step, slower", name)
                self._max_steps = 1
        self._secs_per_step = float("inf")  # unknown, so the first steps run one by one
        self._measured_from: tuple[int, float] | None = None
        self._global_step = tf.train.get_or_create_global_step()
        local = [tf.GraphKeys.LOCAL_VARIABLES]
        self._stop = tf.Variable(False, trainable=False, collections=local, name="stop")
        self.stop_op = self._stop.assign(True).op
        if self._max_steps > 1:
            before = len(tf.get_default_graph().get_operations())
            self._build(step)
            stale = computed_before(before)
            if stale:
                text = "%s is computed before the loop: one session.run per step, slower"
                logger.info(text, stale)
                self._max_steps = 1

    def _build(self, step: Callable[[], tf.Operation]) -> None:
        self._limit = tf.placeholder(tf.int64, [])
        workers = workers_of()
        alone = workers.number == 1

        def body(done: tf.Tensor, stopped: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            workers.begin_step(self._stop.read_value())
            with tf.control_dependencies([step()]):
                asked = self._stop.read_value() if alone else workers.asked
                return done + 1, tf.identity(asked)

        variables = {variable.op.name for variable in tf.global_variables()}
        self._loop = tf.while_loop(
            lambda done, stopped: tf.logical_and(done < self._limit, ~stopped),
            body,
            [tf.constant(0, tf.int64), self._stop.read_value() if alone else tf.constant(False)],
            parallel_iterations=1,
            back_prop=False,
        )[0]
        again = [v.op.name for v in tf.global_variables() if v.op.name not in variables]
        if again:
            raise ModelError(
                f"{', '.join(again)}: created again for the loop inside the graph, which would "
                "train them separately; create optimizers, averages and variables in __init__ or "
                "build"
            )

    def advance(self, session: tf.train.MonitoredSession) -> None:
        """Does the steps before the next one that a hook needs."""
        if self._max_steps > 1:
            session.run_step_fn(self._advance)

    def wanted(self, session: tf.Session) -> int:
        """The number of steps, from now on, before the next one that a hook here needs."""
        self._step = step = int(session.run(self._global_step))
        now = time.perf_counter()
        if self._measured_from:
            step_before, time_before = self._measured_from
            self._secs_per_step = (now - time_before) / max(step - step_before, 1)
        self._measured_from = (step, now)
        following = [hook.next_step(self._secs_per_step) - step for hook in self._heeded()]
        return max(int(min([*following, self._max_steps])) - 1, 0)

    def _heeded(self) -> list[Any]:
        return [hook for hook in self.hooks if hasattr(hook, "next_step")]

    def _advance(self, step_context: tf.train.MonitoredSession.StepContext) -> None:
        session, hooks = step_context.session, self._heeded()
        inner = self.wanted(session) if self.agreed is None else self.agreed
        if not inner:
            return
        step = self._step
        try:
            step += int(session.run(self._loop, {self._limit: inner}))
        except tf.errors.OpError:
            step = int(session.run(self._global_step))  # the last good one
            raise
        finally:
            for hook in hooks:
                hook.step = step
