"""What TensorBoard shows of training, and the event files that it reads."""

from __future__ import annotations

import glob
import os
import re
from typing import Any, Collection

import tensorflow.compat.v1 as tf

from ...model.model import Model, Nest
from ...train.hooks.every import EveryHook
from ..graph.optimize import HISTOGRAMS


def step_summaries(
    model: Model, train_op: tf.Operation, shown: dict[str, tf.Tensor], histograms: bool = False
) -> tf.Tensor:
    """The merged summary, string [], of a step and of what the model itself has summarized.

    Call it before the graph has a loop, whose summaries cannot be fetched.

    Args:
        model: the norms of its trained variables are those after the step.
        train_op: the step.
        shown: name -> number []; your hooks may fetch them, as "training/loss:0".
        histograms: of the weights after the step, and of the gradients before they are clipped.
    """
    for name, value in shown.items():
        tf.identity(value, name="training/" + re.sub(r"[^\w.]", "_", name, flags=re.ASCII))
        # tf.summary.scalar takes ASCII alone; evaluation's curves have the name as it is.
        summary = tf.raw_ops.ScalarSummary(tags=name, values=value)
        tf.add_to_collection(tf.GraphKeys.SUMMARIES, summary)
    for variable in model.trainable_variables:
        name = variable.op.name
        with tf.control_dependencies([train_op]):
            weights = variable.read_value()
        tf.summary.scalar(f"weight_norm/{name}", tf.norm(weights))
        tf.summary.histogram(f"weights/{name}", weights, collections=[HISTOGRAMS])
    chosen = [tf.GraphKeys.SUMMARIES, *([HISTOGRAMS] if histograms else [])]
    return tf.summary.merge([summary for key in chosen for summary in tf.get_collection(key)])


def image_summaries(features: Nest) -> list[tf.Tensor]:
    """Summaries, string [], of the first of those features that are images.

    Args:
        features: each [batch, rows, columns, 1, 3 or 4], of numbers that
            `tf.summary.image` takes, is shown; others are skipped.
    """
    types = (tf.uint8, tf.float16, tf.float32, tf.float64)
    return [
        tf.summary.image("features", feature, max_outputs=8, collections=[])
        for feature in tf.nest.flatten(features)
        if feature.dtype in types
        and feature.shape.rank == 4
        and feature.shape.as_list()[-1] in (1, 3, 4)
    ]


class EventsHook(EveryHook):
    """Opens a file of its own for each session, and closes it.

    Args:
        directory: where the event file goes.
        every_n_steps, every_n_secs, always: see `EveryHook`.
    """

    def __init__(
        self,
        directory: str,
        every_n_steps: int = 0,
        every_n_secs: float = 0.0,
        always: Collection[int] = (),
    ) -> None:
        super().__init__(every_n_steps, every_n_secs, always)
        self.directory = directory
        self.writer: Any = None  # a tf.summary.FileWriter while there is a session

    def after_create_session(self, session: tf.Session, coord: tf.train.Coordinator) -> None:
        super().after_create_session(session, coord)
        self.close()
        # Not from FileWriterCache: its writers outlive a run, and even its directory. The suffix,
        # since the name has the second only: a restart within it would overwrite the file.
        self.writer = tf.summary.FileWriter(self.directory, filename_suffix=f".{self.step}")
        # Tells TensorBoard to forget points of a killed run that lie after its last checkpoint.
        start = tf.SessionLog(status=tf.SessionLog.START)
        self.writer.add_session_log(start, self.step + 1)

    def write_scalars(self, numbers: dict[str, float], step: int) -> None:
        """Adds points to the curves of these names."""
        points = [tf.Summary.Value(tag=name, simple_value=numbers[name]) for name in numbers]
        self.writer.add_summary(tf.Summary(value=points), step)
        self.writer.flush()

    def end(self, session: tf.Session) -> None:
        self.close()

    def close(self) -> None:
        if self.writer:
            self.writer.close()
            self.writer = None


def drop_events_after(step: int, *directories: str) -> None:
    """Drops what a killed run showed after its last checkpoint: those steps are taken again.

    TensorBoard's own rule for this, the START above, is not followed by all who read the files;
    TensorBoard's fast loader (2.5 and later) is one of them.
    """
    for directory in directories:
        for path in glob.glob(os.path.join(glob.escape(directory), "events.out.tfevents.*")):
            intact = 0  # bytes
            try:
                for record in tf.io.tf_record_iterator(path):
                    if tf.Event.FromString(record).step > step:
                        break
                    intact += len(record) + 16  # of its length and checksums
            except tf.errors.DataLossError as error:
                if "truncated" not in str(error):
                    continue  # a full disk, say: what follows may still be read one day
            if intact < os.path.getsize(path):
                os.truncate(path, intact)
