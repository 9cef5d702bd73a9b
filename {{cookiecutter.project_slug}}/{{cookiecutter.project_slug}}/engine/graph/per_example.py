"""What depends on the examples of a batch that replicas share: random numbers, moving averages."""

from __future__ import annotations

import contextlib
import re
import weakref
from typing import Any, Callable, Iterable, Iterator

import tensorflow.compat.v1 as tf

from ..errors import ModelError
from .checks import ancestors, written_by
from .parts import ALONE, Nest, Part, has_rows

RANDOM = re.compile(r"Stateless(?!RandomGet).*(Random|Normal|Multinomial)")

_TAKEN: list[Part] = []  # by the replica that is being built
_DRAWN: Any = weakref.WeakKeyDictionary()  # graph -> operations that `drawn_for_part` made


@contextlib.contextmanager
def taken(part: Part) -> Iterator[None]:
    """Inside of the `with`, what is built is for these rows: see `drawn_for_part`."""
    _TAKEN.append(part)
    try:
        yield
    finally:
        _TAKEN.pop()


def drawn_for_part(draw: Callable[[Any], tf.Tensor], shape: Any) -> tf.Tensor:
    """What `draw` draws for the whole batch; of it, the rows of the replica that is being built.

    So an example's random numbers do not depend on the number of replicas. Those of the examples
    before are drawn, too, and left: the last replica draws as many as one device would.

    Args:
        draw: shape, int32 [n] -> numbers of that shape, by a key that is the same for all replicas.
        shape: that of this replica's numbers, [rows, ...]: those of its examples, in their order.
    """
    if not _TAKEN:
        return draw(shape)
    # A replica takes its part of the rows that its worker has taken.
    before = sum(part.first for part in _TAKEN) * (shape[0] // _TAKEN[-1].rows)
    graph = tf.get_default_graph()
    made = len(graph.get_operations())
    drawn = draw(tf.concat([[before + shape[0]], shape[1:]], axis=0))[before:]
    _DRAWN.setdefault(graph, set()).update(graph.get_operations()[made:])
    return drawn


def check_drawn(operations: Iterable[tf.Operation]) -> None:
    """Raises ModelError where each part of a batch would get the same random numbers.

    Args:
        operations: made for the part that is being built, if one is.
    """
    drawn = _DRAWN.get(tf.get_default_graph(), ())
    for op in operations if _TAKEN else ():
        if not RANDOM.match(op.type) or op in drawn or op.outputs[0].shape.rank == 0:
            continue
        shape = op.outputs[0].shape
        first, rows = shape.as_list()[0] if shape.rank else None, _TAKEN[-1].rows
        if first is None or (isinstance(rows, int) and first == rows):
            raise ModelError(
                f"{op.name} ({op.type}): draws the same numbers for each part of a batch that "
                "devices share; write drawn_for_part(lambda shape: tf.random.stateless_normal("
                f"shape, seed), tf.shape(x)), of engine/graph/per_example.py, {ALONE}"
            )


def is_averaged(write: tf.Operation, batch: Nest) -> bool:
    """Whether a write of a variable depends on the examples of a batch, and so on its part.

    Args:
        write: an operation that writes a variable.
        batch: the part.

    Raises:
        ModelError: it does, but the mean over the parts may not be what the whole batch would give.
    """
    tensors = [array for array in tf.nest.flatten(batch, True) if has_rows(array)]
    rows = {x.values.op if isinstance(x, tf.SparseTensor) else x.op for x in tensors}
    rows |= _DRAWN.get(write.graph, set())  # a generator's statistics are of noise
    value = write.inputs[-1]
    before = ancestors([value.op])
    # Computed of constants, as tf.shape(x)[0] is: it may well be the number of examples of a part.
    counts = value.op.type != "Const" and {op.type for op in before if not op.inputs} == {"Const"}
    if not counts and not rows & before:
        return False  # alike for all parts
    if (
        not value.dtype.is_floating
        or write.type != "AssignSubVariableOp"
        or written_by(write)[1]
        or not value.shape.is_fully_defined()
    ):
        raise ModelError(
            f"{write.name} ({write.type}): writes what it makes of the examples, of which devices "
            "that share a batch know a part each; only moving averages can be averaged: write "
            f"variable.assign_sub((variable - new) * rate), outside of tf.cond, {ALONE}"
        )
    return True
