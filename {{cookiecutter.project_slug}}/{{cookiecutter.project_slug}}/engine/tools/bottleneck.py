"""What limits the speed of training, and which setting helps."""

from __future__ import annotations

import contextlib
import os
from typing import Sequence

from omegaconf import DictConfig

from ..errors import UserError
from ..input.summary import reading_mode
from ..run.devices import start_threads
from ..settings.config import instantiate, load_config
from .speed import measure

WORTH = 1.1  # times as fast: smaller differences may be chance


def measure_all(arguments: Sequence[str], config: DictConfig) -> dict[str, dict[str, float]]:
    """Measures input, model, training, and training with other settings; prints a line for each.

    Args:
        arguments: the words of the command line.
        config: the settings that these give.

    Returns:
        Name -> speed, see `measure`.
    """
    start_threads(instantiate(config.trainer).session_config)
    dataset = instantiate(config.data)
    dataset.prepare()
    print(reading_mode(dataset, dataset.training_split))
    print(f"{'examples/s':>52} {'first batch':>12}")
    speeds = {name: _measure(name, config) for name in ("input alone", "model alone", "training")}
    changes = ["data.parallel_calls=1", f"data.parallel_calls={os.cpu_count()}"]
    changes.append(f"data.batch_size={2 * dataset.batch_size}")
    if not dataset.in_memory(dataset.training_split):
        changes.append("data.memory_fraction=0.5")
    for change in changes:
        # These data may have no such setting, or no batch of twice the size.
        with contextlib.suppress(UserError):
            changed = load_config([*arguments, change], "benchmark")
            if changed != config:
                name = f"training, {change}"
                speeds[name] = _measure(name, changed)
    return speeds


def _measure(name: str, config: DictConfig) -> dict[str, float]:
    trainer, dataset = instantiate(config.trainer), instantiate(config.data)
    dataset.prepare()
    speed = measure(
        trainer=trainer,
        dataset=dataset,
        model=None if name == "input alone" else instantiate(config.model),
        secs=config.seconds,
        constant=name == "model alone",
    )
    rate, secs = speed["examples_per_sec"], speed["first_batch_secs"]
    print(f"{name:40} {rate:11,.0f} {secs:10.2f} s", flush=True)
    return speed


def advise(rates: dict[str, float]) -> dict[str, str]:
    """What limits training, and the change that helped most when it was measured.

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
