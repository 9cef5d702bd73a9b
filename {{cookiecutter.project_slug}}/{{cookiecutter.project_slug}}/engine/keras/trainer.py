"""Trains through `keras.Model.fit`: the same steps in the same run directory, Keras' callbacks."""

from __future__ import annotations

import re
from typing import Any, Sequence

import tensorflow.compat.v1 as tf
from omegaconf import OmegaConf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.trainer import SessionTrainer
from ..errors import ConfigError, ModelError
from ..graph.measures import total
from ..graph.step import Nest
from ..loop.evaluation import Evaluation
from ..loop.graph import TrainingGraph, run_scaffold
from ..loop.lifecycle import Hooks
from ..loop.profile import ProfileHook
from ..loop.progress import ProgressHook
from ..loop.stream_position import training_iterator
from ..run.run import Run
from .fit_loop import FitLoop
from .hdf5 import save_model

# Settings of the session trainer that would change nothing here.
UNUSED = (
    "hooks",
    "profile_steps",
    "histograms",
    "evaluate_every_n_steps",
    "evaluate_every_n_secs",
)


class KerasTrainer(SessionTrainer):
    """`KerasTrainer(...).fit(model, dataset)`: Keras compiles the loss and drives the loop.

    A step is the model's own, as under SessionTrainer: its optimizer, schedule and guard. So the
    checkpoints are the same, too, and either trainer resumes a run. It evaluates at the end of
    each epoch; callbacks find the numbers as val_loss and val_<measure>. In lines about training,
    the loss is that of the batch, and measures are means since the start of the epoch.

    Args:
        callbacks: your own tf.keras.callbacks.Callback objects.
        others: see `SessionTrainer`, except those in UNUSED, which are refused.
    """

    def __init__(
        self,
        callbacks: Sequence[tf.keras.callbacks.Callback] = (),
        evaluate_every_n_steps: int = 0,
        **others: Any,
    ) -> None:
        super().__init__(evaluate_every_n_steps=evaluate_every_n_steps, **others)
        for name in UNUSED:
            if getattr(self, name):
                raise ConfigError(
                    f"trainer.{name}: found {getattr(self, name)}, which trainer=keras does not "
                    "use; it evaluates after each epoch, and for all else takes callbacks, such as "
                    "tf.keras.callbacks.TensorBoard for a profile"
                )
        if self.replicas > 1:
            raise ConfigError(
                f"trainer.replicas: found {self.replicas}; trainer=keras trains on one device, "
                "trainer=session on several"
            )
        self.callbacks = list(callbacks)
        refused = (tf.keras.callbacks.LearningRateScheduler, tf.keras.callbacks.ReduceLROnPlateau)
        for callback in self.callbacks:
            if isinstance(callback, refused):
                raise ConfigError(
                    f"trainer.callbacks: {type(callback).__name__} cannot set the rate of the "
                    "model's own optimizer; set schedule, which also holds after a restart"
                )

    def replica_devices(self) -> list[str]:
        """One: Keras calls the model by itself."""
        return [""]

    def fit(self, model: Model, dataset: Dataset, config: str = "") -> dict[str, float]:
        """As the session trainer's; `config` is also what model.h5 says of its model."""
        settings = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
        self._model_settings = settings.get("model")
        return super().fit(model, dataset, config)

    def every(self, what: str) -> dict[str, Any]:
        """As the session trainer's, except for evaluations: each epoch ends with one."""
        if what == "evaluate":
            return {"every_n_steps": self._steps_per_epoch}
        return super().every(what)

    def _build(self, model: Model, dataset: Dataset) -> TrainingGraph:
        """One graph, as the session trainer's, except for the loop."""
        self._steps_per_epoch = dataset.steps_per_epoch(dataset.training_split)
        iterator = training_iterator(dataset, self.limit_batches)
        features, labels = iterator.get_next()
        # The tensors themselves, which Keras now knows as inputs: nothing has to be fed.
        features = tf.nest.map_structure(lambda tensor: tf.keras.Input(tensor=tensor), features)
        step_op, loss, outputs = model.build_step(features, labels)
        means = model.means(loss, outputs, labels)
        compiled = tf.keras.Model(tf.nest.flatten(features), tf.nest.flatten(outputs)[0])
        compiled.compile(
            optimizer=_Step(step_op),
            # Without the regularization losses, which Keras adds itself.
            loss=lambda y_true, y_pred: total(model.loss(outputs, labels)),
            # Functions: with a loss of ours, Keras takes the name "accuracy" for another measure.
            metrics=[_metric(name, mean) for name, mean in means.items() if name != "loss"],
            target_tensors=tf.nest.flatten(labels)[:1],
        )
        # Now, since TensorFlow 2.x warns of control edges from a step that a session has already.
        compiled.fit(steps_per_epoch=1, epochs=0, verbose=0)  # trains nothing
        for variable in (v for metric in compiled.metrics for v in metric.variables):
            tf.add_to_collection(tf.GraphKeys.LOCAL_VARIABLES, variable)
        saved, settings = _inference_model(model, features), self._model_settings
        split = dataset.evaluation_split
        evaluation = Evaluation(model, dataset, split, self.limit_batches, again=True)
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
            loop=FitLoop(
                compiled=compiled,
                steps_per_epoch=self._steps_per_epoch,
                save=lambda path: save_model(saved, model, labels, settings, path),
            ),
        )

    def _hooks(self, graph: TrainingGraph, run: Run, last_step: int) -> Hooks:
        """Those of the session trainer that need no tensors of the step, and the loop."""
        others = (ProfileHook, ProgressHook)
        hooks = [h for h in super()._hooks(graph, run, last_step) if not isinstance(h, others)]
        loop = graph.loop
        loop.directory = run.directory
        loop.last_step = last_step
        loop.callbacks = self.callbacks
        loop.evaluate = next(hook for hook in hooks if hasattr(hook, "evaluation"))
        # After the last checkpoint: a file that cannot be written must not cost that.
        return [*hooks[:-1], loop, hooks[-1]]


def _inference_model(model: Model, features: Nest) -> tf.keras.Model:
    """What model.h5 holds; features: a batch, for its types and shapes."""
    empty = tf.nest.map_structure(lambda t: tf.keras.Input(t.shape[1:], dtype=t.dtype), features)
    outputs = model(empty, training=False)
    return tf.keras.Model(tf.nest.flatten(empty), tf.nest.flatten(outputs))


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
    if not re.fullmatch(r"[\w./-]+", name, re.ASCII):
        raise ModelError(
            f'measure: found "{name}"; for trainer=keras expected a name of ASCII letters, digits '
            "and _ . / - alone; change it, or take trainer=session"
        )

    def metric(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return mean

    metric.__name__ = name
    return metric
