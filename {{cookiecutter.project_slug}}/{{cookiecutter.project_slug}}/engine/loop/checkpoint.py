"""Saves all variables on exact multiples of the global step, and at the end."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Callable, Collection, Iterator, Sequence

import tensorflow.compat.v1 as tf

from ...train.hooks.every import EveryHook
from ..errors import NotFiniteError, UserError
from .stream_position import StreamPositionHook

logger = logging.getLogger(__name__)


class CheckpointHook(EveryHook):
    """Writes checkpoints; also when training ends, in whatever way, so that no step is lost.

    Args:
        prefix: path of the checkpoints, in a directory that exists; the step is appended.
        saver: writes them; default the Scaffold's.
        every_n_steps, every_n_secs, always: see `EveryHook`.
        positions: saved with each checkpoint.

    Attributes:
        check: called with the session before it saves, but not after an error; where it raises a
            UserError, nothing is saved.
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
        self.check: Callable[[tf.Session], None] = lambda session: None
        self._asked = self._refused = False

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
        try:
            self.check(session)
        except UserError:
            self._refused = True
            raise
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
            self.save_after(failed_step=isinstance(error, tf.errors.OpError))
            raise
        # Not in `end`, before which one of another hook may raise.
        self.save_last(int(self._session.run(self._global_step)))

    def save_after(self, failed_step: bool, reason: str = "an error ends training") -> None:
        """Writes a checkpoint of the last complete step, if that is possible.

        Args:
            failed_step: whether one has failed, or waits, that may have read its batch, which then
                is the next one again.
            reason: why, for the log.
        """
        if self._refused:
            return
        self.check = lambda session: None
        try:
            step = int(self._session.run(self._global_step))
            for position in self._positions if failed_step else ():
                with contextlib.suppress(FileNotFoundError):  # it cannot be saved
                    position.rewind(self._session, step)
            self.save_last(step)
            if step:  # else nothing of the run is kept
                logger.warning("%s; step %d is saved", reason, step)
        except (OSError, RuntimeError, tf.errors.OpError) as failed:
            cause = str(failed).partition("\n")[0]
            logger.warning("what follows the last checkpoint cannot be saved: %s", cause)

    def save_last(self, step: int) -> None:
        """Writes a checkpoint of a step unless it has one."""
        if step > self.acted:
            self.act(self._session, step, None)
            self.acted = step
