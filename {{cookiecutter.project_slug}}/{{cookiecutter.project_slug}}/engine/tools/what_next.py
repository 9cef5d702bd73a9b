"""The end of training on the command line: where the run is, and the commands to go on with."""

from __future__ import annotations

import os
import subprocess
import sys
from shlex import quote

from ...train.trainer import SessionTrainer
from ..run.checkpoints import newest_checkpoint, read_best
from ..run.run import Run
from ..settings.targets import PACKAGE


def what_next(trainer: SessionTrainer) -> str:
    """A run's best evaluation, commands that can be typed as they are, and last its directory.

    Empty where there is none, as after an error.
    """
    directory = trainer.directory
    if not os.path.isdir(directory):
        return ""
    run = Run(directory)
    best, step = read_best(run.best), newest_checkpoint(run.checkpoints, read=False)[1]
    lines = []
    if best:
        lines.append(f"best {best['metric']}: {best['value']:.4f} at step {best['step']}")
    if step and os.path.exists(run.config) and trainer.alone:
        here = os.path.join(os.getcwd(), "")
        python = sys.executable
        python = python[len(here) :] if python.startswith(here) else python
        more = f"trainer.last_step={2 * step}" if step >= trainer.last_step else ""
        more = f"trainer.last_epoch={2 * trainer.last_epoch}" if trainer.last_epoch else more
        quoted = subprocess.list2cmdline if os.name == "nt" else lambda x: " ".join(map(quote, x))
        for name, setting in (("evaluate", "checkpoint=best" if best else ""), ("train", more)):
            words = [python, "-m", f"{PACKAGE}.{name}", f"run_dir={directory}", setting]
            lines.append(f"to {name} it: {quoted([*filter(None, words)])}")
    return "\n".join([*lines, f"run directory: {directory}", ""])
