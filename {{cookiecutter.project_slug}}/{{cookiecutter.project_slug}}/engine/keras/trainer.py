"""Trains through `keras.Model.fit`: the same steps in the same run directory, Keras' callbacks."""

from __future__ import annotations

from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.trainer import SessionTrainer
from ..errors import ConfigError
from ..graph.step import total
from ..loop.evaluation import Evaluation
from ..loop.graph import TrainingGraph, run_scaffold
from ..loop.last_step import LastStepHook
from ..loop.lifecycle import Hooks
from ..loop.profile import ProfileHook
from ..loop.progress import ProgressHook
from ..loop.stream_position import training_iterator
from ..run.run import Run
from .fit_loop import FitLoop
from .hdf5 import inference_model, save_model, trained_with

# Settings of a session trainer that would change nothing here.
UNUSED = (
    "hooks",
    "profile_steps",
    "histograms",
    "evaluate_every_n_steps",
    "evaluate_every_n_secs",
)


class KerasTrainer(SessionTrainer):
    """`KerasTrainer(...).fit(model, dataset)`: Keras compiles the loss and drives the loop.

    A step is the model's own, as under SessionTrainer: its optimiser, schedule and guard. So the
    checkpoints are the same, too, and a run may go on under either. It evaluates at the end of
    each epoch; callbacks find the numbers as val_loss and val_<measure>. In lines about training,
    the loss is that of the batch, and measures are means since the epoch began.

    Args:
        callbacks: your own tf.keras.callbacks.Callback objects.
        others: see `SessionTrainer`, but for those in UNUSED, which are refused.
    """

    def __init__(
        self,
        callbacks: Sequence[tf.keras.callbacks.Callback] = (),
        **others: Any,
    ) -> None:
        super().__init__(**others)
        for name in UNUSED:
            if getattr(self, name):
                raise ConfigError(
                    f"trainer.{name}: found {getattr(self, name)}, which trainer=keras does not "
                    "use; it evaluates after each epoch, and for all else takes callbacks, such as "
                    "tf.keras.callbacks.TensorBoard for a profile"
                )
        self.callbacks = list(callbacks)
        refused = (tf.keras.callbacks.LearningRateScheduler, tf.keras.callbacks.ReduceLROnPlateau)
        for callback in self.callbacks:
            if isinstance(callback, refused):
                raise ConfigError(
                    f"trainer.callbacks: {type(callback).__name__} cannot set the rate of the "
                    "model's own optimiser; set schedule, which also holds after a restart"
                )

    def every(self, what: str) -> dict[str, Any]:
        """As the session trainer's, but for evaluations: each epoch ends with one."""
        if what == "evaluate":
            return {"every_n_steps": self._steps_per_epoch}
        return super().every(what)

    def _build(self, model: Model, dataset: Dataset) -> TrainingGraph:
        """One graph, as the session trainer's, but for the loop."""
        trained_with(model, {})  # what a file cannot hold is said now, not after training
        self._steps_per_epoch = dataset.steps_per_epoch(dataset.training_split)
        iterator = training_iterator(dataset, self.limit_batches)
        features, labels = iterator.get_next()
        # The tensors themselves, which Keras now knows as inputs: nothing has to be fed.
        features = tf.nest.map_structure(lambda tensor: tf.keras.Input(tensor=tensor), features)
        step_op, loss, outputs = model.build_step(features, labels)
        means = model.means(loss, outputs, labels)
        # Not what the model has written itself, nor what looks at several outputs.
        single = not any(map(tf.nest.is_nested, (outputs, labels)))
        given = model.loss_function if single and type(model).loss is Model.loss else None
        compiled = tf.keras.Model(tf.nest.flatten(features), tf.nest.flatten(outputs)[0])
        compiled.compile(
            optimizer=_Step(step_op),
            # In a function: of an object, which it may be, Keras asks more than to be called.
            loss=lambda y_true, y_pred: (
                given(y_true, y_pred) if given else total(model.loss(outputs, labels))
            ),
            # Functions: with a loss of ours, Keras takes the name "accuracy" for another measure.
            metrics=[_metric(name, mean) for name, mean in means.items() if name != "loss"],
            target_tensors=tf.nest.flatten(labels)[:1],
        )
        # Now, since TensorFlow 2.x warns of control edges from a step that a session has already.
        compiled.fit(steps_per_epoch=1, epochs=0, verbose=0)  # trains nothing
        for variable in (v for metric in compiled.metrics for v in metric.variables):
            tf.add_to_collection(tf.GraphKeys.LOCAL_VARIABLES, variable)
        self._inference = inference_model(model, features)
        evaluation = Evaluation(model, dataset, dataset.evaluation_split, self.limit_batches)
        step = tf.train.get_global_step().read_value()
        return TrainingGraph(
            model=model,
            dataset=dataset,
            iterator=iterator,
            batch=(features, labels),
            step_op=step_op,
            train_op=tf.no_op(),
            numbers={},  # Keras computes them
            summaries=tf.summary.scalar("learning_rate", model.optimization.rate(step - 1)),
            images=(),
            scaffold=run_scaffold(self, model),
            evaluation=evaluation,
            loop=FitLoop(compiled, self.callbacks, self._steps_per_epoch),
        )

    def _hooks(self, graph: TrainingGraph, run: Run, last_step: int) -> Hooks:
        """Those of the session trainer that need no tensors of the step."""

        def save() -> None:
            _, labels = graph.batch
            save_model(self._inference, graph.model, labels, f"{run.directory}/model.h5")

        loop = graph.loop
        loop.last_step = last_step
        loop.save = save
        csv = tf.keras.callbacks.CSVLogger(f"{run.directory}/epochs.csv", append=True)
        loop.callbacks = [csv, *self.callbacks]
        # Keras ends the loop, and has progress bars of its own.
        others = (LastStepHook, ProfileHook, ProgressHook)
        hooks = [h for h in super()._hooks(graph, run, last_step) if not isinstance(h, others)]
        loop.evaluate = next(hook for hook in hooks if hasattr(hook, "evaluation"))
        # After the last checkpoint: a file that cannot be written must not cost that.
        return [*hooks[:-1], loop, hooks[-1]]


class _Step(tf.keras.optimizers.Optimizer):
    """Hands a train op to Keras, which would otherwise build an update of its own."""

    def __init__(self, train_op: tf.Operation) -> None:
        super().__init__("step")
        self._train_op = train_op

    def get_updates(self, loss: tf.Tensor, params: list[tf.Variable]) -> list[tf.Operation]:
        return [self._train_op]

    def get_config(self) -> dict[str, Any]:
        return {}


def _metric(name: str, mean: tf.Tensor) -> Any:
    """Lets Keras call a mean by its name, and average it over an epoch."""

    def metric(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        del y_true, y_pred
        return mean

    metric.__name__ = name
    return metric
