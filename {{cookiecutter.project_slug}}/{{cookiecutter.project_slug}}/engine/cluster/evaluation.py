"""An evaluation that workers in step share: each computes its part of the batches."""

from __future__ import annotations

import json
from typing import Any, Callable, Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import RunError, UserError
from ..graph.measures import Running
from ..loop.evaluation import Evaluation
from .exchange import Exchange
from .watch import Watch


class SharedEvaluation(Evaluation):
    """The numbers of all examples, the same for any number of workers, bit for bit.

    All workers call `run`, in which each gets the sums of each batch, and adds them up in the order
    of the batches. With a streaming metric, which has no sums, the first one computes them all.

    Args:
        evaluation: of the graph.
        exchange: between the workers.
        watch: must not save meanwhile, where averages may be in the place of weights.
        call: called first, with the session.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        exchange: Exchange,
        watch: Watch,
        call: Callable[[tf.Session], Any] = lambda session: None,
    ) -> None:
        vars(self).update(vars(evaluation))
        self._exchange = exchange
        self._watch = watch
        self._call = call

    def run(self, session: tf.Session, *arguments: Any, **others: Any) -> dict[str, float]:
        self._call(session)
        self._watch.whole = False
        try:
            return super().run(session, *arguments, **others)
        finally:
            self._watch.whole = True

    def _sums_of_batches(
        self, session: tf.Session, stopped: Callable[[], Any] = lambda: None, *others: Any
    ) -> Iterator[Any]:
        index, number = self._exchange.index, self._exchange.number
        if any(isinstance(each, Running) for each in self._sums.values()):
            number = 1
        own: dict[str, Any] = {"sums": [], "stopped": False, "error": ""}
        try:
            if index < number:
                for sums in super()._sums_of_batches(session, stopped, share=(index, number)):
                    own["stopped"] = sums is None
                    own["sums"].append({name: _plain(each) for name, each in (sums or {}).items()})
        except UserError as error:
            own["error"] = str(error)  # which all then raise
        gathered = self._exchange.gather(session, json.dumps(own).encode())
        found = [json.loads(each.decode()) for each in gathered]
        for each in found:
            if each["error"]:
                raise RunError(each["error"])
        if any(each["stopped"] for each in found):
            yield None
            return
        shares = [each["sums"] for each in found]
        for batch in range(sum(map(len, shares))):
            sums = shares[batch % number][batch // number]
            yield {
                name: np.array(each) if isinstance(each, list) else each
                for name, each in sums.items()
            }


def _plain(value: Any) -> Any:
    """As JSON holds it, which keeps each bit of a float."""
    return value.tolist() if isinstance(value, np.ndarray) else float(value)
