"""How variables follow a loss: in updates that happen completely or not at all."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Callable, ContextManager, Sequence

import tensorflow.compat.v1 as tf

from ..errors import ConfigError, ModelError
from .averages import Averages, zeros_for
from .checks import ancestors, written_by
from .dropout import completed_steps
from .gradients import (
    Gradients,
    Pairs,
    check_finite,
    clip_gradients,
    deduplicated,
    dense_values,
)
from .rate import check_factors, factor_of
from .replicas import is_shared
from .workers import workers_of

HISTOGRAMS = "histograms"  # the collection of these summaries, which cost more than others
KNOWN = "Adam, Momentum, GradientDescent, RMSProp, Adagrad and Adadelta"
# Their rate must be a number or a tensor, which would not change in the loop in the graph.
REFUSED = re.compile("(Ftrl|ProximalAdagrad|ProximalGradientDescent|AdagradDA)Optimizer")


@dataclass(eq=False)
class Optimization:
    """The optimizer, its learning rate, and what is done to gradients before and after it.

    A step is a batch, also with `accumulate`, since the order of the data is a function of the
    global step; a checkpoint between two updates holds the gradients accumulated so far.

    Args:
        learning_rate: step size of the optimizer.
        schedule: global step, int64 [] -> factor of the learning rate; see `schedules`.
        optimizer: makes an optimizer of `tf.train` from its argument `learning_rate`.
        clip: how to limit gradients: one of {"value": x}, {"norm": x} (of each gradient) and
            {"global_norm": x} (of all together); 0 and None mean no limit.
        accumulate: batches whose mean gradient, then clipped, makes one update.
        ema_decay: of the averages of the weights, which evaluation uses; 0 is off.
        loss_scale: what keeps small gradients from vanishing in float16, and switches mixed
            precision on (https://arxiv.org/abs/1710.03740); 0 is off.

    Raises:
        ConfigError: a number is invalid, or the optimizer takes no function as its rate.
    """

    learning_rate: float = 1e-3
    schedule: Callable[[tf.Tensor], tf.Tensor | float] = lambda global_step: 1.0
    optimizer: Any = tf.train.AdamOptimizer
    clip: dict[str, float] | None = field(default_factory=lambda: {"global_norm": 5.0})
    accumulate: int = 1
    ema_decay: float = 0.0
    loss_scale: float = 0.0

    def __post_init__(self) -> None:
        fits = 0 <= self.ema_decay < 1 and 0 <= self.loss_scale < math.inf
        if self.accumulate < 1 or int(self.accumulate) != self.accumulate or not fits:
            raise ConfigError(
                f"model: found accumulate={self.accumulate}, ema_decay={self.ema_decay}, "
                f"loss_scale={self.loss_scale}; expected 1 or more, 0 to below 1, 0 or more"
            )
        if not 0 <= self.learning_rate < math.inf or not callable(self.schedule):
            raise ConfigError(
                f"model: found learning_rate={self.learning_rate}, schedule={self.schedule}; "
                "expected 0 or more, and a function of model.schedules"
            )
        self.averages = Averages(self.ema_decay)
        try:
            self.optimizer = self.optimizer(learning_rate=lambda: self.rate(completed_steps()))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"model.optimizer: {error}; expected a class of tf.train, to which the model gives "
                f"the learning rate (in YAML with _partial_: true): {KNOWN}Optimizer"
            ) from None
        name = type(self.optimizer).__name__
        if not isinstance(self.optimizer, tf.train.Optimizer) or REFUSED.fullmatch(name):
            raise ConfigError(
                f"model.optimizer: {name} is not an optimizer of tf.train whose learning rate may "
                f"be a function, so that it follows a schedule; these are {KNOWN}Optimizer"
            )
        plain = (tf.train.GradientDescentOptimizer, tf.train.MomentumOptimizer)
        self._squares = not isinstance(self.optimizer, plain)  # gradients, element by element
        self._sums: dict[str, tf.Variable] = {}
        self._counts: dict[str, tf.Variable] = {}

    def rate(self, global_step: tf.Tensor) -> tf.Tensor:
        """The learning rate of the update that follows `global_step` int64 [] steps: float32 []."""
        return self.learning_rate * factor_of(self.schedule, global_step)

    def check_updates(self, last_step: int) -> None:
        """Raises ConfigError if the last steps, or all of them, would change nothing."""
        if self.accumulate > last_step:
            found = f"model.accumulate={self.accumulate}: no update in {last_step} steps"
            raise ConfigError(f"{found}; lower it, or train longer")
        if self.learning_rate:
            check_factors(self.schedule, last_step)

    def update(
        self,
        loss: tf.Tensor,
        variables: Sequence[tf.Variable],
        updates: Sequence[tf.Operation] = (),
        writes: Sequence[tf.Operation] = (),
    ) -> tf.Operation:
        """One update of the variables and of the global step, with all that belongs to it.

        Args:
            loss: float32 [].
            variables: those to train.
            updates, writes: see `guard`.

        Returns:
            The operation that has written everything. Running it raises InvalidArgumentError,
            with the name of the loss or gradient and "Tensor had NaN" or "Tensor had Inf", before
            anything is written.
        """
        gradients = self.gradients(loss, variables)
        with guard([gradients], updates, writes):
            return self.apply(gradients, tf.train.get_or_create_global_step())

    def gradients(self, loss: tf.Tensor, variables: Sequence[tf.Variable]) -> Gradients:
        """The gradients of a loss, their norms as summaries, and the check that they are finite.

        Raises:
            ModelError: there is no variable, or one that does not influence the loss.
        """
        if not variables:
            raise ModelError("no variable to train; create some, or let model.freeze match less")
        scaled = loss * self.loss_scale if self.loss_scale else loss
        # Each gradient where its part of the loss is.
        on_devices = {"colocate_gradients_with_ops": True} if is_shared(scaled.graph) else {}
        pairs = self.optimizer.compute_gradients(scaled, list(variables), **on_devices)
        without = [variable.op.name for gradient, variable in pairs if gradient is None]
        if without:
            raise ModelError(
                f"the loss does not depend on {', '.join(without)}; use these variables in call, "
                "or create them with trainable=False"
            )
        # On 1.15, that one takes no function for its rate where gradients are sparse.
        dense = isinstance(self.optimizer, tf.train.GradientDescentOptimizer)
        pairs = [(deduplicated(gradient, dense), variable) for gradient, variable in pairs]
        if self.loss_scale:
            pairs = [(tf.math.scalar_mul(1 / self.loss_scale, g), v) for g, v in pairs]
        loss, pairs = workers_of().averaged(loss, pairs)
        tf.summary.scalar("gradient_norm", tf.global_norm([gradient for gradient, _ in pairs]))
        for gradient, variable in pairs:
            tf.summary.scalar(f"gradient_norm/{variable.op.name}", tf.norm(dense_values(gradient)))
        if self.accumulate > 1:
            pairs = [
                (self._sum(v).read_value() + tf.convert_to_tensor(gradient) / self.accumulate, v)
                for gradient, v in pairs
            ]
        # A sum costs less than a check, and clipping needs it. Only if one is not finite is each
        # checked by name; the clipped ones, too: a norm that overflows makes them NaN.
        squares = [tf.nn.l2_loss(dense_values(gradient)) for gradient, _ in pairs]
        clipped = clip_gradients(pairs, self.clip or {}, squares)
        rate = self.rate(completed_steps())
        sums = [tf.cast(each, tf.float32) for each in [loss, rate, *squares]]
        finite = tf.cond(
            workers_of().known_last(tf.reduce_all(tf.is_finite(tf.stack(sums)))),
            tf.no_op,
            lambda: tf.group(
                tf.debugging.check_numerics(loss, "the loss is not finite"),
                tf.debugging.check_numerics(rate, "the learning rate is not finite"),
                *check_finite(pairs, squared=False),
                *check_finite(clipped, self._squares),
            ),
        )
        with tf.control_dependencies([finite]):  # a histogram of what is not would fail first
            for gradient, variable in pairs:
                name, values = f"gradients/{variable.op.name}", tf.identity(dense_values(gradient))
                tf.summary.histogram(name, values, collections=[HISTOGRAMS])
        return Gradients(pairs, clipped, tf.group(finite))

    def apply(self, gradients: Gradients, global_step: tf.Variable | None = None) -> tf.Operation:
        """Writes the variables, and increments the global step if it is given; inside a `guard`.

        Without it, batches are counted here, since not every step may have its turn.
        """
        first, count = gradients.pairs[0][1], global_step
        if count is None and (self.accumulate > 1 or self.averages.decay):
            count = zeros_for(first, "batches", self._counts, [], tf.int64)
        batches = count.read_value() if count is not None else tf.constant(0, tf.int64)
        if self.accumulate == 1:
            done = self._apply(gradients.clipped, batches)
        else:
            full = tf.equal((batches + 1) % self.accumulate, 0)
            keep = [(self._sum(variable), total) for total, variable in gradients.pairs]
            done = tf.cond(
                full,
                lambda: self._apply(gradients.clipped, batches),
                lambda: tf.group(*[kept.assign(total) for kept, total in keep]),
            )
        with tf.control_dependencies([done]):
            return done if count is None else tf.group(count.assign_add(1))

    def _apply(self, clipped: Pairs, batches: tf.Tensor) -> tf.Operation:
        variables = [variable for _, variable in clipped]
        with tf.control_dependencies([self.optimizer.apply_gradients(clipped)]):
            sums = [self._sum(variable) for variable in variables if self.accumulate > 1]
            resets = [kept.assign(tf.zeros_like(kept)) for kept in sums]
            average = self.averages.update(variables, batches // self.accumulate)
            return tf.group(*resets, average)

    def _sum(self, variable: tf.Variable) -> tf.Variable:
        """Where the gradients of a variable are accumulated until the next update."""
        return zeros_for(variable, "gradient_sum", self._sums)


def guard(
    gradients: Sequence[Gradients],
    updates: Sequence[tf.Operation] = (),
    writes: Sequence[tf.Operation] = (),
) -> ContextManager[None]:
    """What is built inside of the `with` writes nothing unless all these gradients are finite.

    A check for each gradient alone would let the other variables be written first, and the
    next checkpoint would hold an incomplete step.

    Args:
        gradients: of one loss, or of several that make one step.
        updates: what else belongs to this step, such as BatchNorm's statistics.
        writes: the operations by which the updates write variables; they wait, too. What they
            write is checked: statistics may overflow where no gradient does.
    """
    finite = [batch.finite for batch in gradients]
    written = {
        write.name: write.inputs[-1]
        for write in writes
        # What a branch of a tf.cond writes is not known outside of it.
        if write.inputs[-1].dtype.is_floating and not written_by(write)[1]
    }
    # A value that depends on another of the writes cannot be checked before all of them.
    if not ancestors(value.op for value in written.values()).intersection(writes):
        for name, value in written.items():
            message = f"what {name} writes is not finite"
            finite.append(workers_of().known_last(tf.debugging.check_numerics(value, message)).op)
    for operation in [*updates, *writes]:
        # Layers build their updates while they are called, before the guard can exist.
        operation._add_control_inputs(finite)
    return tf.control_dependencies([*finite, *updates])
