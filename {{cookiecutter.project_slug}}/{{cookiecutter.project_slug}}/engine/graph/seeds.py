"""Initial weights that depend on the graph's seed and the variable's name alone."""

from __future__ import annotations

import inspect
import zlib
from typing import Any, Callable

import tensorflow.compat.v1 as tf

from .checks import ancestors


def seeded_by_name(create: Callable[..., tf.Variable], **settings: Any) -> tf.Variable:
    """Creates a variable whose random initial value depends on its name and the graph's seed.

    TensorFlow takes the number of operations made before; then the weights would depend on how the
    data are read. The seed of a Keras initializer that has one counts as it is.
    """
    # A cached read, as tf.nn.dynamic_rnn asks for, would be that of before the inner loop.
    variable = create(**{**settings, "caching_device": None})
    value = settings.get("initial_value")
    held = inspect.getclosurevars(value).nonlocals if inspect.isfunction(value) else {}  # 1.15
    initializer = held.get("initializer", getattr(value, "func", None))
    own = getattr(initializer, "seed", None) is not None
    if tf.get_default_graph().seed is not None and variable.initial_value is not None and not own:
        drawn = [op for op in ancestors([variable.initial_value.op]) if "seed2" in op.node_def.attr]
        for number, op in enumerate(sorted(drawn, key=lambda op: op.name)):
            seed = zlib.crc32(f"{variable.op.name} {number}".encode())
            op._set_attr("seed2", tf.AttrValue(i=seed))
    return variable
