"""Draws examples as a model sees them, and describes a dataset.

    python -m <package>.show data=digits             64 training examples, in show.png
    python -m <package>.show data=digits split=test examples=25 file=test.png
    python -m <package>.show run_dir=runs/x          the data of a run

Training examples are shown augmented. The settings are in conf/commands.yaml, next to those of
training. Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import sys

from .engine.errors import ConfigError
from .engine.settings.config import instantiate, load_config
from .engine.tools.command import run_command


def show(arguments: list[str]) -> int:
    """Writes the picture and prints the summary; returns the exit code."""
    config = load_config(arguments, "show")
    # Not above: an error in the settings need not wait for TensorFlow.
    from .engine.input.bad_records import locate_bad_record
    from .engine.input.sizes import summary
    from .engine.input.source import splits_of
    from .engine.run.devices import session_config, set_up_devices
    from .engine.run.files import check_target
    from .engine.tools.contact_sheet import contact_sheet, write_picture

    set_up_devices(session_config(gpus="none"))  # a run on the GPU keeps all of it
    dataset = instantiate(config.data)
    split = config.split or dataset.training_split
    if split not in splits_of(dataset) or config.examples < 1:
        raise ConfigError(
            f"found split={split}, examples={config.examples}; expected one of "
            f"{', '.join(splits_of(dataset))}, and 1 or more"
        )
    dataset.prepare()
    check_target(config.file, dataset, ".png")
    with locate_bad_record(dataset, split):
        write_picture(contact_sheet(dataset, split, config.examples), config.file)
        print(f"{split}: {config.file}")
        print(summary(dataset))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(show, __doc__))
