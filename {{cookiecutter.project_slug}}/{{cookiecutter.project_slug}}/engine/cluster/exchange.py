"""What workers in step tell each other between steps: a few bytes, or many."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, ContextManager

import numpy as np
import tensorflow.compat.v1 as tf

from .collective import Workers

GROUP = 2  # TensorFlow's number for the CPUs of all workers
NUMBER = 1  # and for the first of these collectives
WORDS = 64  # int64 of each worker in the first round
MORE_WORDS = 8192  # in those that follow


class Exchange:
    """Gathers bytes from all workers: each gets those of all, in their order.

    Make it in the graph before it is finalized. It is a sum of rows that are zero but for each
    worker's own, so that one kind of collective is enough.

    Args:
        workers: of the graph.
        waiting: entered while this process waits for the others.
    """

    def __init__(
        self, workers: Workers, waiting: Callable[[], ContextManager[Any]] = contextlib.nullcontext
    ) -> None:
        self.index, self.number = workers.index, workers.number
        self._waiting = waiting
        with tf.device("/device:CPU:0"), tf.name_scope("exchange"):
            self._first = self._build(workers, WORDS, NUMBER)
            self._more = self._build(workers, MORE_WORDS, NUMBER + 1)

    def _build(self, workers: Workers, words: int, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """What a worker gives, int64 [words], and what it gets, int64 [workers, words]."""
        workers.begin_step()
        own = tf.placeholder(tf.int64, [words])
        rows = tf.pad(own[tf.newaxis], [[self.index, self.number - 1 - self.index], [0, 0]])
        return own, workers.reduce(rows, group=GROUP, number=number)

    def gather(self, session: tf.Session, own: bytes) -> list[bytes]:
        """What each worker gave; all must call it, in the same order."""
        first, more = 8 * WORDS, 8 * MORE_WORDS
        # The first word says how many bytes follow: then all know the number of rounds.
        text = np.int64(len(own)).tobytes() + own
        found = self._round(session, self._first, text[:first])
        lengths = [8 + int(np.frombuffer(each[:8], np.int64)[0]) for each in found]
        for start in range(first, max(lengths), more):
            following = self._round(session, self._more, text[start : start + more])
            found = [before + after for before, after in zip(found, following)]
        return [each[8:length] for each, length in zip(found, lengths)]

    def _round(
        self, session: tf.Session, tensors: tuple[tf.Tensor, tf.Tensor], own: bytes
    ) -> list[bytes]:
        given, rows = tensors
        words = np.frombuffer(own.ljust(8 * given.shape.num_elements(), b"\0"), np.int64)
        with self._waiting():
            return [row.tobytes() for row in session.run(rows, {given: words})]
