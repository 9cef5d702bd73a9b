"""Losses that take what they need: `outer(arguments)` returns `loss(y_true, y_pred)`.

Keras calls a loss with labels and outputs alone. What else a loss needs, a number or another
tensor of the model, is an argument of the function around it:

    loss = offset_crossentropy(10)           in Python
    loss: {_target_: ...offset_crossentropy, offset: 10}      in YAML

The same object serves `Model` and `keras.Model.compile`. The loss of a batch is float32 [batch],
one number for each example; training minimizes their mean. Labels are int [batch] (or [batch, 1],
as Keras passes them), outputs are logits float32 [batch, classes]. Write your own next to these.
"""

from __future__ import annotations

from typing import Callable, Sequence

import tensorflow.compat.v1 as tf

from ..engine.errors import ConfigError
from ..engine.graph.safe import class_labels

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def crossentropy() -> Loss:
    """-log p, in nats, where p is the probability of the label."""

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=class_labels(y_true, y_pred), logits=y_pred
        )

    return loss


def offset_crossentropy(offset: float) -> Loss:
    """Cross-entropy + offset, which changes the number that is reported and nothing else."""

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return crossentropy()(y_true, y_pred) + offset

    return loss


def label_smoothing(smoothing: float = 0.1) -> Loss:
    """Cross-entropy with labels of which a part is spread over all classes.

    Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7.

    Args:
        smoothing: the part, from 0 (plain cross-entropy) to 1.
    """
    if not 0 <= smoothing <= 1:
        raise ConfigError(f"label_smoothing: smoothing is {smoothing}; expected 0 to 1")

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        uniform = -tf.reduce_mean(tf.nn.log_softmax(y_pred), axis=1)
        return (1 - smoothing) * crossentropy()(y_true, y_pred) + smoothing * uniform

    return loss


def focal(gamma: float = 2.0) -> Loss:
    """(1 - p)^gamma times cross-entropy: easy examples count less.

    Lin et al. 2017, https://arxiv.org/abs/1708.02002.

    Args:
        gamma: 0 is plain cross-entropy.
    """
    if gamma < 0:
        raise ConfigError(f"focal: gamma is {gamma}; expected 0 or more")

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        each = crossentropy()(y_true, y_pred)
        # 1 - p, without loss of digits near p = 1; a power below 1 has no gradient at 0.
        return tf.pow(tf.maximum(-tf.expm1(-each), 1e-7), gamma) * each

    return loss


def class_weighted(weights: Sequence[float]) -> Loss:
    """Cross-entropy times the weight of the label's class.

    Args:
        weights: one for each class; 1 changes nothing.
    """

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        classes = y_pred.shape.as_list()[-1]
        if len(weights) != classes:
            raise ConfigError(f"class_weighted: found {len(weights)} weights for {classes} classes")
        factors = tf.gather(tf.constant(weights, tf.float32), class_labels(y_true, y_pred))
        return factors * crossentropy()(y_true, y_pred)

    return loss


def activity_penalty(activity: tf.Tensor) -> Loss:
    """The mean square of an activity or input of the model, whatever the labels are.

    Made inside the model, and added to another loss by `weighted_sum`:

        def loss(self, outputs, labels):
            losses = [self.loss_function, activity_penalty(self.hidden)]
            return tf.reduce_mean(weighted_sum(losses, [1, 0.01])(labels, outputs))

    Args:
        activity: float32 [batch, ...].
    """

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.square(activity), axis=list(range(1, activity.shape.rank)))

    return loss


def weighted_sum(losses: Sequence[Loss], weights: Sequence[float]) -> Loss:
    """The sum of several losses, each times its weight.

    Args:
        losses: made by the functions above, or yours.
        weights: one for each loss.
    """
    if len(losses) != len(weights) or not losses:
        raise ConfigError(f"weighted_sum: found {len(losses)} losses, {len(weights)} weights")

    def loss(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return tf.add_n([w * each(y_true, y_pred) for w, each in zip(weights, losses)])

    return loss
