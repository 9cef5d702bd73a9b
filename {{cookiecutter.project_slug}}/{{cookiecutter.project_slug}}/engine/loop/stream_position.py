"""The position of the input: saved next to each checkpoint, restored with it."""

from __future__ import annotations

import glob
import logging
import os

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ..input.footprint import buffer_size
from ..run.checkpoints import CORRUPT
from ..run.run import Run

BUFFER = "shuffle_buffer"  # the name of its size in a position

logger = logging.getLogger(__name__)


class StreamPositionHook(tf.train.SessionRunHook):
    """Saves an iterator, its shuffle buffer included, so that a restart gets the very next batch.

    In a Saver of its own: the model's would restore it before it is initialized. Let it come
    before the hook that writes checkpoints, and be one of its `positions`.

    Args:
        iterator: an initializable one; the session's start has initialized it.
        directory: where positions go.
        checkpoint_prefix: the model's checkpoints'; a position lives as long as its checkpoint.
        buffer: how many records the shuffle buffer holds, which a position fits alone.
        saves: whether this process does; else another one, whose input is the same.
    """

    def __init__(
        self,
        iterator: tf.data.Iterator,
        directory: str,
        checkpoint_prefix: str,
        buffer: int = 0,
        saves: bool = True,
    ) -> None:
        self._iterator = iterator
        self._prefix = os.path.join(directory, "input")
        self._checkpoint_prefix = checkpoint_prefix
        self._buffer = buffer
        self._saved = saves

    def begin(self) -> None:
        os.makedirs(os.path.dirname(self._prefix), exist_ok=True)
        self._global_step = tf.train.get_or_create_global_step()
        saveable = tf.data.experimental.make_saveable_from_iterator(self._iterator)
        local = {"collections": [tf.GraphKeys.LOCAL_VARIABLES], "trainable": False}
        buffer = tf.Variable(self._buffer, dtype=tf.int64, name=BUFFER, **local)
        self._saver = tf.train.Saver([saveable, buffer], max_to_keep=None)
        self._read = tf.nest.flatten(self._iterator.get_next())[0].op

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        step = int(session.run(self._global_step))
        if os.path.exists(f"{self._prefix}-{step}.index"):
            try:
                self._check_buffer(f"{self._prefix}-{step}")
                self._saver.restore(session, f"{self._prefix}-{step}")
                return
            except CORRUPT as error:
                logger.warning(
                    "%s-%d cannot be read, as after a change of TensorFlow or of the data's code: "
                    "%s",
                    *(self._prefix, step, _first_line(error)[:200]),
                )
                session.run(self._iterator.initializer)
        if step:
            logger.warning("the input resumes with a new epoch, not with the next batch")
        try:
            self.before_save(session, step)
        except tf.errors.OpError as error:
            self._saved = False
            logger.warning(
                "the input's position cannot be saved (%s); a run that resumes begins a new epoch, "
                "with all the records in another order",
                _first_line(error),
            )

    def _check_buffer(self, path: str) -> None:
        """Raises ValueError for a position of a buffer of another size, which would break it."""
        found = int(tf.train.load_checkpoint(path).get_tensor(BUFFER))
        if found != self._buffer:
            raise ValueError(f"its shuffle buffer held {found} records, now {self._buffer}")

    def rewind(self, session: tf.Session, step: int) -> None:
        """Goes to the batch that follows a step: the newest position before it, then reads on.

        Raises:
            FileNotFoundError: no position was saved.
        """
        steps = [saved for saved in self._saved_steps() if saved <= step]
        if not steps:
            raise FileNotFoundError("no position of the input was saved")
        session.run(self._iterator.initializer)  # after an error nothing can be restored
        self._saver.restore(session, f"{self._prefix}-{max(steps)}")
        for _ in range(step - max(steps)):
            session.run(self._read)

    def before_save(self, session: tf.Session, step: int) -> None:
        if self._saved:
            path = f"{self._prefix}-{step}"
            self._saver.save(session, path, write_meta_graph=False, write_state=False)

    def after_save(self, session: tf.Session, step: int) -> None:
        for saved in self._saved_steps():
            if not os.path.exists(f"{self._checkpoint_prefix}-{saved}.index"):
                for path in glob.glob(f"{glob.escape(self._prefix)}-{saved}.*"):
                    os.remove(path)

    def _saved_steps(self) -> list[int]:
        paths = glob.glob(f"{glob.escape(self._prefix)}-*.index")
        return [int(path[len(self._prefix) + 1 : -len(".index")]) for path in paths]


def training_iterator(dataset: Dataset, limit: int = 0) -> tf.data.Iterator:
    """The training batches that follow the global step.

    Args:
        dataset: gives them.
        limit: the first n batches, over and over; 0 is all.
    """
    # The global step counts the batches of all workers.
    step = tf.train.get_or_create_global_step().read_value()
    workers = dataset.shard[1]
    step = step // workers if workers > 1 else step
    if limit:
        batches = dataset.batches(dataset.training_split, True).take(limit).cache().repeat()
        batches = batches.skip(step % limit)
    else:
        batches = dataset.batches(dataset.training_split, True, step)
    iterator = tf.data.make_initializable_iterator(batches)
    # Run after a checkpoint is restored (a Scaffold's init_fn is not), so the order is kept.
    tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    return iterator


def position_hooks(
    iterator: tf.data.Iterator, dataset: Dataset, run: Run, limit: int = 0
) -> list[StreamPositionHook]:
    """What saves where the iterator is; nothing where the step alone says which batch is next."""
    own, split = dataset.overrides("batches"), dataset.training_split
    in_memory = not own and dataset.in_memory(split)
    if not (dataset.shard[1] > 1 or limit or in_memory):
        hook = StreamPositionHook(
            iterator=iterator,
            directory=run.input,
            checkpoint_prefix=run.checkpoint_prefix,
            buffer=0 if own else buffer_size(dataset, split),
            saves=not run.shared,
        )
        return [hook]
    if os.path.exists(run.input):
        logger.warning(
            "this run streamed its records before, and now holds them in memory: the input "
            "resumes with other batches; data.memory_fraction=0 streams them again"
        )
    return []


def _first_line(error: Exception) -> str:
    text = getattr(error, "message", str(error)).strip()
    return text.partition("\n")[0] or type(error).__name__
