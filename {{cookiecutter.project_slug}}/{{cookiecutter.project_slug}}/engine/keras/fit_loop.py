"""The loop of `keras.Model.fit`, and what happens between its steps and epochs."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ...train.hooks.evaluate import EvaluateHook
from ...train.hooks.summary import SummaryHook


@dataclasses.dataclass(eq=False)
class FitLoop(tf.keras.callbacks.Callback, tf.train.SessionRunHook):
    """Calls `fit`, and is the first of its callbacks, which lets the trainer's hooks act.

    As a hook of the session, it ends that after `fit`.
    """

    compiled: tf.keras.Model  # its training step is that of the trainer
    hooks: Sequence[tf.train.SessionRunHook]  # they see Keras' numbers and can fetch none
    evaluate: EvaluateHook  # one of them; callbacks find its numbers
    save: Callable[[], None]  # writes the model at the end
    callbacks: Sequence[tf.keras.callbacks.Callback]
    steps_per_epoch: int
    last_step: int

    def __post_init__(self) -> None:
        super().__init__()
        self._global_step = tf.train.get_global_step()

    def advance(self, session: tf.train.MonitoredSession) -> None:
        """Trains to the end."""
        session.run_step_fn(self._fit)

    def _fit(self, step_context: tf.train.MonitoredSession.StepContext) -> None:
        session = step_context.session
        session.graph._unsafe_unfinalize()  # Keras adds to the graph while it runs
        self._context = tf.train.SessionRunContext(None, session)
        self._step = int(session.run(self._global_step))
        self.compiled.stop_training = False
        with session.as_default():  # which Keras then takes
            while self._step < self.last_step and not self.compiled.stop_training:
                epoch, done = divmod(self._step, self.steps_per_epoch)
                left = self.last_step - self._step
                # The rest of an epoch that was begun, then whole ones, then a part of one.
                whole = 0 if done else left // self.steps_per_epoch
                self.compiled.fit(
                    steps_per_epoch=min(self.steps_per_epoch - done, left),
                    initial_epoch=epoch,
                    epochs=epoch + max(whole, 1),
                    callbacks=[self, *self.callbacks],
                    verbose=0,
                )

    def after_run(self, run_context: tf.train.SessionRunContext, run_values: Any) -> None:
        run_context.request_stop()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        for hook in self.hooks:
            hook.before_run(self._context)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step += 1
        numbers = {name: logs[name] for name in logs if name not in ("batch", "size")}
        values = tf.train.SessionRunValues([self._step, numbers], None, None)
        for hook in self.hooks:
            hook.after_run(self._context, values)
        if self._context.stop_requested:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.evaluate.evaluated == self._step:
            logs.update({f"val_{name}": value for name, value in self.evaluate.results.items()})

    def end(self, session: tf.Session) -> None:
        with session.as_default():
            self.save()


class ScalarsHook(SummaryHook):
    """Writes Keras' numbers, too; see `SummaryHook`, whose summary must need no batch here."""

    def act(self, session: tf.Session, step: int, values: dict[str, float]) -> None:
        self.write_scalars(values, step)
        super().act(session, step, [session.run(self.summary_op)])
