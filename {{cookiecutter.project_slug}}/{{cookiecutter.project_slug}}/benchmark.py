"""Says what limits the speed of training, the input or the model, and which setting to change.

    python -m <package>.benchmark                              MNIST, the MLP
    python -m <package>.benchmark data=digits model.hidden=64  other choices and values
    python -m <package>.benchmark run_dir=runs/x file=speed.json

Measured are the input alone, the model alone (on a constant batch), training itself, and training
with other settings, one by one. Nothing is kept of it but `file`. The settings are in
conf/benchmark.yaml, with those of training. Exit codes: 0 done, 1 failed, 2 bad setting.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from omegaconf import DictConfig

from .engine.errors import ConfigError, UserError
from .engine.settings.config import instantiate, load_config
from .engine.tools.command import run_command

WORTH = 1.1  # times as fast: what differs by less may be chance


def benchmark(arguments: list[str]) -> int:
    """Measures, prints a table and what follows from it; returns the exit code."""
    config = load_config(arguments, "benchmark")
    if config.seconds <= 0:
        raise ConfigError(f"seconds={config.seconds}: expected more than 0")
    # Not above: a mistake in the settings need not wait for TensorFlow.
    from .engine.input.summary import reading_mode
    from .engine.run.devices import start_threads
    from .engine.run.files import atomic_write
    from .engine.tools.speed import measure

    start_threads(instantiate(config.trainer).session_config)
    dataset = instantiate(config.data)
    dataset.prepare()
    print(reading_mode(dataset, dataset.training_split))
    print(f"{'examples/s':>52} {'first batch':>12}")
    speeds = {}

    def run(name: str, config: DictConfig) -> None:
        trainer, dataset = instantiate(config.trainer), instantiate(config.data)
        dataset.prepare()
        model = None if name == "input alone" else instantiate(config.model)
        constant = name == "model alone"
        speed = speeds[name] = measure(trainer, dataset, model, config.seconds, constant)
        rate, secs = speed["examples_per_sec"], speed["first_batch_secs"]
        print(f"{name:40} {rate:11,.0f} {secs:10.2f} s", flush=True)

    for name in ("input alone", "model alone", "training"):
        run(name, config)
    changes = ["data.parallel_calls=1", f"data.parallel_calls={os.cpu_count()}"]
    changes.append(f"data.batch_size={2 * dataset.batch_size}")
    if not dataset.in_memory(dataset.training_split):
        changes.append("data.memory_fraction=0.5")
    for change in changes:
        try:
            changed = load_config([*arguments, change], "benchmark")
            if changed != config:
                run(f"training, {change}", changed)
        except UserError:  # these data have no such setting, or no batch of twice the size
            continue
    advice = advise({name: speed["examples_per_sec"] for name, speed in speeds.items()})
    print(f"The {advice['bottleneck']} is the bottleneck: {advice['advice']}.")
    if config.file:
        with atomic_write(config.file) as file:
            file.write(json.dumps({**advice, "speeds": speeds}, indent=2).encode() + b"\n")
    return 0


def advise(rates: dict[str, float]) -> dict[str, str]:
    """What limits training, and the change that was measured to help most.

    Args:
        rates: examples per second of "input alone", "model alone", "training" and
            "training, <change>".
    """
    slower = min(("input", "model"), key=lambda part: rates[f"{part} alone"])
    before = rates["training"]
    advice = f"training reaches {before / rates[f'{slower} alone']:.0%} of its speed alone; "
    best = max((name for name in rates if "alone" not in name), key=rates.__getitem__)
    if rates[best] < WORTH * before:
        advice += "none of the settings tried makes it faster"
    else:
        advice += f"with {best.split()[1]} it is {rates[best] / before:.2f} times as fast"
    return {"bottleneck": slower, "advice": advice}


if __name__ == "__main__":
    logging.getLogger(__package__).setLevel(logging.WARNING)  # the table tells
    sys.exit(run_command(benchmark, __doc__))
