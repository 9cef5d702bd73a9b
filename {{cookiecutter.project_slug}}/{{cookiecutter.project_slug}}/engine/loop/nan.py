"""Reports a number that is not finite, with what is needed to reproduce it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from typing import Iterator, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ...train.hooks.every import EveryHook
from ..errors import DataError, NotFiniteError
from ..graph.checks import ancestors
from ..input.bad_records import find_not_finite
from .graph import TrainingGraph
from .stream_position import StreamPositionHook

logger = logging.getLogger(__name__)


class NanHook(EveryHook):
    """Saves the batch of a step in which `tf.debugging.check_numerics` failed, and says where.

        hook = NanHook("nan", graph)
        with tf.train.MonitoredTrainingSession(hooks=[hook]) as session, hook.reported():
            while not session.should_stop():
                session.run(train_op)

    Such a step must not have written anything (see `optimize.guard`): then it can be run again,
    wherever it ran.

    Args:
        directory: where `batch-<step>.npz` goes: arr_0, arr_1, ... in the order of `tf.nest`; the
            step is the last that was done.
        graph: its `step_op` depends on the checks.
        position: saves positions of the iterator; without, initializing the iterator brings the
            batch that follows the global step.
    """

    def __init__(
        self, directory: str, graph: TrainingGraph, position: Sequence[StreamPositionHook] = ()
    ) -> None:
        super().__init__()
        self.directory = directory
        self._step_op = graph.step_op
        self._iterator = graph.iterator
        self._batch = tf.nest.flatten(graph.batch)
        self._dataset = graph.dataset
        self._position = position
        self._alone = graph.dataset.shard[1] == 1  # else other workers move the weights meanwhile

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        self._session = session

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Inside of the `with`, a check that fails becomes a NotFiniteError of one line."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            found = re.search(r"([^:\n]+?) *: Tensor had", error.message)
            if not found:
                raise
            step = int(self._session.run(self._global_step))
            try:
                seen = self._reproduce(step) if self._alone else "other workers have moved on since"
            except (tf.errors.OpError, OSError) as failed:
                with contextlib.suppress(tf.errors.OpError, OSError):
                    self._look(step)
                seen = f"its batch cannot be read again: {str(failed).splitlines()[0]}"
            raise NotFiniteError(
                f"{found.group(1).strip()} after step {step}; nothing was written since, and no "
                f"checkpoint holds it; {seen}; start a new run with a lower model.learning_rate, "
                "model.loss_scale or another model.clip, or resume with trainer.allow_changes=[...]"
            ) from None

    def _reproduce(self, step: int) -> str:
        session = self._session
        session.run(self._iterator.initializer)
        for hook in self._position:
            hook.rewind(session, step)
        batch = session.run(self._batch)
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, f"batch-{step}.npz")
        np.savez(path, *batch)
        tensors = self._checked()
        values = session.run(tensors, dict(zip(self._batch, batch)))
        read = {t for t, a in zip(self._batch, batch) if a.dtype.kind == "f" and not _finite(a)}
        bad = [t for t, value in zip(tensors, values) if not _finite(value) and t not in read]
        # A constant may well be: -inf masks. What made it of finite numbers comes before others,
        # also before data, which a model may mask.
        made = [t.op for t in bad if t.op.inputs and not set(t.op.inputs) & {*bad, *read}]
        if read and not made:
            self._look(step)
        if read and not made:
            seen = f"{path}: a batch that is not finite, though the records are; see `augment`"
            raise NotFiniteError(f"{seen}; nothing was written after step {step}")
        first = (made or [t.op for t in bad] or [None])[0]
        first = f"{first.name} ({first.type})" if first else "none, when it is computed again"
        return f"its batch is {path}; the first result that is not finite: {first}"

    def _look(self, step: int) -> None:
        """Raises NotFiniteError if a record is what is not finite."""
        logger.warning("looking for NaN and infinities in the training data")
        try:
            find_not_finite(self._dataset, self._dataset.training_split)
        except DataError as error:
            raise NotFiniteError(f"{error}; nothing was written after step {step}") from None

    def _checked(self) -> list[tf.Tensor]:
        """What the checks depend on, in the order it was built."""
        checks = [op for op in ancestors([self._step_op]) if op.type == "CheckNumerics"]
        needed = ancestors(check.inputs[0].op for check in checks)
        operations = [op for op in self._step_op.graph.get_operations() if op in needed]
        # Not what is inside of loops and conditions, nor what needs the other workers in step.
        others = _of_others(operations)
        fetchable = [op for op in operations if op.graph.is_fetchable(op) and op not in others]
        return [out for op in fetchable for out in op.outputs if out.dtype.is_floating]


def _of_others(operations: Sequence[tf.Operation]) -> set[tf.Operation]:
    """The collectives among some operations, and what needs one."""
    found = {operation for operation in operations if operation.type == "CollectiveReduce"}
    before = 0
    while before < len(found):  # again, since control inputs may be younger
        before = len(found)
        for operation in operations:
            needed = {tensor.op for tensor in operation.inputs} | set(operation.control_inputs)
            if not found.isdisjoint(needed):
                found.add(operation)
    return found


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
