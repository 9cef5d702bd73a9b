"""The evaluator of a cluster: it follows the checkpoints that the chief writes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import tensorflow.compat.v1 as tf

from ..data.damage import damage_named
from ..data.dataset import Dataset
from ..errors import RunError
from ..model.model import Model
from .checkpoints import checkpoints_in, step_of
from .evaluation import Evaluation
from .hooks import BestHook, EvaluateHook, SignalHook
from .roles import Role
from .run import Run, describe_start
from .servers import POLL_SECS

if TYPE_CHECKING:
    from .session import SessionTrainer

logger = logging.getLogger(__name__)


def follow(
    trainer: SessionTrainer,
    role: Role,
    signals: SignalHook,
    model: Model,
    dataset: Dataset,
    run: Run,
    last_step: int,
) -> dict[str, float]:
    """Evaluates each checkpoint that is the newest, also the last one, and keeps the best.

    Args:
        trainer: says what is best, and with which devices.
        role: the evaluator's.
        signals: end it early.
        model, dataset: those of the run.
        run: the evaluator's own; its checkpoints are the chief's.
        last_step: the step after which no more checkpoints come.

    Returns:
        The means of the last evaluation.

    Raises:
        RunError: the chief stays away.
    """
    chief, wait_secs = role.cluster.trainers[0], trainer.cluster_wait_secs
    with run.opened(), tf.Graph().as_default(), damage_named(dataset):
        batches = dataset.batches(dataset.evaluation_split)
        # For its variables: best/ keeps those of the optimiser, too.
        model.training_step(*tf.data.make_initializable_iterator(batches).get_next())
        evaluation = Evaluation(model, dataset, dataset.evaluation_split, trainer.only_batches)
        saver = tf.train.Saver()
        evaluate = EvaluateHook(evaluation, run.evaluations, run.metrics)
        best = BestHook(evaluate, run.best, saver, **trainer.best)
        evaluate.begin()
        best.begin()
        run.write_start(describe_start(trainer.seed, []), "")
        with tf.Session(config=trainer.session_config) as session:
            session.run([tf.local_variables_initializer(), tf.tables_initializer()])
            signals.after_create_session(session, None)
            known, seen = "", time.monotonic()
            while not signals.received:
                there = chief.answers()  # before the look, which then finds the chief's last one
                seen = time.monotonic() if there else seen
                newest = (checkpoints_in(run.checkpoints) or [""])[-1]
                if newest != known and _evaluate(session, saver, newest, evaluate, best):
                    known = newest
                elif step_of(known) >= last_step and not there:
                    break
                elif time.monotonic() - seen > wait_secs:
                    raise RunError(f"{chief} stayed away for {wait_secs:g} s; start it")
                else:
                    time.sleep(POLL_SECS)
            signals.close()
        evaluate.close()
    return evaluate.results


def _evaluate(
    session: tf.Session,
    saver: tf.train.Saver,
    checkpoint: str,
    evaluate: EvaluateHook,
    best: BestHook,
) -> bool:
    """Whether it could be read: the chief keeps only some, and may still be writing."""
    try:
        saver.restore(session, checkpoint)
    except (tf.errors.OpError, ValueError) as error:
        logger.warning("%s cannot be read yet: %s", checkpoint, str(error).partition("\n")[0])
        return False
    step = step_of(checkpoint)
    if not evaluate.writer:
        evaluate.after_create_session(session, None)
        best.after_create_session(session, None)
    evaluate.act(session, step, {})
    context = tf.train.SessionRunContext(None, session)
    best.evaluated(context, step, evaluate.results[best.metric])
    return True
