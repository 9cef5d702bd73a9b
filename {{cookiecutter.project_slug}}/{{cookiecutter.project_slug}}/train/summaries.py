"""What TensorBoard shows of a training step."""

from __future__ import annotations

import re

import tensorflow.compat.v1 as tf

from ..model.model import Model


def step_summaries(model: Model, train_op: tf.Operation, shown: dict[str, tf.Tensor]) -> tf.Tensor:
    """The merged summary, string [], of a step and of what the model itself has summarised.

    Call it before a loop in the graph holds summaries that cannot be fetched.

    Args:
        model: the norms and histograms of its trained variables are those after the step.
        train_op: the step.
        shown: name -> number []; your hooks may fetch them, as "training/loss:0".
    """
    for name, value in shown.items():
        tf.identity(value, name="training/" + re.sub(r"[^\w.]", "_", name))
        tf.summary.scalar(name, value)
    for variable in model.trainable_variables:
        name = variable.op.name
        with tf.control_dependencies([train_op]):
            weights = variable.read_value()
        tf.summary.histogram(f"weights/{name}", weights)
        tf.summary.scalar(f"weight_norm/{name}", tf.norm(weights))
    return tf.summary.merge_all()
