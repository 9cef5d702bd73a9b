"""The loop of `keras.Model.fit`, and what happens between its steps and epochs."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ..run.files import atomic_write


@dataclasses.dataclass(eq=False)
class FitLoop(tf.keras.callbacks.Callback, tf.train.SessionRunHook):
    """Calls `fit`, and is the first of its callbacks, which lets the trainer's hooks act.

    As a hook of the session, it ends that after `fit`, and saves the model.
    """

    compiled: tf.keras.Model  # its training step is the trainer's
    steps_per_epoch: int
    save: Callable[[str], None]  # writes the model to a path
    # Set before the first step:
    directory: str = ""  # of the run
    last_step: int = 0
    callbacks: Sequence[tf.keras.callbacks.Callback] = ()
    hooks: Sequence[tf.train.SessionRunHook] = ()
    evaluate: Any = None  # the one of the hooks whose numbers callbacks find

    stop_op = None  # between two steps Python is always asked

    def __post_init__(self) -> None:
        super().__init__()
        self._global_step = tf.train.get_global_step()

    def advance(self, session: tf.train.MonitoredSession) -> None:
        """Trains to the end."""
        session.run_step_fn(self._fit)

    def _fit(self, step_context: tf.train.MonitoredSession.StepContext) -> None:
        session = step_context.session
        session.graph._unsafe_unfinalize()  # Keras and your callbacks add to the graph
        self._context = tf.train.SessionRunContext(None, session)
        self._step = int(session.run(self._global_step))
        self._others = [hook for hook in self.hooks if hook is not self]
        self.compiled.stop_training = False
        path = os.path.join(self.directory, "epochs.csv")
        _drop_epochs_from(self._step // self.steps_per_epoch, path)
        callbacks = [self, tf.keras.callbacks.CSVLogger(path, append=True), *self.callbacks]
        with session.as_default():  # which Keras then takes
            while self._step < self.last_step and not self.compiled.stop_training:
                epoch, done = divmod(self._step, self.steps_per_epoch)
                left = self.last_step - self._step
                # The rest of a started epoch, then complete ones, then a part of one.
                complete = 0 if done else left // self.steps_per_epoch
                self.compiled.fit(
                    steps_per_epoch=min(self.steps_per_epoch - done, left),
                    initial_epoch=epoch,
                    epochs=epoch + max(complete, 1),
                    callbacks=callbacks,
                    verbose=0,
                )

    def after_run(self, run_context: tf.train.SessionRunContext, run_values: Any) -> None:
        run_context.request_stop()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        for hook in self._others:
            hook.before_run(self._context)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step += 1
        numbers = {name: logs[name] for name in logs if name not in ("batch", "size")}
        for hook in self._others:
            values = [self._step, self._values(hook, numbers)]
            hook.after_run(self._context, tf.train.SessionRunValues(values, None, None))
        if self._context.stop_requested:
            self.model.stop_training = True

    def _values(self, hook: tf.train.SessionRunHook, numbers: dict[str, float]) -> Any:
        """Keras' numbers; for a hook that fetches summaries, these (they need no batch), too."""
        fetches = hook.fetches() if getattr(hook, "due", False) else None
        if not fetches:
            return numbers
        points = [tf.Summary.Value(tag=name, simple_value=numbers[name]) for name in numbers]
        return [tf.Summary(value=points), *self._context.session.run(fetches)]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.evaluate.evaluated == self._step:
            logs.update({f"val_{name}": value for name, value in self.evaluate.results.items()})

    def end(self, session: tf.Session) -> None:
        with session.as_default():
            self.save(os.path.join(self.directory, "model.h5"))


def _drop_epochs_from(epoch: int, path: str) -> None:
    """Drops the lines of epochs that come again after a restart, which Keras counts from 0."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if line.endswith("\n")]
        known = [str(number) for number in range(epoch)]
        with atomic_write(path) as part:
            kept = [line for line in lines if line.split(",")[0] in ["epoch", *known]]
            part.writelines(line.encode() for line in kept)
