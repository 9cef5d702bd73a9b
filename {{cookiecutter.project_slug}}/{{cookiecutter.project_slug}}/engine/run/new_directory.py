"""Directories below `runs/`, named by their time."""

from __future__ import annotations

import datetime
import os

from ..errors import RunError


def new_directory(name: str) -> str:
    """Creates `runs/<time>_<name>`, with a number behind it if that is taken."""
    stem = os.path.join("runs", f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}_{name}")
    path, number = stem, 1
    while True:
        try:
            os.makedirs("runs", exist_ok=True)
            os.mkdir(path)  # fails if another run has just made it
            return path
        except FileExistsError:
            number += 1
            path = f"{stem}_{number}"
        except OSError as error:
            raise RunError(f"{path}: cannot be created ({error.strerror}); set run_dir") from None
