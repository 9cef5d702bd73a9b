"""What `evaluate` finds and writes."""

from __future__ import annotations

import json
import logging
import os
from typing import Any, Sequence

import numpy as np

from ..graph.contract import predictions_of
from ..input.bad_records import locate_bad_record
from ..loop.evaluation import Evaluation
from ..run.files import atomic_write, check_target
from ..run.metrics import read_metrics
from .compare import difference, tolerance
from .contact_sheet import write_picture
from .plots import confusion_matrix, confusion_picture, curves, labels_and_classes
from .restored import Restored

logger = logging.getLogger(__name__)


def evaluate_run(restored: Restored, split: str = "") -> dict[str, Any]:
    """The means over a split, and for a classifier its confusion matrix as a list of rows."""
    split = restored.prepare(split)
    path = getattr(restored.config, "file", "")
    check_target(path, restored.dataset, ".json")
    check_target(picture_of(path), restored.dataset, ".png")
    pairs: list[Any] = []
    with restored.graph(), locate_bad_record(restored.dataset, split):
        evaluation = Evaluation(restored.model, restored.dataset, split)
        predictions = predictions_of(restored.model, evaluation.outputs)
        tensors = labels_and_classes(evaluation.labels, predictions)
        with restored.session() as session:
            means = evaluation.run(session, fetches=tensors, seen=pairs.append)
    compare_with_training(restored, split, means)
    row = {"run": restored.config.run_dir, "step": restored.step, "split": split, **means}
    row["checkpoint"] = restored.checkpoint
    matrix = confusion_matrix(*np.concatenate(pairs, axis=1)) if tensors else None
    if matrix is None:
        return row
    names = {"class_names": restored.class_names} if restored.class_names else {}
    return {**row, **names, "confusion": matrix.tolist()}


def compare_with_training(restored: Restored, split: str, means: dict[str, float]) -> None:
    """Logs how far the means are from those of the evaluation while training, if there was one."""
    lines = read_metrics(os.path.join(restored.config.run_dir, "metrics.jsonl"), split)
    then = next((line for line in lines[::-1] if line["step"] == restored.step), {})
    pairs = {name: (means[name], then[name]) for name in means if then.get(name) is not None}
    if not pairs or restored.config.trainer.limit_batches:  # which holds while training alone
        return
    apart = {name: difference(*map(np.float64, pair)) for name, pair in pairs.items()}
    worst = max(apart, key=apart.__getitem__)
    if apart[worst] <= tolerance(restored.session_config, np.dtype(np.float64)):
        text = "%s: as while training; the largest difference is %.1e, of %s"
        logger.info(text, restored.config.run_dir, apart[worst], worst)
    else:
        text = "%s: %s was %.6g while training, is %.6g; code, data or settings may have changed"
        logger.warning(text, restored.config.run_dir, worst, *pairs[worst][::-1])


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
        paths.append(picture_of(paths[0]))
        write_picture(picture, paths[1])
    return paths


def picture_of(path: str) -> str:
    """The picture next to a JSON file."""
    return f"{os.path.splitext(path)[0]}.png"
