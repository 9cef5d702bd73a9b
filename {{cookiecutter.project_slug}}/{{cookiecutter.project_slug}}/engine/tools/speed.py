"""How many examples per second the input, the model, and both together handle."""

from __future__ import annotations

import statistics
import time
from typing import Any

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.hooks.every import EveryHook
from ...train.trainer import SessionTrainer
from ..errors import ConfigError
from ..input.bad_records import locate_bad_record
from ..loop.inner_loop import InnerLoop
from ..loop.stream_position import training_iterator
from ..run.devices import adapt

INTERVALS = 5  # of a measurement; the first warms up, the median of the others counts


def measure(
    trainer: SessionTrainer, dataset: Dataset, model: Model | None, secs: float, constant: bool
) -> dict[str, float]:
    """Runs the trainer's own step in its own loop and session, for a while; writes nothing.

    Args:
        trainer: gives the seed, the length of the inner loop, devices and threads.
        dataset: prepared; its training split is read.
        model: not yet built; None only reads the batches.
        secs: how long to measure.
        constant: whether to train on the first batch over and over, so that nothing is read.

    Returns:
        examples_per_sec, and first_batch_secs: from the session's start to the first step's end.

    Raises:
        ConfigError: the trainer has a loop of its own, such as Keras'.
    """
    if type(trainer)._build is not SessionTrainer._build:
        raise ConfigError(f"found {type(trainer).__name__}; expected trainer=session to measure")
    with tf.Graph().as_default(), locate_bad_record(dataset):
        tf.set_random_seed(trainer.seed)
        iterator = training_iterator(dataset, limit=1 if constant else 0)

        def step() -> tf.Operation:
            batch = iterator.get_next()
            if model:
                return model.build_step(*batch)[0]
            with tf.control_dependencies(tf.nest.flatten(batch)):
                return tf.train.get_global_step().assign_add(1).op

        train_op = step()
        adapt(trainer.session_config, dataset, model)
        # Merged now, since what the loop's step adds cannot be fetched.
        scaffold = tf.train.Scaffold(summary_op=tf.summary.merge_all())
        clock = _Clock(every_n_secs=secs / INTERVALS, always=(1,))
        loop = InnerLoop(step, trainer.steps_per_loop, hooks=[clock])
        with tf.train.MonitoredTrainingSession(
            hooks=[clock], scaffold=scaffold, config=trainer.session_config
        ) as session:
            marks = clock.marks = [(0, time.perf_counter())]
            while len(marks) < INTERVALS + 2:
                loop.advance(session)
                session.run(train_op)
    pairs = zip(marks[2:], marks[3:])
    rates = [(step - before) / (now - then) for (before, then), (step, now) in pairs]
    return {
        "examples_per_sec": dataset.batch_size * statistics.median(rates),
        "first_batch_secs": marks[1][1] - marks[0][1],
    }


class _Clock(EveryHook):
    """Records how many steps are done, and when."""

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        self.marks.append((step, time.perf_counter()))
