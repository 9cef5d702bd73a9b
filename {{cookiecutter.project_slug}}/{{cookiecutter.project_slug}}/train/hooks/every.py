"""When a hook acts: on multiples of the global step, or when seconds have passed."""

from __future__ import annotations

import time
from typing import Any, Collection

import tensorflow.compat.v1 as tf

from ...engine.errors import ConfigError

# A training step puts a read of the global step, made after the update, into this collection.
STEP_AFTER_UPDATE = "step_after_update"


class EveryHook(tf.train.SessionRunHook):
    """Acts after each step that is a multiple of `every_n_steps`, or every `every_n_secs`.

    Multiples of the global step, not of the steps since a restart: a run that is resumed at 150
    acts at 200 and 300, as one that was never stopped. (The hooks of TensorFlow count runs, or
    from where they were started.) Subclasses write `act`, and `fetches` for values of the step.

    Args:
        every_n_steps: 0 means not by steps.
        every_n_secs: seconds from one action to the next; 0 means not by time.
        always: steps after which to act in any case, such as the last one.
    """

    def __init__(
        self, every_n_steps: int = 0, every_n_secs: float = 0.0, always: Collection[int] = ()
    ) -> None:
        if every_n_steps < 0 or every_n_secs < 0:
            raise ConfigError(
                f"{type(self).__name__}: found every_n_steps={every_n_steps}, "
                f"every_n_secs={every_n_secs}; expected 0, which is never, or more"
            )
        self.every_n_steps = every_n_steps
        self.every_n_secs = every_n_secs
        self.always = always
        self.step = self.acted = 0  # steps done, and when it last acted

    def fetches(self) -> Any:
        """Tensors of the training step that `act` wants; computed with the step itself."""
        return {}

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        """Called after `step` steps are done, with the values of the last of them."""
        raise NotImplementedError(f"{type(self).__name__}.act")

    def close(self) -> None:
        """Called after training, also after an error; gives up what was opened."""

    def next_step(self, secs_per_step: float) -> float:
        """The next step that this hook wants to see; steps before it may run without hooks.

        Args:
            secs_per_step: how long a step takes at present.
        """
        wanted = [step for step in self.always if step > self.step]
        if self.every_n_steps:
            wanted.append((self.step // self.every_n_steps + 1) * self.every_n_steps)
        if self.every_n_secs:
            left = self.every_n_secs - (time.perf_counter() - self._acted_at)
            wanted.append(self.step + max(1, int(left / secs_per_step)))
        return min(wanted, default=float("inf"))

    @property
    def steps_per_sec(self) -> float:
        """The speed since it last acted; for `act`."""
        return (self.step - self.acted) / (time.perf_counter() - self._acted_at)

    def begin(self) -> None:
        self._global_step = tf.train.get_or_create_global_step()
        # In another's session there may be none; then the step is read in a run of its own.
        self._after_update = (tf.get_collection(STEP_AFTER_UPDATE) or [tf.no_op()])[0]

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self.step = self.acted = int(session.run(self._global_step))
        self._acted_at = time.perf_counter()

    @property
    def idle(self) -> bool:
        """Whether it wants no step at all; then it costs nothing, and `step` stays what it was."""
        return not (self.every_n_steps or self.every_n_secs or self.always)

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs | None:
        self._due = self._is_due(self.step + 1)
        if self.idle:
            return None
        wanted = [self.fetches()] if self._due else []
        return tf.train.SessionRunArgs([self._after_update, *wanted])

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        if self.idle:
            return
        session, before = run_context.session, self.step
        step, *values = run_values.results
        self.step = int(session.run(self._global_step) if step is None else step)
        if self._due and self.step > before:
            self.act(session, self.step, values[0])
            self.acted, self._acted_at = self.step, time.perf_counter()

    def _is_due(self, step: int) -> bool:
        if step in self.always:
            return True
        # ">" and not "== 0": other workers of a cluster may have passed the multiple.
        if self.every_n_steps and step // self.every_n_steps > self.acted // self.every_n_steps:
            return True
        return bool(self.every_n_secs) and time.perf_counter() - self._acted_at >= self.every_n_secs
