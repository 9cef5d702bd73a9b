"""The evaluator of a cluster: it follows the checkpoints that the chief writes."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ..errors import RunError
from ..input.bad_records import locate_bad_record
from ..loop.evaluation import Evaluation
from ..loop.lifecycle import Hooks
from ..loop.settings import TrainerSettings
from ..loop.signals import SignalHook
from ..run.checkpoints import checkpoints_in, step_of
from ..run.metrics import is_evaluated, last_metrics
from ..run.run import Run
from .cluster import POLL_SECS
from .roles import Role

logger = logging.getLogger(__name__)


def follow(
    settings: TrainerSettings,
    role: Role,
    signals: SignalHook,
    model: Model,
    dataset: Dataset,
    run: Run,
    hooks: Callable[..., Hooks],
) -> dict[str, float]:
    """Evaluates each checkpoint that is the newest, also the last one, and keeps the best.

    Args:
        settings: say what is best, and with which devices.
        role: the evaluator's.
        signals: end it early.
        model, dataset: those of the run.
        run: the evaluator's own; its checkpoints are the chief's.
        hooks: makes the hooks that evaluate and keep the best.

    Returns:
        The means of the last evaluation.

    Raises:
        RunError: the chief stays away, or its newest checkpoint cannot be read.
    """
    chief, wait_secs = role.cluster.trainers[0], role.wait_secs
    run.describe(settings.seed, dataset, config="")
    with run.opened(), tf.Graph().as_default(), locate_bad_record(dataset):
        batches = dataset.batches(dataset.evaluation_split)
        # For its variables: best/ keeps those of the optimizer, too.
        model.build_step(*tf.data.make_initializable_iterator(batches).get_next())
        evaluation = Evaluation(model, dataset, dataset.evaluation_split, settings.limit_batches)
        saver = tf.train.Saver()
        evaluate, best = hooks(evaluation, saver, run, role.last_step, None)[:2]
        evaluate.begin()
        best.begin()
        run.write_start()
        with tf.Session(config=settings.session_config) as session:
            session.run([tf.local_variables_initializer(), tf.tables_initializer()])
            signals.after_create_session(session, None)
            known, found = (checkpoints_in(run.checkpoints) or [""])[-1], ""
            if not is_evaluated(run.metrics, evaluation.split, step_of(known)):
                known = ""
            seen = came = time.monotonic()
            while not signals.received:
                now = time.monotonic()
                there = chief.answers()  # before the look, which then finds the chief's last one
                seen = now if there else seen
                newest = (checkpoints_in(run.checkpoints) or [""])[-1]
                found, came = (found, came) if newest == found else (newest, now)
                if newest != known:
                    why = _evaluate(session, saver, newest, evaluate, best)
                    if not why:
                        known, seen = newest, time.monotonic()  # it took its time
                        continue
                    if now == came:
                        logger.warning("%s cannot be read yet: %s", newest, why)
                    if now - came > wait_secs:
                        raise RunError(f"{newest}: unreadable for {wait_secs:g} s: {why}")
                elif not there and role.is_over():
                    break
                if now - seen > wait_secs:
                    raise RunError(f"{chief} stayed away for {wait_secs:g} s; start it")
                time.sleep(POLL_SECS)
            signals.close()
        evaluate.close()
    return last_metrics(run.metrics, evaluation.split)


def _evaluate(
    session: tf.Session,
    saver: tf.train.Saver,
    checkpoint: str,
    evaluate: Any,
    best: Any,
) -> str:
    """Why it cannot be read, if so: the chief keeps only some, and may still be writing."""
    try:
        saver.restore(session, checkpoint)
    except (tf.errors.OpError, ValueError) as error:
        return str(error).partition("\n")[0]
    step = step_of(checkpoint)
    if not evaluate.writer:
        evaluate.after_create_session(session, None)
        best.after_create_session(session, None)
    if evaluate.evaluated != step:  # else it was caught up on just now
        evaluate.act(session, step, {})
    if evaluate.evaluated == step:  # else a signal came
        context = tf.train.SessionRunContext(None, session)
        best.evaluated(context, step, evaluate.results[best.metric])
    return ""
