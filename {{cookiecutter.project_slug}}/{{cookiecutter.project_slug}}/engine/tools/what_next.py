"""The end of training on the command line: where the run is, and the commands to go on with."""

from __future__ import annotations

import os
import shlex
import sys

from ..run.checkpoints import newest_checkpoint, read_best
from ..run.run import Run
from ..settings.targets import PACKAGE


def what_next(directory: str, last_step: int) -> str:
    """A run's best evaluation, commands that can be typed as they are, and last its directory.

    Empty where there is none, as after an error.
    """
    if not os.path.isdir(directory):
        return ""
    run = Run(directory)
    best, step = read_best(run.best), newest_checkpoint(run.checkpoints, read=False)[1]
    lines = []
    if best:
        lines.append(f"best {best['metric']}: {best['value']:.4f} at step {best['step']}")
    if step and os.path.exists(run.config):
        here = os.path.join(os.getcwd(), "")
        python = sys.executable
        python = python[len(here) :] if python.startswith(here) else python
        more = f"trainer.last_step={2 * step}" if step >= last_step else ""
        for name, setting in (("evaluate", "checkpoint=best" if best else ""), ("train", more)):
            words = [python, "-m", f"{PACKAGE}.{name}", f"run_dir={directory}", setting]
            lines.append(f"to {name} it: {' '.join(map(shlex.quote, filter(None, words)))}")
    return "\n".join([*lines, f"run directory: {directory}", ""])
