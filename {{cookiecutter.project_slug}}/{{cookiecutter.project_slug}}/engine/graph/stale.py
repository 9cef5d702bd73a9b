"""Tensors that a model keeps from one call to the next, found in what a later call makes."""

from __future__ import annotations

import re
from typing import Any

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from .checks import ancestors

READS = re.compile(r"ReadVariableOp|Variable(V2)?|ResourceGather\w*|IteratorGetNext\w*")


def computed_before(count: int) -> str:
    """What loops that were made after the graph's first `count` operations take from before them.

    What is computed of variables or batches there, as by a tensor that `build` makes, stays in a
    loop as it was at its start, while the variables move. The name of one such tensor, or "".
    """
    operations = tf.get_default_graph().get_operations()
    earlier = set(operations[:count])
    for enter in operations[count:]:
        taken = [enter.inputs[0].op] if enter.type == "Enter" else []
        if earlier.issuperset(taken) and any(READS.fullmatch(op.type) for op in ancestors(taken)):
            return enter.inputs[0].name
    return ""


def check_own_batch(model: tf.keras.layers.Layer, made: Any, batch: Any) -> None:
    """Raises ModelError if tensors depend on another batch than theirs, as of training.

    Args:
        model: what made them.
        made: its outputs, loss and measures.
        batch: features and labels, as an iterator gave them.
    """
    own = {tensor.op for tensor in tf.nest.flatten(batch, True) if isinstance(tensor, tf.Tensor)}
    needed = ancestors(x.op for x in tf.nest.flatten(made, True) if isinstance(x, tf.Tensor))
    others = [op.name for op in needed - own if op.type.startswith("IteratorGetNext")]
    if others:
        raise ModelError(
            f"{model.name}: what it evaluates depends on the batch {others[0]}, too: something "
            "keeps tensors from one call to the next, as a list, an attribute or tf.losses does; "
            "let call and loss return what they make, and loss=... be tf.keras' or your own"
        )
