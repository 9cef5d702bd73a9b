"""The devices and threads of a session."""

from __future__ import annotations

import itertools
import logging
import re
from typing import Any

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ..compat import RUNTIME
from ..errors import ConfigError
from .deterministic import make_deterministic
from .gpus import name_of_all
from .machine import cores

logger = logging.getLogger(__name__)


def session_config(
    gpus: str | int = "all",
    allow_growth: bool = True,
    gpu_memory_mb: int = 0,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    soft_placement: bool = True,
    xla: bool = False,
) -> tf.ConfigProto:
    """The session's devices and threads.

    Args:
        gpus: "all", "none", or the numbers of those to use, such as "0,2".
        allow_growth: take a GPU's memory as it is needed, not all at once.
        gpu_memory_mb: megabytes to take of each GPU, at once; 0: as `allow_growth` says.
        intra_op_threads: threads within one operation; 0 lets TensorFlow choose.
        inter_op_threads: operations at a time; 0 lets TensorFlow choose, -1 runs them in the
            thread that calls it (2.x: in one other, see below).
        soft_placement: run on the CPU what has no GPU kernel.
        xla: compile the graph for the GPU; results then differ in their last bits.

    Raises:
        ConfigError: `gpus` is neither "all", "none" nor numbers of GPUs that are there.
    """
    if RUNTIME == "tf2" and inter_op_threads < 0:
        # There, a signal that Python handles in a thread that multiplies matrices corrupts memory
        # (oneDNN, AVX-512): the main thread must not compute.
        inter_op_threads = 1
    config = tf.ConfigProto(
        allow_soft_placement=soft_placement,
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=inter_op_threads,
    )
    if xla:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    gpus = str(gpus)
    if gpus == "none":
        config.device_count["GPU"] = 0
    elif re.fullmatch(r"\d+(,\d+)*", gpus):
        # In their order, as TensorFlow's other contexts take them.
        config.gpu_options.visible_device_list = ",".join(
            map(str, sorted({int(number) for number in gpus.split(",")}))
        )
    elif gpus != "all":
        raise ConfigError(f'trainer.gpus: found "{gpus}"; expected all, none or numbers as 0,2')
    if gpu_memory_mb:
        for _ in chosen_gpus(config):
            config.gpu_options.experimental.virtual_devices.add(memory_limit_mb=[gpu_memory_mb])
    config.gpu_options.allow_growth = allow_growth and not gpu_memory_mb
    return config


def chosen_gpus(config: tf.ConfigProto) -> list[Any]:
    """Those of the GPUs that TensorFlow lists which a session with these settings uses.

    Raises:
        ConfigError: a number is that of none of them.
    """
    if config.device_count.get("GPU", 1) == 0:
        return []
    gpus = tf.config.experimental.list_physical_devices("GPU")
    numbers = [int(text) for text in config.gpu_options.visible_device_list.split(",") if text]
    if gpus and max(numbers, default=0) >= len(gpus):
        raise ConfigError(
            f"trainer.gpus: found {max(numbers)}, expected numbers from 0 to {len(gpus) - 1}"
        )
    return [gpus[number] for number in numbers] if gpus and numbers else gpus


def describe_device(config: tf.ConfigProto, devices: int = 1) -> str:
    """What trains, for people; `devices`: the number of those that share a batch."""
    gpus = chosen_gpus(config)
    if not gpus:
        return f"the CPU ({cores()} cores)" + f" as {devices} devices" * (devices > 1)
    name = name_of_all()
    if RUNTIME == "tf2":
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", name)
    if devices == len(gpus) == 1:
        return name or "a GPU"
    text = f"{devices} GPUs" if devices > 1 else f"the first of {len(gpus)} GPUs"
    return text + f" ({name})" * bool(name)


def set_up_devices(config: tf.ConfigProto, deterministic: bool = False) -> None:
    """Sets up what holds for the whole process; call it before anything else opens a session.

    Args:
        config: the session's devices and threads.
        deterministic: see conf/trainer/session.yaml.
    """
    if deterministic:
        make_deterministic()
    set_up_gpus(config)
    start_threads(config)


def set_up_gpus(config: tf.ConfigProto) -> None:
    """Gives the session's choice of GPUs, and of their memory, to TensorFlow's other contexts.

    tf.data (2.x: as soon as it traces a function) and sessions without settings make such, and
    the first that comes sets a GPU up for the process.
    """
    gpus, limits = chosen_gpus(config), config.gpu_options.experimental.virtual_devices
    settings = tf.config.experimental
    try:
        settings.set_visible_devices(gpus, "GPU")
        for gpu, limit in itertools.zip_longest(gpus, limits):
            if limit:
                share = settings.VirtualDeviceConfiguration(memory_limit=limit.memory_limit_mb[0])
                settings.set_virtual_device_configuration(gpu, [share])
            else:
                settings.set_memory_growth(gpu, config.gpu_options.allow_growth)
    except (RuntimeError, ValueError):
        if gpus:
            logger.warning(
                "the GPUs of this process are set up already; trainer.gpus, allow_growth and "
                "gpu_memory_mb have an effect in a new process"
            )


def replica_devices(config: tf.ConfigProto, replicas: int = 0) -> list[str]:
    """The devices that share each batch; [""] is a single one, wherever TensorFlow takes it.

    Args:
        config: of `session_config`, which gets as many CPUs where there is no GPU.
        replicas: how many devices; 0 takes all GPUs, and without one the CPU.

    Raises:
        ConfigError: there are fewer GPUs.
    """
    gpus = len(chosen_gpus(config))
    if gpus and replicas > gpus:
        raise ConfigError(
            f"trainer.replicas={replicas}: TensorFlow lists {gpus} GPU{'s' * (gpus > 1)} of those "
            "that trainer.gpus names; lower it, or set trainer.gpus=none to take the CPU"
        )
    count = replicas or gpus or 1
    if count == 1:
        return [""]
    if not gpus:
        config.device_count["CPU"] = count
    return [f"/device:{'GPU' if gpus else 'CPU'}:{number}" for number in range(count)]


def start_threads(config: tf.ConfigProto) -> None:
    """Starts TensorFlow's threads.

    The first session of a process makes them for all that follow, whose numbers have no effect.
    """
    operations = config.inter_op_parallelism_threads
    # One that saves where a stream stands waits for batches that are made in another thread.
    alone = operations == 1 or (operations < 1 and cores() == 1)
    first = tf.ConfigProto(
        device_count={"GPU": 0},  # the GPU is set up by the session that uses it
        intra_op_parallelism_threads=config.intra_op_parallelism_threads,
        inter_op_parallelism_threads=2 if alone else operations,
    )
    tf.Session(graph=tf.Graph(), config=first).close()


def adapt(config: tf.ConfigProto, dataset: Dataset, model: Model | None) -> None:
    """Sets what follows from the data and the model: threads to stream with, float16."""
    if dataset.overrides("batches") or not dataset.in_memory(dataset.training_split):
        # 1.15 streams with the session's threads; -1 would leave it one.
        config.inter_op_parallelism_threads = max(config.inter_op_parallelism_threads, 0)
    if model and model.optimization.loss_scale > 0:
        config.graph_options.rewrite_options.auto_mixed_precision = 1  # "on"
