"""Workers that train in step: what each computes of its part of a batch becomes that of all."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any, Iterator, Sequence

import tensorflow.compat.v1 as tf

from ..errors import DataError, ModelError
from ..graph.checks import ancestors
from ..graph.gradients import Pairs
from ..graph.measures import Measured, Ratio, of_batch, summed
from ..graph.parts import Nest, Part, shared_out
from ..graph.per_example import is_averaged, taken
from ..graph.workers import Alone

GROUP = 1  # TensorFlow's number for all workers, with the device that computes
FIRST = 100  # of the numbers of collectives; those before are for what is no step


class Workers(Alone):
    """The processes that compute each step together.

    All build the same graph, so that a collective has one number everywhere, and run the same
    collectives in each session.run, else they wait for each other.

    Args:
        index: of this process.
        number: of all.
        divided: whether the batches that are read are this worker's part already.
    """

    def __init__(self, index: int, number: int, divided: bool = False) -> None:
        self.index = index
        self.number = number
        self.divided = divided
        self._numbers = itertools.count(FIRST)
        self._batch: Nest = ()  # this worker's part of the last batch
        self.begin_step()

    def begin_step(self, ask: tf.Tensor | None = None) -> None:
        """Call it before a step is built.

        Args:
            ask: bool [], whether this process asks to end the loop that the step is in; what all
                ask is `asked` after the first `mean`.
        """
        self._ask = ask
        self._last: list[tf.Operation] = []  # NCCL needs collectives in one order everywhere
        self._writes: list[tf.Operation] = []
        self._checks: list[tf.Operation] = []
        self._averaged: set[tf.Operation] = set()  # gradients

    def known_last(self, check: tf.Tensor) -> tf.Tensor:
        """The same, after all collectives of its step.

        A check fails for all or for none; but who had begun another collective would then wait for
        those that have not.
        """
        self._checks.append(check.op)
        return check

    def end_step(self, train_op: tf.Operation) -> None:
        """Call it when a step is built; raises ModelError if it is one of this process alone."""
        if not self._averaged & ancestors([train_op]):
            raise ModelError(
                "the train op that optimize returned updates by one worker's part of the batch "
                "alone; take the gradients of self.optimization.gradients"
            )
        for check in self._checks:
            check._add_control_inputs(self._last)
        self._last = [train_op]

    @contextlib.contextmanager
    def share(self, batch: Nest, size: int, maker: str = "the dataset") -> Iterator[Nest]:
        """This worker's rows of a batch of `size` examples; what is built inside is for them.

        Raises:
            DataError: arrays of the batch have another size, or one that is not known.
        """
        rows = size // self.number
        there = rows if self.divided else size

        for found in [x.shape for x in tf.nest.flatten(batch) if isinstance(x, tf.Tensor)]:
            if found.rank is None or found.as_list()[:1] not in ([], [there]):
                raise DataError(
                    f"{maker}.batches: found arrays of the shape {found} in a training batch, "
                    f"expected {there} examples in each, which {self.number} workers share; make "
                    "batches of data.batch_size with drop_remainder=True"
                )
        if not self.divided:
            batch = shared_out(batch, self.number)[self.index][1]
        self._batch = batch
        with taken(Part(self.index * rows, rows, rows, 1 / self.number)):
            yield batch

    def mean(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The means over all workers of floats, whose shapes must be known.

        They travel in one buffer, with what `average_writes` and `begin_step` left for it.
        """
        ask, writes = self._ask, self._writes
        self._ask, self._writes = None, []
        values = [*values, *(write.inputs[-1] for write in writes)]
        values += [] if ask is None else [tf.cast(ask, tf.float32)]
        means = self._packed_means(values)
        if ask is not None:
            self.asked = means.pop() > 0
        for write in reversed(writes):
            write._update_input(len(write.inputs) - 1, means.pop())
        return means

    def _packed_means(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        # Types of 16 bits travel as float32, in which a sum cannot overflow.
        types = [tf.float64 if value.dtype == tf.float64 else tf.float32 for value in values]
        means: dict[int, tf.Tensor] = {}
        for type_ in dict.fromkeys(types):
            chosen = [i for i, each in enumerate(types) if each == type_]
            flat = [tf.reshape(tf.cast(values[i], type_), [-1]) for i in chosen]
            mean = self.reduce(tf.concat(flat, axis=0), final_op="Div")
            sizes = [values[i].shape.num_elements() for i in chosen]
            for i, part in zip(chosen, tf.split(mean, sizes)):
                means[i] = tf.cast(tf.reshape(part, values[i].shape), values[i].dtype)
        return [means[i] for i in range(len(values))]

    def reduce(
        self, value: tf.Tensor, final_op: str = "Id", group: int = GROUP, number: int = 0
    ) -> tf.Tensor:
        """The sum over all workers, after the collectives of this step that were made before.

        Args:
            value: of one type and shape in all workers.
            final_op: "Div" divides by their number.
            group, number: TensorFlow's number for the devices and for this collective.
        """
        with tf.control_dependencies(self._last):
            value = tf.identity(value)
        found = tf.raw_ops.CollectiveReduce(
            input=value,
            group_size=self.number,
            group_key=group,
            instance_key=number or next(self._numbers),
            merge_op="Add",
            final_op=final_op,
            subdiv_offsets=[0],
            wait_for=[],
        )
        self._last = [found.op]
        return found

    def total(self, value: tf.Tensor) -> tf.Tensor:
        """The sum of a value over all workers, through which gradients flow."""

        @tf.custom_gradient
        def summed(value: tf.Tensor) -> Any:
            return self.reduce(value), self.reduce

        return summed(value)

    def averaged(self, loss: tf.Tensor, pairs: Pairs) -> tuple[tf.Tensor, Pairs]:
        """The loss and the gradients of the whole batch; sparse gradients become dense ones.

        Args:
            loss: float [], of this worker's part.
            pairs: (gradient, variable).
        """
        dense = [tf.reshape(tf.convert_to_tensor(each), v.shape) for each, v in pairs]
        loss, *means = self.mean([loss, *dense])
        self._averaged.update(mean.op for mean in means)
        return loss, [(mean, variable) for mean, (_, variable) in zip(means, pairs)]

    def average_writes(self, writes: Sequence[tf.Operation]) -> None:
        """Lets writes, such as of BatchNorm's statistics, write means over all workers.

        The next `mean` takes their values along. What does not depend on the batch is alike.

        Raises:
            ModelError: a write has no mean, or one depends on another.
        """
        floats = [write for write in writes if is_averaged(write, self._batch)]
        chained = ancestors(write.inputs[-1].op for write in floats).intersection(floats)
        if chained:
            names = ", ".join(sorted(write.name for write in chained))
            raise ModelError(
                f"{names}: another write of the same step depends on it, so that workers cannot "
                "average both at once; compute both values before either is written"
            )
        self._writes = floats

    def of_whole_batch(self, loss: Any) -> Any:
        """A loss whose `Ratio`s are those of the whole batch; their gradients then average, too."""
        if isinstance(loss, dict):
            return {name: self.of_whole_batch(part) for name, part in loss.items()}
        if not isinstance(loss, Ratio):
            return loss
        own = [tf.cast(each, tf.float32) for each in loss]
        sums = tf.unstack(tf.stop_gradient(self.reduce(tf.stack(own))))
        # The values of the sums, and gradients whose mean over all workers is that of the sums.
        return Ratio(
            *(
                total + self.number * (each - tf.stop_gradient(each))
                for total, each in zip(sums, own)
            )
        )

    def numbers(self, found: dict[str, Measured]) -> dict[str, tf.Tensor]:
        """Name -> the number of the whole batch: float32 []; of a streaming metric the mean.

        They travel after the step. Of some examples, of which a worker may have none, sums do.
        """
        for name, each in found.items():
            if isinstance(each, tf.Tensor) and each.shape.rank == 1:
                found = {**found, name: summed(each, tf.size(each))}
        parts = {
            name: [tf.cast(sums, tf.float32) for sums in each]
            if isinstance(each, Ratio)
            else [of_batch(each)]
            for name, each in found.items()
        }
        means = iter(self.mean([part for each in parts.values() for part in each]))
        numbers = {}
        for name, each in parts.items():
            taken = [next(means) for _ in each]
            numbers[name] = of_batch(Ratio(*taken)) if len(each) == 2 else taken[0]
        return numbers
