"""Around the loop: what is checked first, where a run resumes, the session, the end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from typing import Iterator, Sequence

import tensorflow.compat.v1 as tf
from omegaconf import DictConfig, OmegaConf

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.hooks.every import ACTING_SECS, EveryHook
from ..errors import ConfigError, ModelError, RunError
from ..input.bad_records import locate_bad_record
from ..input.source import forget
from ..run.checkpoints import (
    newest_checkpoint,
    remove_corrupt_state,
    remove_unfinished,
    restore_next,
)
from ..run.deterministic import missing_kernel_named
from ..run.devices import adapt, set_up_devices
from ..run.metrics import drop_metrics_after, is_evaluated, stopped_early
from ..run.run import Run
from ..run.trackers import check_tracker
from ..run.unused_gpu import warn_of_unused_gpu
from .checkpoint import CheckpointHook
from .graph import TrainingGraph
from .nan import NanHook
from .overview import log_plan, log_variables
from .settings import TrainerSettings
from .stop import SignalHook
from .summaries import drop_events_after
from .track import TrackHook

logger = logging.getLogger(__name__)

Hooks = Sequence[tf.train.SessionRunHook]


def prepare(settings: TrainerSettings, model: Model, dataset: Dataset) -> int:
    """Checks the model, prepares the data and returns the last step."""
    for found, kind in (model, Model), (dataset, Dataset):
        if not isinstance(found, kind):
            raise ModelError(f"fit: found {found!r:.80}, expected a {kind.__name__} that was made")
    if model.built:
        raise ModelError(f"{model.name}: is in another graph already; create a new one to fit")
    check_tracker(settings.tracker)
    if not settings.in_cluster:
        check_alone()
    set_up_devices(settings.session_config, settings.deterministic)
    forget(dataset)
    dataset.prepare()
    last_step = last_step_of(settings, dataset)
    check_shared_out(settings, dataset)
    with locate_bad_record(dataset):
        adapt(settings.session_config, dataset, model)
    model.optimization.check_updates(last_step)
    return last_step


def check_shared_out(settings: TrainerSettings, dataset: Dataset) -> None:
    """Takes as many GPUs as divide a batch, unless `trainer.replicas` says how many.

    Raises:
        ConfigError: they do not divide it.
    """
    settings.shared_by = settings.replicas  # it may have trained on other batches before
    size, devices = dataset.batch_size, len(settings.replica_devices())
    if size % devices == 0 or dataset.overrides("batches"):  # whose sizes may vary
        return
    dividing = max(number for number in range(1, devices) if size % number == 0)
    below, above = size // devices * devices, -(-size // devices) * devices
    sizes = f"{below} (or {above})" if below else f"{above}"
    if settings.replicas:
        advice = f"set it to {sizes}, or " if below else ""
        raise ConfigError(
            f"data.batch_size={size}: {devices} replicas (trainer.replicas) cannot share it "
            f"equally; {advice}set trainer.replicas={dividing}"
        )
    settings.shared_by = dividing
    logger.warning(
        "%d GPUs cannot share data.batch_size=%d equally: %d of them train%s; set it to %s to use "
        "all",
        devices,
        size,
        dividing,
        "s" * (dividing == 1),
        sizes,
    )


def check_alone() -> None:
    """Raises ConfigError where the environment makes this process part of a cluster."""
    try:
        jobs = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster") or {}
        processes = sum(len(jobs[job]) for job in jobs if job != "evaluator")
    except (AttributeError, TypeError, ValueError):
        processes = 0
    if processes > 1 or "PS_TASKS" in os.environ:
        raise ConfigError(
            "TF_CONFIG or PS_TASKS makes this process part of a cluster, which this trainer does "
            "not know; take trainer=cluster (of a project with many_machines=yes), or unset it"
        )


def last_step_of(settings: TrainerSettings, dataset: Dataset) -> int:
    """The global step to end at; with `last_epoch` the dataset must be prepared."""
    if not settings.last_epoch:
        return settings.last_step
    with locate_bad_record(dataset):
        return settings.last_epoch * dataset.steps_per_epoch(dataset.training_split)


def set_last_step(config: DictConfig, settings: TrainerSettings, dataset: Dataset) -> None:
    """Sets trainer.last_step by its last_epoch where the model follows it, as a schedule does."""
    follows = "${trainer.last_step}" in str(OmegaConf.to_container(config.model))
    if settings.last_epoch and follows:
        set_up_devices(settings.session_config, settings.deterministic)
        dataset.prepare()
        config.trainer.last_step = last_step_of(settings, dataset)


def finished(settings: TrainerSettings, run: Run, dataset: Dataset, last_step: int) -> bool:
    """Whether there is nothing left to do in a run, and logs why."""
    if not run.directory:
        return False
    run = run.kept
    _, step = newest_checkpoint(run.checkpoints, read=not run.shared)
    split = dataset.evaluation_split
    owed = settings.alone and not is_evaluated(run.metrics, split, step)
    if step > last_step or (step == last_step and not owed):
        reason = f"{step} steps are done"
    else:
        reason = stopped_early(
            path=run.metrics,
            split=split,
            step=step,
            metric=settings.metric,
            mode=settings.mode or "min",
            patience=settings.patience,
            min_delta=settings.min_delta,
        )
    if reason:
        logger.info("%s is finished: %s", run.directory, reason)
    return bool(reason)


def resume(settings: TrainerSettings, run: Run, graph: TrainingGraph, last_step: int) -> int:
    """Chooses the checkpoint to start from and drops what was logged after it; returns its step.

    A killed run logged steps that it now takes again. The log begins with a GPU that is not used,
    the model's variables, and what comes.
    """
    warn_of_unused_gpu(settings.gpus)
    log_variables(graph.model)
    checkpoint, step = newest_checkpoint(run.checkpoints, read=not run.kept.shared)
    log_plan(settings, graph.dataset, step, last_step)
    if not run.shared:
        remove_unfinished(run.checkpoint_prefix, os.path.join(run.input, "input"))
        remove_corrupt_state(run.checkpoints)
    if checkpoint and not run.shared:
        restore_next(run.checkpoints, checkpoint, tf.global_variables())
    drop_metrics_after(run.metrics, step)
    drop_events_after(step, run.directory, run.evaluations)
    return step


def training_session(
    config: tf.ConfigProto, scaffold: tf.train.Scaffold, run: Run, hooks: Hooks
) -> tf.train.MonitoredSession:
    """A MonitoredTrainingSession without the hooks of TensorFlow: ours act on exact multiples."""
    if not run.shared:
        scaffold.saver.resumes_from = tf.train.latest_checkpoint(run.checkpoints)
    return tf.train.MonitoredTrainingSession(
        checkpoint_dir=run.checkpoints,
        scaffold=scaffold,
        hooks=hooks,
        config=config,
        save_checkpoint_secs=None,
        save_checkpoint_steps=None,
        save_summaries_secs=None,
        save_summaries_steps=None,
        log_step_count_steps=None,
    )


@contextlib.contextmanager
def closing(hooks: Hooks) -> Iterator[None]:
    """Closes the hooks at the end, also after an error, and logs what the time went to."""
    start, before = time.perf_counter(), dict(ACTING_SECS)
    try:
        with contextlib.ExitStack() as tracked:
            for hook in hooks:
                if isinstance(hook, TrackHook):
                    tracked.enter_context(hook.tracked())
            with missing_kernel_named():
                yield
    finally:
        for hook in hooks:
            if isinstance(hook, (EveryHook, SignalHook)):
                hook.close()
        secs = time.perf_counter() - start
        acting = {name: spent - before.get(name, 0.0) for name, spent in ACTING_SECS.items()}
        parts = [f", {name} {spent:.1f} s" for name, spent in acting.items() if spent > 0.05]
        rest = secs - sum(acting.values())
        logger.info("%.1f s: %.1f s of start and steps%s", secs, rest, "".join(parts))


@contextlib.contextmanager
def saved(hooks: Hooks) -> Iterator[None]:
    """Inside of the `with`, a NaN is reported, and all other ways out lead past a checkpoint."""
    with contextlib.ExitStack() as stack:
        for hook in reversed(hooks):  # the NaN comes first
            if isinstance(hook, CheckpointHook):
                stack.enter_context(hook.saved())
            elif isinstance(hook, NanHook):
                stack.enter_context(hook.reported())
        yield


def check_batches_left(left: bool, hooks: Hooks, last_step: int, dataset: Dataset) -> None:
    """Raises RunError unless training batches were left; the hooks know after which step."""
    if not left:
        done = max(hook.step for hook in hooks if isinstance(hook, EveryHook))
        raise RunError(
            f"the training batches ended after step {done} of {last_step}, which is saved; "
            f"for training, {type(dataset).__name__}.batches must repeat them"
        )
