"""What a model predicts, written as JSON lines or CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from typing import Any, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..errors import DataError, ModelError
from ..graph.contract import predictions_of
from ..input.bad_records import finite_examples, locate_bad_record
from ..input.predict_files import PredictFiles
from ..run.files import atomic_write, check_target
from .restored import Restored
from .table import flat


def write_predictions(restored: Restored, inputs: PredictFiles, path: str = "") -> list[str]:
    """Writes a row for each example, batch by batch; returns the files that gave none.

    Args:
        restored: the model.
        inputs: what to predict from.
        path: a file, CSV if its name ends in .csv, else JSON lines; default standard output.
    """
    endings = (".csv", ".json", ".jsonl")
    check_target(path, restored.dataset, *endings, inputs=inputs.files)
    lines = Lines(as_csv=path.lower().endswith(".csv"))
    unread = dict.fromkeys(inputs.files)
    with restored.graph(), contextlib.ExitStack() as stack:
        iterator = tf.data.make_initializable_iterator(inputs.batches())
        ids, features = iterator.get_next()
        outputs = flat(predictions_of(restored.model, restored.model(features, training=False)))
        finite = finite_examples(features)
        session = stack.enter_context(restored.session())
        stack.enter_context(locate_bad_record(restored.dataset, restored.dataset.evaluation_split))
        file = stack.enter_context(atomic_write(path)) if path else sys.stdout.buffer
        session.run(iterator.initializer)
        stack.enter_context(contextlib.suppress(tf.errors.OutOfRangeError))
        while True:
            numbers, arrays, good = session.run((ids, outputs, finite))
            rows = [inputs.place(number) for number in numbers.tolist()]
            check_one_each(arrays, len(numbers), restored.model.name)
            floats = [array for array in arrays.values() if array.dtype.kind == "f"]
            found = [np.isfinite(array.reshape(len(array), -1)).all(1) for array in floats]
            good = good | np.all(found or [[True]], axis=0)  # a model may replace a feature's NaN
            if not good.all():
                place = ", record ".join(map(str, rows[good.argmin()].values()))
                raise DataError(f"{place}: found NaN or an infinity in its features")
            for row, values in zip(rows, zip(*map(_values, arrays.values()))):
                unread.pop(row["file"], None)
                row.update(zip(arrays, values))
                if isinstance(row.get("class"), int) and row["class"] < len(restored.class_names):
                    row["class_name"] = restored.class_names[row["class"]]
            file.write(lines.encode(rows))
            file.flush()
    return list(unread)


def check_one_each(arrays: dict[str, np.ndarray], size: int, model: str) -> None:
    """Raises ModelError unless each array of a batch's predictions is [size, ...]."""
    for name, array in arrays.items():
        if array.shape[:1] != (size,):
            raise ModelError(
                f"{model}.predict: {name} is of shape {array.shape}, "
                f"expected [batch, ...] with a batch of {size}"
            )


class Lines:
    """Rows as text: JSON lines, or CSV whose first line names the columns.

    Args:
        as_csv: which of the two.
    """

    def __init__(self, as_csv: bool) -> None:
        self._as_csv = as_csv
        self._columns: list[str] = []

    def encode(self, rows: Sequence[dict[str, Any]]) -> bytes:
        """The next rows, UTF-8; raises DataError if CSV cannot hold them."""
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
    """The value for each example, as JSON has it: null for NaN; strings of TensorFlow are bytes."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return np.where(np.isfinite(array), array, None).tolist()
    text = array.astype(bytes) if array.dtype == object else None
    return (array if text is None else np.char.decode(text, errors="backslashreplace")).tolist()
