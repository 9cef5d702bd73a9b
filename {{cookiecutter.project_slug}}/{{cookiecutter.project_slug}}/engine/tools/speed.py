"""How fast input, model and both together are, what limits them, and which setting helps."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import Any, Sequence

import tensorflow.compat.v1 as tf
from omegaconf import DictConfig

from ...data.dataset import Dataset
from ...model.model import Model
from ...train.hooks.every import EveryHook
from ...train.trainer import SessionTrainer
from ..errors import ConfigError, UserError
from ..graph.replicas import Replicas
from ..input.bad_records import locate_bad_record
from ..input.sizes import reading_mode
from ..loop.inner_loop import InnerLoop
from ..loop.lifecycle import check_shared_out
from ..loop.stream_position import training_iterator
from ..run.devices import adapt, chosen_gpus, describe_device, set_up_devices
from ..run.files import check_target
from ..settings.config import instantiate, load_config
from .device_figures import device_figures

WORTH = 1.1  # times as fast: smaller differences may be chance


def measure_all(arguments: Sequence[str], config: DictConfig) -> dict[str, dict[str, float]]:
    """Measures input, model, training, and training with other settings; prints a line for each.

    Args:
        arguments: the words of the command line.
        config: the settings that these give.

    Returns:
        Name -> speed, see `measure`.
    """
    trainer = instantiate(config.trainer)
    set_up_devices(trainer.session_config, trainer.deterministic)
    dataset = instantiate(config.data)
    dataset.prepare()
    check_target(config.file, dataset, ".json")
    print(reading_mode(dataset, dataset.training_split))
    print(f"{'examples/s':>52} {'first batch':>12}")
    speeds = {name: _measure(name, config) for name in ("input alone", "model alone", "training")}
    changes = ["data.parallel_calls=1", f"data.parallel_calls={2 * dataset.parallel_calls}"]
    changes.append(f"data.batch_size={2 * dataset.batch_size}")
    if not dataset.in_memory(dataset.training_split):
        changes.append("data.memory_fraction=0.5")
    for change in changes:
        # These data may have no such setting, or no batch of twice the size.
        with contextlib.suppress(UserError):
            changed = load_config([*arguments, change], "benchmark")
            if changed != config:
                name = f"training, {change}"
                speeds[name] = _measure(name, changed)
    return speeds


def _measure(name: str, config: DictConfig) -> dict[str, float]:
    trainer, dataset = instantiate(config.trainer), instantiate(config.data)
    dataset.prepare()
    speed = measure(
        trainer=trainer,
        dataset=dataset,
        model=None if name == "input alone" else instantiate(config.model),
        secs=config.seconds,
        constant=name == "model alone",
    )
    rate, secs = speed["examples_per_sec"], speed["first_batch_secs"]
    print(f"{name:40} {rate:11,.0f} {secs:10.2f} s", flush=True)
    if name == "training" and "memory_mb" in speed:
        device = describe_device(trainer.session_config, len(trainer.replica_devices()))
        print(
            f"on {device}: at most {speed['memory_mb']:,.0f} MB in a step, of whose time copies "
            f"take {speed['copy_share']:.0%}; a larger data.batch_size needs more memory and fewer "
            "copies",
            flush=True,
        )
    return speed


def advise(rates: dict[str, float]) -> dict[str, str]:
    """What limits training, and the change that helped most when it was measured.

    Args:
        rates: examples per second of "input alone", "model alone", "training" and
            "training, <change>".
    """
    slower = min(("input", "model"), key=lambda part: rates[f"{part} alone"])
    before = rates["training"]
    advice = f"training reaches {before / rates[f'{slower} alone']:.0%} of its speed alone; "
    best = max((name for name in rates if "alone" not in name), key=rates.__getitem__)
    if rates[best] < WORTH * before:
        advice += "none of the settings tried makes it faster"
    else:
        advice += f"with {best.split()[1]} it is {rates[best] / before:.2f} times as fast"
    return {"bottleneck": slower, "advice": advice}


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
        examples_per_sec, and first_batch_secs: from the session's start to the first step's end;
        of a GPU what `device_figures` finds.

    Raises:
        ConfigError: the trainer has a loop of its own, such as Keras'.
    """
    if type(trainer)._build is not SessionTrainer._build:
        raise ConfigError(f"found {type(trainer).__name__}; expected trainer=session to measure")
    with tf.Graph().as_default(), locate_bad_record(dataset):
        tf.set_random_seed(trainer.seed)
        if model:
            check_shared_out(trainer, dataset)
            model.replicas = Replicas(trainer.replica_devices())
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
            traced = tf.RunMetadata()
            for _ in range(2 if chosen_gpus(trainer.session_config) else 0):  # the first is slow
                traced = tf.RunMetadata()
                options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
                session.run(train_op, options=options, run_metadata=traced)
    pairs = zip(marks[2:], marks[3:])
    rates = [(step - before) / (now - then) for (before, then), (step, now) in pairs]
    return {
        "examples_per_sec": dataset.batch_size * statistics.median(rates),
        "first_batch_secs": marks[1][1] - marks[0][1],
        **device_figures(traced.step_stats),
    }


class _Clock(EveryHook):
    """Records how many steps are done, and when."""

    def act(self, session: tf.Session, step: int, values: Any) -> None:
        self.marks.append((step, time.perf_counter()))
