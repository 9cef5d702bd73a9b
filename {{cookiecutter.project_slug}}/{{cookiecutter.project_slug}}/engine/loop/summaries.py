"""What TensorBoard shows of a training step."""

from __future__ import annotations

import re

import tensorflow.compat.v1 as tf

from ...model.model import Model, Nest
from ..graph.optimize import HISTOGRAMS


def step_summaries(
    model: Model, train_op: tf.Operation, shown: dict[str, tf.Tensor], histograms: bool = False
) -> tf.Tensor:
    """The merged summary, string [], of a step and of what the model itself has summarized.

    Call it before the graph has a loop, whose summaries cannot be fetched.

    Args:
        model: the norms of its trained variables are those after the step.
        train_op: the step.
        shown: name -> number []; your hooks may fetch them, as "training/loss:0".
        histograms: of the weights after the step, and of the gradients before they are clipped.
    """
    for name, value in shown.items():
        tf.identity(value, name="training/" + re.sub(r"[^\w.]", "_", name))
        tf.summary.scalar(name, value)
    for variable in model.trainable_variables:
        name = variable.op.name
        with tf.control_dependencies([train_op]):
            weights = variable.read_value()
        tf.summary.scalar(f"weight_norm/{name}", tf.norm(weights))
        tf.summary.histogram(f"weights/{name}", weights, collections=[HISTOGRAMS])
    chosen = [tf.GraphKeys.SUMMARIES, *([HISTOGRAMS] if histograms else [])]
    return tf.summary.merge([summary for key in chosen for summary in tf.get_collection(key)])


def image_summaries(features: Nest) -> list[tf.Tensor]:
    """Summaries, string [], of the first of those features that are images.

    Args:
        features: each [batch, rows, columns, 1, 3 or 4], of numbers that
            `tf.summary.image` takes, is shown; others are skipped.
    """
    types = (tf.uint8, tf.float16, tf.float32, tf.float64)
    return [
        tf.summary.image("features", feature, max_outputs=8, collections=[])
        for feature in tf.nest.flatten(features)
        if feature.dtype in types
        and feature.shape.rank == 4
        and feature.shape.as_list()[-1] in (1, 3, 4)
    ]
