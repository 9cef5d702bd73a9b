"""Who computes a training step: this process alone, or several in step."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Iterator, Sequence

import tensorflow.compat.v1 as tf

from .gradients import Pairs
from .measures import Measured, of_batch

Nest = Any

_WORKERS: Any = weakref.WeakKeyDictionary()  # graph -> who computes its steps


class Alone:
    """This process computes each step by itself: what it has is of the whole batch.

    A subclass averages it over several processes, each of which has a part.

    Attributes:
        index, number: of this process, and of all.
        asked: bool [], whether one of several asked to end the loop in the graph; see `begin_step`.
    """

    index, number = 0, 1
    asked: tf.Tensor | None = None

    def begin_step(self, ask: tf.Tensor | None = None) -> None:
        """Call it before a step is built.

        Args:
            ask: bool [], whether this process asks to end the loop that the step is in.
        """

    @contextlib.contextmanager
    def share(self, batch: Nest, size: int, maker: str = "the dataset") -> Iterator[Nest]:
        """This process's part of a batch of `size` examples; what is built inside is for it."""
        yield batch

    def of_whole_batch(self, loss: Any) -> Any:
        """A loss whose `Ratio`s are those of the whole batch; their gradients then average, too."""
        return loss

    def total(self, value: tf.Tensor) -> tf.Tensor:
        """The sum of a value over all processes, through which gradients flow."""
        return value

    def average_writes(self, writes: Sequence[tf.Operation]) -> None:
        """Lets writes, such as of BatchNorm's statistics, write means over all processes."""

    def averaged(self, loss: tf.Tensor, pairs: Pairs) -> tuple[tf.Tensor, Pairs]:
        """The loss, float [], and the (gradient, variable) pairs of the whole batch."""
        return loss, pairs

    def known_last(self, check: tf.Tensor) -> tf.Tensor:
        """The same check, after all that processes tell each other in its step."""
        return check

    def end_step(self, train_op: tf.Operation) -> None:
        """Call it when a step is built."""

    def numbers(self, found: dict[str, Measured]) -> dict[str, tf.Tensor]:
        """Name -> the number of the whole batch: float32 []."""
        return {name: of_batch(each) for name, each in found.items()}


def workers_of(graph: tf.Graph | None = None) -> Alone:
    """Those that `set_workers` gave a graph, default the current one; else this process alone."""
    return _WORKERS.get(graph or tf.get_default_graph()) or Alone()


def set_workers(workers: Alone) -> None:
    """Lets the current graph, which is still empty, be trained by several processes in step."""
    _WORKERS[tf.get_default_graph()] = workers
