"""Writes a trained model as a SavedModel, which needs none of this code.

    python -m <package>.export run_dir=runs/x                      runs/x/export/<step>
    python -m <package>.export run_dir=runs/x checkpoint=best directory=served/digits/1

Its signature serving_default takes a batch of features and gives what the model's `predict`
returns. It is loaded again and compared with the checkpoint before it gets its name. The settings
are in conf/commands.yaml. Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import os
import sys

from .engine.errors import ConfigError
from .engine.settings.config import load_config
from .engine.tools.command import run_command


def export(arguments: list[str]) -> int:
    """Writes the SavedModel and says what it takes and gives; returns the exit code."""
    config = load_config(arguments, "export")
    # Not above: an error in the settings need not wait for TensorFlow.
    from .engine.tools.restored import Restored
    from .engine.tools.saved_model import write_saved_model

    restored = Restored(config, config.checkpoint)
    default = os.path.join(config.run_dir, "export", str(restored.step))
    directory = os.path.normpath(config.directory or default)  # without a trailing slash
    if os.path.exists(directory):
        raise ConfigError(f"{directory}: exists; remove it, or set directory to another path")
    restored.dataset.prepare()
    print(f"{directory}: {write_saved_model(restored, directory)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(export, __doc__))
