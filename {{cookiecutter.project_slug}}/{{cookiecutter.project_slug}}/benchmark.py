"""Says what limits the speed of training, the input or the model, and which setting to change.

    python -m <package>.benchmark                              MNIST, the MLP
    python -m <package>.benchmark data=digits model.hidden=64  other choices and values
    python -m <package>.benchmark run_dir=runs/x file=speed.json

Measures the input alone, the model alone (on a constant batch), training itself, and training
with other settings, one by one. Only `file` is kept. The settings are in conf/commands.yaml, next
to those of training. Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import json
import logging
import sys

from .engine.errors import ConfigError
from .engine.settings.config import load_config
from .engine.tools.command import run_command


def benchmark(arguments: list[str]) -> int:
    """Prints a table of speeds and what follows from it; returns the exit code."""
    config = load_config(arguments, "benchmark")
    if config.seconds <= 0:
        raise ConfigError(f"seconds={config.seconds}: expected more than 0")
    # Not above: an error in the settings need not wait for TensorFlow.
    from .engine.run.files import atomic_write
    from .engine.tools.speed import advise, measure_all

    speeds = measure_all(arguments, config)
    advice = advise({name: speed["examples_per_sec"] for name, speed in speeds.items()})
    print(f"The {advice['bottleneck']} is the bottleneck: {advice['advice']}.")
    if config.file:
        with atomic_write(config.file) as file:
            file.write(json.dumps({**advice, "speeds": speeds}, indent=2).encode() + b"\n")
    return 0


if __name__ == "__main__":
    logging.getLogger(__package__).setLevel(logging.WARNING)  # the table tells
    sys.exit(run_command(benchmark, __doc__))
