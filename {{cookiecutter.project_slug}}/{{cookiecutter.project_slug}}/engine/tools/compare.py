"""Whether numbers that were computed twice are the same, but for rounding."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from ..compat import RUNTIME
from ..run.devices import chosen_gpus


def tolerance(config: tf.ConfigProto, dtype: np.dtype) -> float:
    """The difference that rounding may make, as `difference` tells it.

    A thousand times the rounding of one float32 operation, 2**-24, for sums and layers amplify it.
    A GPU also adds in an order of its own and chooses among algorithms, and where it multiplies in
    TensorFloat-32 it rounds to 11 bits. A result of 16 bits was rounded once more. What is no
    float, such as the class of the largest probability, may on a GPU turn out otherwise where two
    are alike.

    Args:
        config: the devices that compute.
        dtype: of the result.
    """
    gpu = bool(chosen_gpus(config))
    if dtype.kind not in "fV":  # NumPy knows bfloat16 as V
        return 0.02 if gpu else 0.0
    exact = RUNTIME == "tf1" or not tf.config.experimental.tensor_float_32_execution_enabled()
    limit = (1e-3 if exact else 1e-2) if gpu else 1e-4
    if dtype.itemsize == 2:
        limit = max(limit, 4e-3 if dtype.kind == "f" else 3e-2)
    return limit


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, as a share of the largest number; inf where one is NaN.

    Of what is no float: the share of the elements that differ.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    if one.dtype.kind not in "fV":
        return float(np.mean(one != other)) if one.size else 0.0
    one, other = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):  # of two infinities
        apart = np.where(one == other, 0.0, np.abs(one - other))
    sizes = np.abs(other[np.isfinite(other)])
    share = apart.max(initial=0.0) / (sizes.max(initial=0.0) or 1.0)
    return float("inf") if np.isnan(share) else float(share)
