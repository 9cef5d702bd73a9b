"""Evaluates trained models, exactly as while training.

    python -m <package>.evaluate run_dir=runs/x                       its newest checkpoint
    python -m <package>.evaluate run_dir=runs/x checkpoint=best split=train
    python -m <package>.evaluate runs/x runs/y                        several, side by side

Prints a table and writes it as JSON, with a picture beside it: a classifier's confusion matrix,
or the curves of several runs. Data and model are the run's own; further settings are in
conf/evaluate.yaml. Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Sequence

from omegaconf import DictConfig, OmegaConf

from .engine.errors import ConfigError
from .engine.interrupts import held
from .engine.settings.config import load_config
from .engine.tools.command import run_command
from .engine.tools.flat import flat

if TYPE_CHECKING:
    from .engine.tools.restored import Restored


def evaluate(arguments: list[str]) -> int:
    """Evaluates one run or several, prints and writes the numbers; returns the exit code."""
    typed = [
        f"run_dir={text}" if "=" not in text or os.path.isdir(text) else text for text in arguments
    ]
    runs = [text for text in typed if text.startswith("run_dir=")] or ["run_dir="]
    others = [text for text in typed if text not in runs]
    configs = [load_config([*others, run], "evaluate") for run in runs]
    # Not above: a mistake in the settings need not wait for TensorFlow.
    from .engine.run.files import atomic_write
    from .engine.tools.confusion import confusion_picture
    from .engine.tools.curves import curves
    from .engine.tools.restored import Restored

    # All checkpoints are found before the first evaluation, which may be long.
    rows = [evaluate_run(each) for each in [Restored(c, c.checkpoint) for c in configs]]
    first, picture = rows[0], None
    name = f"{first['split']}-{first['step']}"
    if len(rows) > 1:
        name, picture = f"{first['split']}-compared", curves([config.run_dir for config in configs])
        for row, settings in zip(rows, different_settings(configs)):
            row.update(settings)
    elif "confusion" in first:
        picture = confusion_picture(first["confusion"])
    print(table(rows, hidden=("split", "checkpoint", "confusion")))
    path = configs[0].file or os.path.join(first["run"], "evaluation", f"{name}.json")
    with atomic_write(path) as file:
        file.write(json.dumps(rows if len(rows) > 1 else first).encode() + b"\n")
    print(path)
    if picture:
        path = f"{os.path.splitext(path)[0]}.png"
        with atomic_write(path) as file:
            picture.savefig(file, format="png", bbox_inches="tight")
        print(path)
    return 0


def evaluate_run(restored: Restored) -> dict[str, Any]:
    """The means over a split, and for a classifier its confusion matrix as a list of rows."""
    from .engine.input.bad_records import locate_bad_record
    from .engine.loop.evaluation import Evaluation
    from .engine.tools.confusion import Confusion

    config, dataset, model = restored.config, restored.dataset, restored.model
    split = config.split or dataset.evaluation_split
    if split not in dataset.splits:
        raise ConfigError(f"split={split}: expected one of {', '.join(dataset.splits)}")
    dataset.prepare()
    with restored.graph(), locate_bad_record(dataset):
        with held():
            evaluation = Evaluation(model, dataset, split)
            confusion = Confusion(model, evaluation)
        with restored.session() as session:
            means = evaluation.run(session, fetches=confusion.pairs, seen=confusion.add)
    row = {"run": config.run_dir, "step": restored.step, "split": split, **means}
    row["checkpoint"] = restored.checkpoint
    matrix = confusion.matrix()
    return {**row, "confusion": matrix} if matrix else row


def different_settings(configs: Sequence[DictConfig]) -> list[dict[str, Any]]:
    """Of each run the settings that are not the same in all of them."""
    settings = [flat(OmegaConf.to_container(config, resolve=True)) for config in configs]
    keys = [key for each in settings for key in each if not key.endswith("run_dir")]
    keys = [key for key in keys if len({str(each.get(key, "")) for each in settings}) > 1]
    return [{key: each.get(key, "") for key in keys} for each in settings]


def table(rows: Sequence[dict[str, Any]], hidden: Sequence[str] = ()) -> str:
    """Lines of text, one for each row; the columns are the keys, but for those hidden."""
    names = dict.fromkeys(name for row in rows for name in row if name not in hidden)
    lines = [list(names)]
    for row in rows:
        values = [row.get(name, "") for name in names]
        lines.append([f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )


if __name__ == "__main__":
    sys.exit(run_command(evaluate, __doc__))
