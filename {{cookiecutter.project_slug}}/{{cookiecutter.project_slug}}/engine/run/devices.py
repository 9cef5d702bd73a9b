"""The devices and threads of a session, and why a GPU is not among them."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import subprocess

import tensorflow.compat.v1 as tf

from ...data.dataset import Dataset
from ...model.model import Model
from ..compat import RUNTIME
from ..errors import ConfigError

logger = logging.getLogger(__name__)

LIBRARIES = ["libcuda.so.1"]
if RUNTIME == "tf1":  # built for CUDA 10.0, which ends below compute capability 8.0, and cuDNN 7
    names = ("cudart", "cublas", "cufft", "curand", "cusolver", "cusparse")
    LIBRARIES += [*(f"lib{name}.so.10.0" for name in names), "libcudnn.so.7"]


def session_config(
    gpus: str | int = "all",
    allow_growth: bool = True,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    soft_placement: bool = True,
    xla: bool = False,
) -> tf.ConfigProto:
    """The session's devices and threads.

    Args:
        gpus: "all", "none", or the numbers of those to use, such as "0,2".
        allow_growth: take a GPU's memory as it is needed, not all at once.
        intra_op_threads: threads within one operation; 0 lets TensorFlow choose.
        inter_op_threads: operations at a time; 0 lets TensorFlow choose, -1 runs them in the
            thread that calls it (2.x: in one other, see below).
        soft_placement: run on the CPU what has no GPU kernel.
        xla: compile the graph for the GPU; results then differ in their last bits.

    Raises:
        ConfigError: `gpus` is neither "all", "none" nor numbers.
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
    config.gpu_options.allow_growth = allow_growth
    if xla:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    gpus = str(gpus)
    if gpus == "none":
        config.device_count["GPU"] = 0
    elif re.fullmatch(r"\d+(,\d+)*", gpus):
        config.gpu_options.visible_device_list = gpus
    elif gpus != "all":
        raise ConfigError(f'trainer.gpus: found "{gpus}"; expected all, none or numbers as 0,2')
    return config


def start_threads(config: tf.ConfigProto) -> None:
    """Starts TensorFlow's threads; call it before anything else opens a session.

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


def cores() -> int:
    """The number of cores that this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def warn_of_unused_gpu(gpus: str | int = "all") -> None:
    """Logs which GPU of this machine TensorFlow cannot use, and why, unless `gpus` is "none"."""
    name, capability = _first_gpu() if str(gpus) != "none" else ("", "0")
    reason = "TensorFlow does not list it"
    if RUNTIME == "tf1" and float(capability) >= 8:
        reason = f"its compute capability is {capability}, TensorFlow 1.15 knows those below 8.0"
    elif not name or tf.config.experimental.list_physical_devices("GPU"):
        return
    elif not tf.test.is_built_with_cuda():
        package = "tensorflow-gpu" if RUNTIME == "tf1" else "tensorflow[and-cuda]"
        reason = f"this TensorFlow is built without CUDA, {package} in requirements/ with it"
    elif os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        reason = "CUDA_VISIBLE_DEVICES hides it"
    else:
        for library in LIBRARIES:
            try:
                ctypes.CDLL(library)
            except OSError:
                reason = f"{library} cannot be loaded"
                break
    logger.warning("%s is not used: %s; fix that, or set trainer.gpus=none", name, reason)


def _first_gpu() -> tuple[str, str]:
    """Its name, empty if there is no GPU, and its compute capability, 0 if it cannot be told."""
    for fields in ("name,compute_cap", "name"):  # old drivers do not know the second
        command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            printed = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=30)
            found = re.match(r"(.+?)(?:, ([\d.]+))?$", printed.decode().strip(), re.MULTILINE)
            if found:
                return found.group(1), found.group(2) or "0"
    there = any(map(os.path.exists, ("/proc/driver/nvidia/gpus", "/dev/nvidia0")))
    return ("a GPU by NVIDIA" if there else ""), "0"


def adapt(config: tf.ConfigProto, dataset: Dataset, model: Model | None) -> None:
    """Sets what follows from the data and the model: threads to stream with, float16."""
    if dataset.overrides("batches") or not dataset.in_memory(dataset.training_split):
        # 1.15 streams with the session's threads; -1 would leave it one.
        config.inter_op_parallelism_threads = max(config.inter_op_parallelism_threads, 0)
    if model and model.optimization.loss_scale > 0:
        config.graph_options.rewrite_options.auto_mixed_precision = 1  # "on"
