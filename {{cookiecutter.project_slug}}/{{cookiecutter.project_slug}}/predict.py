"""Predicts from files.

    python -m <package>.predict run_dir=runs/x photo.png           JSON lines on the console
    python -m <package>.predict run_dir=runs/x photos/ file=predictions.csv
    python -m <package>.predict run_dir=runs/x checkpoint=best new.csv file=predictions.jsonl

PNG and JPEG files are made what the model was trained on: of that size, grey or coloured, 0–1.
(MNIST's digits are white on black.) Other files are read as the dataset reads its own, labels
included. An image that cannot be read is named at the end, all others are predicted, and the exit
code is 1. The settings are in conf/predict.yaml. Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from typing import Any, Sequence

import numpy as np

from .engine.errors import DataError
from .engine.interrupts import held
from .engine.settings.config import load_config
from .engine.tools.command import run_command
from .engine.tools.flat import flat


def predict(arguments: list[str]) -> int:
    """Writes what the model predicts, batch by batch; returns the exit code."""
    paths = [text for text in arguments if "=" not in text or os.path.exists(text)]
    config = load_config([text for text in arguments if text not in paths], "predict")
    # Not above: a mistake in the settings need not wait for TensorFlow.
    import tensorflow.compat.v1 as tf

    from .engine.input.bad_records import locate_bad_record
    from .engine.input.predict_files import PredictFiles
    from .engine.run.files import atomic_write
    from .engine.tools.restored import Restored, batches_of

    restored = Restored(config, config.checkpoint)
    inputs = PredictFiles(restored.dataset, paths)
    lines = Lines(config.file.lower().endswith(".csv"))
    unread = dict.fromkeys(inputs.files)
    with contextlib.ExitStack() as stack:
        stack.enter_context(restored.graph())
        with held():
            iterator = tf.data.make_initializable_iterator(inputs.batches())
            ids, features = iterator.get_next()
            outputs = flat(restored.model.predict(restored.model(features, training=False)))
        session = stack.enter_context(restored.session())
        stack.enter_context(locate_bad_record(restored.dataset))
        file = stack.enter_context(atomic_write(config.file)) if config.file else sys.stdout.buffer
        for numbers, arrays in batches_of(session, iterator, (ids, outputs)):
            rows = [inputs.place(number) for number in numbers.tolist()]
            for row, values in zip(rows, zip(*map(_values, arrays.values()))):
                unread.pop(row["file"], None)
                row.update(zip(arrays, values))
            file.write(lines.encode(rows))
            file.flush()
    for path in unread:
        print(f"error: {path}: {inputs.problem}", file=sys.stderr)
    return 1 if unread else 0


class Lines:
    """Rows as text: JSON lines, or CSV whose first line names the columns.

    Args:
        as_csv: which of the two.
    """

    def __init__(self, as_csv: bool) -> None:
        self._as_csv = as_csv
        self._columns: list[str] = []

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """Some more rows, UTF-8; raises DataError if CSV cannot hold them."""
        if not self._as_csv:
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for cells in map(flat, rows):
            if not self._columns:
                self._columns = list(cells)
                writer.writerow(self._columns)
            if list(cells) != self._columns:
                raise DataError("predictions differ in length: let file end in .jsonl")
            writer.writerow(cells.values())
        return text.getvalue().encode()


def _values(array: np.ndarray) -> list[Any]:
    """The value for each example, as JSON has it; strings of TensorFlow are bytes."""
    return (np.char.decode(array.astype(bytes)) if array.dtype == object else array).tolist()


if __name__ == "__main__":
    sys.exit(run_command(predict, __doc__))
