"""What workers in step do together besides steps: the chief says what, and the others follow."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
from typing import Any, Callable, Sequence

import tensorflow.compat.v1 as tf

from ..errors import RunError
from ..loop.evaluation import Evaluation
from ..loop.inner_loop import InnerLoop
from ..loop.stop import SignalHook
from .cluster import Task
from .evaluation import SharedEvaluation
from .exchange import Exchange
from .watch import Watch

logger = logging.getLogger(__name__)


class Together:
    """After each step in the open all workers gather what they know: so they do the same next.

    Args:
        tasks: the workers, the chief first.
        exchange: between them.
        watch: over them.
        evaluation, loop: of the training graph.
        variables: what all must have alike.
        signals: of this process, when there is a session.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        exchange: Exchange,
        watch: Watch,
        evaluation: Evaluation,
        loop: InnerLoop,
        variables: Sequence[tf.Variable],
        signals: Callable[[], SignalHook],
    ) -> None:
        self.watch = watch
        # The chief's `run` calls the others.
        own = exchange.index == 0
        call = (lambda session: self.tell(session, do="evaluate")) if own else lambda session: None
        self.evaluation = SharedEvaluation(evaluation, exchange, watch, call)
        self.loop = loop
        self.signals = signals
        self._tasks = tasks
        self._exchange = exchange
        self._values = [variable.read_value() for variable in variables]

    def tell(self, session: tf.Session, **own: Any) -> list[dict[str, Any]]:
        """What each worker tells, in their order."""
        own["signal"] = self.signals().received or 0
        found = self._exchange.gather(session, json.dumps(own).encode())
        return [json.loads(each.decode()) for each in found]

    def settle(
        self, session: tf.Session, run_context: tf.train.SessionRunContext | None, **own: Any
    ) -> str:
        """Agrees on how the loop continues; or, with what the chief wants before that.

        Returns:
            "go", "over", or what the chief wants now.
        """
        requested = bool(run_context and run_context.stop_requested)
        told = self.tell(session, inner=self.loop.wanted(session), stop=requested, **own)
        if told[0]["do"] not in ("go", "over"):
            return told[0]["do"]
        received = max(each["signal"] for each in told)
        if received and not self.signals().received:
            self.signals().received = received
            name = signal.Signals(received).name
            logger.warning("%s of another worker: saving, then leaving", name)
        self.loop.agreed = 0 if received else min(each["inner"] for each in told)
        if run_context and (received or any(each["stop"] for each in told)):
            run_context.request_stop()
        return told[0]["do"]

    def check(self, session: tf.Session) -> None:
        """The chief's `CheckpointHook.check`: only what all have alike is saved."""
        self.tell(session, do="compare")
        self.compare(session)

    def compare(self, session: tf.Session) -> None:
        """Raises RunError if a worker has other values of variables than the chief; names it."""
        digest = hashlib.sha256()
        for value in session.run(self._values):
            digest.update(value.tobytes())
        found = self._exchange.gather(session, digest.digest())
        different = [str(task) for task, each in zip(self._tasks, found) if each != found[0]]
        if different:
            raise RunError(
                f"{', '.join(different)}: found other values of variables than those of "
                f"{self._tasks[0]} after the same steps, which are not saved; something in the "
                "model differs from process to process, such as random numbers of NumPy or another "
                "kind of processor"
            )


class StepHook(tf.train.SessionRunHook):
    """Tells the watch when a step waits for the others; let it be the first hook."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def before_run(self, run_context: tf.train.SessionRunContext) -> None:
        self._watch.waits = True

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self._watch.waits = False


class LeadHook(tf.train.SessionRunHook):
    """The chief's; let it be the last hook, which knows what the others want."""

    def __init__(self, together: Together) -> None:
        self._together = together

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._together.settle(session, None, do="go")

    def after_run(self, run_context: tf.train.SessionRunContext, run_values: Any) -> None:
        self._together.settle(run_context.session, run_context, do="go")

    def end(self, session: tf.Session) -> None:
        self._together.settle(session, None, do="over")
        self._together.watch.leave()


class FollowHook(tf.train.SessionRunHook):
    """A worker's: does what the chief wants until that continues."""

    def __init__(self, together: Together) -> None:
        self._together = together

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        self._follow(session)

    def after_run(self, run_context: tf.train.SessionRunContext, run_values: Any) -> None:
        self._follow(run_context.session, run_context)

    def end(self, session: tf.Session) -> None:
        self._follow(session)
        self._together.watch.leave()

    def _follow(
        self, session: tf.Session, run_context: tf.train.SessionRunContext | None = None
    ) -> None:
        together, wanted = self._together, ""
        while wanted not in ("go", "over"):
            wanted = together.settle(session, run_context)
            if wanted == "compare":
                together.compare(session)
            elif wanted == "evaluate":
                together.evaluation.run(session, lambda: together.signals().received)


class FollowedSignalHook(SignalHook):
    """A signal's that ends no worker by itself: `Together.settle` ends all after one step."""

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Does nothing."""
