"""Saves all variables on exact multiples of the global step, and at the end."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Collection, Iterator, Sequence

import tensorflow.compat.v1 as tf

from ...train.hooks.every import EveryHook
from ..errors import NotFiniteError
from .stream_position import StreamPositionHook

logger = logging.getLogger(__name__)


class CheckpointHook(EveryHook):
    """Writes checkpoints; also when training ends, in whatever way, so that no step is lost.

    Args:
        prefix: path of the checkpoints, in a directory that exists; the step is appended.
        saver: writes them; default the Scaffold's.
        every_n_steps, every_n_secs, always: see `EveryHook`.
        positions: saved with each checkpoint.
    """

    def __init__(
        self,
        prefix: str,
        saver: tf.train.Saver | None = None,
        every_n_steps: int = 0,
        every_n_secs: float = 0.0,
        positions: Sequence[StreamPositionHook] = (),
        always: Collection[int] = (),
    ) -> None:
        super().__init__(every_n_steps, every_n_secs, always)
        self.prefix = prefix
        self._saver = saver
        self._positions = positions
        self._asked = False

    def ask(self) -> None:
        """Saves after the next step that is not part of a loop in the graph, as before an end."""
        self._asked = True
        logger.warning("SIGUSR1: saving after this step")

    def next_step(self, secs_per_step: float) -> float:
        return self.step + 1 if self._asked else super().next_step(secs_per_step)

    def is_due(self, step: int) -> bool:
        return self._asked or super().is_due(step)

    def begin(self) -> None:
        super().begin()
        weights = [v for v in tf.trainable_variables() if v.dtype.is_floating]
        self._finite = {v.op.name: tf.reduce_all(tf.is_finite(v.read_value())) for v in weights}

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        self._session = session

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        self._asked = False
        bad = [name for name, finite in session.run(self._finite).items() if not finite]
        if bad:
            raise NotFiniteError(
                f"{', '.join(bad)}: found NaN or an infinity after step {step}, though no gradient "
                "had any; this step is not saved; look at what the optimizer divides by, such as "
                "model.optimizer.epsilon"
            )
        for position in self._positions:
            position.before_save(session, step)
        saver = self._saver or tf.train.Scaffold.get_or_default(
            "saver", tf.GraphKeys.SAVERS, tf.train.Saver
        )
        # No meta graph: the code is the model; a graph would not load on the other TensorFlow.
        saver.save(session, self.prefix, global_step=step, write_meta_graph=False)
        for position in self._positions:
            position.after_save(session, step)

    @contextlib.contextmanager
    def saved(self) -> Iterator[None]:
        """Inside of the `with`, all ways out lead past a checkpoint, except that of a NaN.

        A step writes all or nothing, so that after an error, too, the last complete one is there.
        """
        try:
            yield
        except NotFiniteError:
            raise
        except BaseException as error:
            try:
                step = int(self._session.run(self._global_step))
                # A step that failed may have read its batch, which is the next one again.
                for position in self._positions if isinstance(error, tf.errors.OpError) else ():
                    with contextlib.suppress(FileNotFoundError):  # it cannot be saved
                        position.rewind(self._session, step)
                self.save_last(step)
                if step:  # else nothing of the run is kept
                    logger.warning("an error ends training; step %d is saved", step)
            except (OSError, RuntimeError, tf.errors.OpError) as failed:
                reason = str(failed).partition("\n")[0]
                logger.warning("what follows the last checkpoint cannot be saved: %s", reason)
            raise
        # Not in `end`, before which one of another hook may raise.
        self.save_last(int(self._session.run(self._global_step)))

    def save_last(self, step: int) -> None:
        """Writes a checkpoint of a step unless it has one."""
        if step > self.acted:
            self.act(self._session, step, None)
            self.acted = step
