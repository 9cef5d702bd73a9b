"""Results that are equal bit for bit on a GPU, too: `trainer.deterministic`."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Iterator

import tensorflow.compat.v1 as tf

from ..compat import RUNTIME
from ..errors import ModelError

# cuDNN's kernels (stock 1.15), all others (2.x, and NVIDIA's 1.15), no TensorFloat-32.
VARIABLES = {"TF_CUDNN_DETERMINISTIC": "1", "TF_DETERMINISTIC_OPS": "1"}
VARIABLES["NVIDIA_TF32_OVERRIDE"] = "0"


def make_deterministic() -> None:
    """For the rest of the process; call it before anything opens a session.

    TensorFlow reads the variables when it first needs a kernel that has a faster, unequal twin.
    """
    os.environ.update(VARIABLES)
    if RUNTIME == "tf2":
        tf.compat.v2.config.experimental.enable_op_determinism()
        tf.config.experimental.enable_tensor_float_32_execution(False)


def is_deterministic() -> bool:
    """Whether this process was made so, by a trainer or by its environment."""
    return os.environ.get("TF_DETERMINISTIC_OPS", "0").lower() in ("1", "true")


@contextlib.contextmanager
def missing_kernel_named() -> Iterator[None]:
    """Raises ModelError for an operation that has no deterministic kernel, with its name."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = re.search(r"[^\n]*[Dd]eterminis[^\n]*", error.message)
        if not reason or not is_deterministic():
            raise
        # On 2.x the error has no operation, and its message names the node in the text.
        node = re.search(r"(?:[Nn]ode:?|\{\{node) '?([\w./-]+)", error.message)
        name = error.op.name if error.op is not None else node.group(1) if node else "an operation"
        kind = f" ({error.op.type})" if error.op is not None else ""
        raise ModelError(
            f"trainer.deterministic=true: {name}{kind} cannot: {reason.group().strip()}; take "
            "another operation, train on the CPU (trainer.gpus=none), or set it to false"
        ) from None
