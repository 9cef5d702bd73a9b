"""What a run says at its start: the model's variables, the device, the steps, what is between."""

from __future__ import annotations

import logging

from ...data.dataset import Dataset
from ...model.model import Model
from ..run.devices import describe_device
from .settings import TrainerSettings

logger = logging.getLogger(__name__)

MOST_SHOWN = 20  # variables in the log


def log_variables(model: Model) -> None:
    """Logs how many weights a model has, and each variable's shape: of many, the largest."""
    trained = {variable.op.name for variable in model.trainable_variables}
    shapes = {variable.op.name: variable.shape for variable in model.variables}
    sizes = {name: shape.num_elements() or 0 for name, shape in shapes.items()}  # 0: unknown
    largest = sorted(sizes, key=lambda name: -sizes[name])[:MOST_SHOWN]
    rows = [
        (name, str(shapes[name]), f"{size:,}", "" if name in trained else "not trained")
        for name, size in sizes.items()
        if name in largest
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    count = sum(size for name, size in sizes.items() if name in trained)
    lines = [f"{model.name}: {sum(sizes.values()):,} weights, {count:,} of them trained"]
    lines += [f"  {a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    if len(sizes) > len(rows):
        lines.append(f"  and {len(sizes) - len(rows)} smaller variables")
    logger.info("%s", "\n".join(map(str.rstrip, lines)))


def log_plan(settings: TrainerSettings, dataset: Dataset, step: int, last_step: int) -> None:
    """Logs the steps that follow `step`, on what, and what happens how often between them."""
    if step >= last_step:  # there is only an evaluation left
        return
    text = f"steps {step + 1} to {last_step}"
    split = dataset.training_split
    if not dataset.overrides("batches") and dataset.in_memory(split):  # else it may take long
        epoch = settings.limit_batches or dataset.steps_per_epoch(split)
        text += f" ({(last_step - step) / epoch:,.1f} epochs of {epoch})"
    text += f" on {describe_device(settings.session_config, len(settings.replica_devices()))}"
    for name in ("evaluate", "checkpoint", "summary", "log") if settings.alone else ("log",):
        every = settings.every(name)
        often = [f"{n} {unit}" for n, unit in zip(every.values(), ("steps", "s")) if n]
        text += f"; {name} every {' or '.join(often)}" if often else ""
    logger.info("%s", text)
