"""Why TensorFlow does not use a GPU that is there."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os

import tensorflow.compat.v1 as tf

from ..compat import RUNTIME
from .gpus import first_gpu

logger = logging.getLogger(__name__)

LIBRARIES = ["libcuda.so.1"]
if RUNTIME == "tf1":  # built for CUDA 10.0, which ends below compute capability 8.0, and cuDNN 7
    names = ("cudart", "cublas", "cufft", "curand", "cusolver", "cusparse")
    LIBRARIES += [*(f"lib{name}.so.10.0" for name in names), "libcudnn.so.7"]


def warn_of_unused_gpu(gpus: str | int = "all") -> None:
    """Logs which GPU of this machine TensorFlow cannot use, and why, unless `gpus` is "none"."""
    name, capability = first_gpu() if str(gpus) != "none" else ("", "0")
    listed = name and tf.config.experimental.list_physical_devices("GPU")
    missing = next((library for library in LIBRARIES if not _loads(library)), "")
    reason = "TensorFlow does not list it"
    if RUNTIME == "tf2" and not importlib.util.find_spec("nvidia"):  # CUDA's wheels
        reason += ", CUDA is not in this environment (EXTRAS=cuda make install adds it)"
    if not name or (listed and (missing or float(capability) < 8 or RUNTIME == "tf2")):
        return  # without CUDA 10.0 it is another build than the stock one, such as NVIDIA's
    if RUNTIME == "tf1" and float(capability) >= 8:
        reason = (
            f"its compute capability is {capability}, TensorFlow 1.15 knows those below 8.0; take "
            "RUNTIME=tf2, or NVIDIA's build with RUNTIME=installed"
        )
    elif not tf.test.is_built_with_cuda():
        package = "tensorflow-gpu" if RUNTIME == "tf1" else "tensorflow[and-cuda]"
        reason = f"this TensorFlow is built without CUDA, {package} in requirements/ with it"
    elif os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        reason = "CUDA_VISIBLE_DEVICES hides it"
    elif missing:
        reason = f"{missing} cannot be loaded"
    logger.warning("%s is not used: %s; fix that, or set trainer.gpus=none", name, reason)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
