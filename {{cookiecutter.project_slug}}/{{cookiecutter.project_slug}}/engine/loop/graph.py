"""One graph of all that a run computes: the training step, its summaries, the evaluation."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, ContextManager, Sequence

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.hooks.every import STEP_AFTER_UPDATE
from ..graph.averages import load
from ..graph.replicas import Replicas
from ..graph.workers import workers_of
from ..run.checkpoints import run_saver
from .evaluation import Evaluation
from .inner_loop import InnerLoop
from .same_loss import SameLossHook
from .settings import TrainerSettings
from .stream_position import training_iterator
from .summaries import image_summaries, step_summaries

logger = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class TrainingGraph:
    """What the session and the hooks need of the graph."""

    model: Model
    dataset: Dataset
    iterator: tf.data.Iterator  # initializable, of training batches
    batch: Any  # features and labels of the step, as the iterator gives them
    step_op: tf.Operation  # one step of the model: what `Model.build_step` returned
    train_op: tf.Operation  # what the session runs
    numbers: dict[str, tf.Tensor]  # of the step, float32 []: loss, measures, learning_rate
    summaries: tf.Tensor  # of the step, merged: string []
    images: Sequence[tf.Tensor]  # summaries of the first images, string [] each
    scaffold: tf.train.Scaffold
    evaluation: Evaluation
    loop: Any  # runs the steps between hook events: an `InnerLoop`, or Keras
    checks: Sequence[tf.train.SessionRunHook] = ()  # of what must hold before the first step


def build_training_graph(
    settings: TrainerSettings, model: Model, dataset: Dataset
) -> TrainingGraph:
    """Builds everything in the default graph; training and evaluation share the variables."""
    devices = settings.replica_devices()
    if len(devices) > 1:  # which takes a while for each
        logger.info("building the model for %d devices", len(devices))
    model.replicas = Replicas(devices)
    iterator = training_iterator(dataset, settings.limit_batches)
    workers = workers_of()
    workers.begin_step()

    def shared() -> ContextManager[Any]:
        return workers.share(iterator.get_next(), dataset.batch_size, type(dataset).__name__)

    with shared() as batch:
        features, labels = batch
        step_op, loss, outputs = model.build_step(features, labels)
        numbers = model.means(loss, outputs, labels)
    # What is averaged over workers all compute, whoever shows it.
    train_op = step_op if workers.number == 1 else tf.group(step_op, *numbers.values())
    with tf.control_dependencies([train_op]):
        step_after = tf.train.get_global_step().read_value()
    tf.add_to_collection(STEP_AFTER_UPDATE, step_after)
    numbers["learning_rate"] = model.optimization.rate(step_after - 1)
    # Before the loop, whose own summaries cannot be fetched.
    summaries = step_summaries(model, train_op, numbers, settings.histograms)
    scaffold = run_scaffold(settings, model, summaries)
    tables = len(tf.get_collection(tf.GraphKeys.TABLE_INITIALIZERS))
    evaluation = Evaluation(
        model, dataset, dataset.evaluation_split, settings.limit_batches, again=True
    )
    images = image_summaries(features)
    # Made by each call of the model; in a loop they could not be initialized.
    tables = len(tf.get_collection(tf.GraphKeys.TABLE_INITIALIZERS)) - tables
    if tables and settings.steps_per_loop > 1:
        logger.info("%s makes a lookup table in call: one session.run per step, slower", model.name)

    def step() -> tf.Operation:
        with shared() as batch:
            return model.build_step(*batch)[0]

    loop = InnerLoop(
        step=step,
        max_steps=1 if tables else settings.steps_per_loop,
        hooks=settings.hooks,
    )
    number = workers.number * len(model.replicas.devices)
    return TrainingGraph(
        model=model,
        dataset=dataset,
        iterator=iterator,
        batch=batch,
        step_op=step_op,
        train_op=train_op,
        numbers=numbers,
        summaries=summaries,
        images=images,
        scaffold=scaffold,
        evaluation=evaluation,
        loop=loop,
        checks=[SameLossHook(model, evaluation, number)] if number > 1 else [],
    )


def run_scaffold(
    settings: TrainerSettings, model: Model, summaries: tf.Tensor | None = None
) -> tf.train.Scaffold:
    """What is saved, and what a new run starts with."""
    return tf.train.Scaffold(
        saver=run_saver(settings.max_to_keep, settings.keep_checkpoint_every_n_hours),
        summary_op=summaries,
        init_fn=lambda _, session: _start(model, session),
    )


def _start(model: Model, session: tf.Session) -> None:
    variables = {variable.op.name: variable for variable in model.variables}
    load(variables, model.loaded_weights, session)
    model.warm_start.load(model.variables, session)
    model.optimization.averages.start(session)
