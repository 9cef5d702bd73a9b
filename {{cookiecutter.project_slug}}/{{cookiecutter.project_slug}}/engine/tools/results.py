"""What `evaluate` finds and writes."""

from __future__ import annotations

import json
import os
from typing import Any, Sequence

import numpy as np

from ..input.bad_records import locate_bad_record
from ..loop.evaluation import Evaluation
from ..run.files import atomic_write
from .plots import confusion_matrix, confusion_picture, curves, labels_and_classes
from .restored import Restored


def evaluate_run(restored: Restored, split: str = "") -> dict[str, Any]:
    """The means over a split, and for a classifier its confusion matrix as a list of rows."""
    split = restored.prepare(split)
    pairs: list[Any] = []
    with restored.graph(), locate_bad_record(restored.dataset, split):
        evaluation = Evaluation(restored.model, restored.dataset, split)
        predictions = restored.model.predict(evaluation.outputs)
        tensors = labels_and_classes(evaluation.labels, predictions)
        with restored.session() as session:
            means = evaluation.run(session, fetches=tensors, seen=pairs.append)
    row = {"run": restored.config.run_dir, "step": restored.step, "split": split, **means}
    row["checkpoint"] = restored.checkpoint
    matrix = confusion_matrix(*np.concatenate(pairs, axis=1)) if tensors else None
    if matrix is None:
        return row
    names = {"class_names": restored.class_names} if restored.class_names else {}
    return {**row, **names, "confusion": matrix.tolist()}


def write_results(rows: Sequence[dict[str, Any]], path: str = "") -> list[str]:
    """Writes rows of `evaluate_run` as JSON, with a picture; returns the paths.

    Args:
        rows: of one run or several.
        path: of the JSON file; default: below the first run.
    """
    first, several = rows[0], len(rows) > 1
    name = f"{first['split']}-{'compared' if several else first['step']}.json"
    paths = [path or os.path.join(first["run"], "evaluation", name)]
    with atomic_write(paths[0]) as file:
        file.write(json.dumps(rows if several else first).encode() + b"\n")
    picture = None
    if several:
        picture = curves([row["run"] for row in rows])
    elif "confusion" in first:
        picture = confusion_picture(first["confusion"], first.get("class_names", ()))
    if picture:
        paths.append(f"{os.path.splitext(paths[0])[0]}.png")
        with atomic_write(paths[1]) as file:
            picture.savefig(file, format="png", bbox_inches="tight")
    return paths
