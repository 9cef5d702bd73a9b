"""When a hook acts: on multiples of the global step, or when seconds have passed."""

from __future__ import annotations

import collections
import time
from typing import Any, Collection

import tensorflow.compat.v1 as tf

from ...engine.errors import check_at_least

# A training step puts a read of the global step, made after the update, into this collection.
STEP_AFTER_UPDATE = "step_after_update"
# What the hooks of each class have spent in `act`, in this process.
ACTING_SECS: dict[str, float] = collections.defaultdict(float)


class EveryHook(tf.train.SessionRunHook):
    """Acts after each step that is a multiple of `every_n_steps`, or every `every_n_secs`.

    Multiples of the global step, not of the steps since a restart: a run that resumes at 150 acts
    at 200 and 300, like one that was never stopped. Subclasses implement `act`, and `fetches`:

        for hook in hooks: hook.begin()                 # the graph may still grow
        for hook in hooks: hook.after_create_session()  # the variables have their values
        while not session.should_stop():                # steps before any next_step() need no hook
            for hook in hooks: hook.before_run()        # asks for fetches() if the step is due
            session.run(train_op)
            for hook in hooks: hook.after_run()         # act() if the step was due
        for hook in hooks: hook.end()                   # not after an error
        for hook in hooks: hook.close()                 # always

    Args:
        every_n_steps, every_n_secs: from one action to the next; 0 is never.
        always: steps after which to act in any case, such as the last one.
    """

    def __init__(
        self, every_n_steps: int = 0, every_n_secs: float = 0.0, always: Collection[int] = ()
    ) -> None:
        check_at_least(0, type(self).__name__, every_n_steps=every_n_steps)
        check_at_least(0.0, type(self).__name__, every_n_secs=every_n_secs)
        self.every_n_steps = every_n_steps
        self.every_n_secs = every_n_secs
        self.always = always
        self.step = self.acted = 0  # steps done, and when it last acted

    def fetches(self) -> Any:
        """Tensors of the training step that `act` wants; computed with the step itself."""
        return {}

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        """Called after `step` steps are done, with the values of the last of them."""
        raise NotImplementedError(f"{type(self).__name__}.act must be implemented")

    def close(self) -> None:
        """Called after training, also after an error; releases what was opened."""

    def next_step(self, secs_per_step: float) -> float:
        """The next step that this hook needs, as `secs_per_step` is now; others need no hook."""
        wanted = [step for step in self.always if step > self.step]
        if self.every_n_steps:
            wanted.append((self.step // self.every_n_steps + 1) * self.every_n_steps)
        if self.every_n_secs:
            left = self.every_n_secs - (time.perf_counter() - self._acted_at)
            wanted.append(self.step + max(1, int(left / secs_per_step)))
        return min(wanted, default=float("inf"))

    @property
    def steps_per_sec(self) -> float:
        """The speed since it last acted, but for the time in which hooks acted; for `act`."""
        others = sum(ACTING_SECS.values()) - self._acting_secs
        return (self.step - self.acted) / (time.perf_counter() - self._acted_at - others)

    def begin(self) -> None:
        self._global_step = tf.train.get_or_create_global_step()
        # In another's session there may be none; the step is then read in a run of its own.
        self._after_update = (tf.get_collection(STEP_AFTER_UPDATE) or [tf.no_op()])[0]

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self.step = self.acted = int(session.run(self._global_step))
        self._acted_at, self._acting_secs = time.perf_counter(), sum(ACTING_SECS.values())

    def before_run(self, run_context: tf.train.SessionRunContext) -> tf.train.SessionRunArgs | None:
        self.due = self.is_due(self.step + 1)
        if not (self.every_n_steps or self.every_n_secs or self.always):
            return None  # it needs no step, and costs nothing
        return tf.train.SessionRunArgs([self._after_update, self.fetches() if self.due else []])

    def after_run(
        self, run_context: tf.train.SessionRunContext, run_values: tf.train.SessionRunValues
    ) -> None:
        if run_values.results is None:
            return
        session, before, start = run_context.session, self.step, time.perf_counter()
        step, values = run_values.results
        self.step = int(session.run(self._global_step) if step is None else step)
        if self.due and self.step > before:
            self.act(session, self.step, values)
            self.acted, self._acted_at = self.step, time.perf_counter()
            ACTING_SECS[type(self).__name__] += self._acted_at - start
            self._acting_secs = sum(ACTING_SECS.values())

    def is_due(self, step: int) -> bool:
        """Whether to act after a step; a multiple is passed where a cluster's workers are ahead."""
        steps, secs = self.every_n_steps, self.every_n_secs
        passed = steps and step // steps > self.acted // steps
        late = secs and time.perf_counter() - self._acted_at >= secs
        return bool(step in self.always or passed or late)
