"""Predicts from files.

    python -m <package>.predict run_dir=runs/x photo.png           JSON lines on the console
    python -m <package>.predict run_dir=runs/x photos/ file=predictions.csv
    python -m <package>.predict run_dir=runs/x checkpoint=best new.csv file=predictions.jsonl

Images become what the model was trained on, by the dataset's from_file. (MNIST's digits are white
on black.) Other files are read as the dataset reads its own, labels included; the data of training
need not be there. An image that cannot be read is named at the end, all others are predicted, and
the exit code is 1. The settings are in conf/commands.yaml.
Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import os
import sys

from .engine.settings.config import load_config
from .engine.tools.command import run_command


def predict(arguments: list[str]) -> int:
    """Writes what the model predicts, batch by batch; returns the exit code."""
    paths = [text for text in arguments if "=" not in text or os.path.exists(text)]
    config = load_config([text for text in arguments if text not in paths], "predict")
    # Not above: an error in the settings need not wait for TensorFlow.
    from .engine.input.predict_files import PredictFiles
    from .engine.tools.predictions import write_predictions
    from .engine.tools.restored import Restored

    restored = Restored(config, config.checkpoint)
    files = PredictFiles(restored.dataset, paths)
    unread = write_predictions(restored, files, config.file)
    for path in unread:
        print(f"error: {path}: {files.problem}", file=sys.stderr)
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(run_command(predict, __doc__))
