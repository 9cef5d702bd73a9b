"""What `BestHook` keeps: the checkpoint of the best evaluation, named by `best.json`."""

from __future__ import annotations

import json
import os
from typing import Any


def read_best(directory: str) -> dict[str, Any]:
    """What `best.json` says, with the path of the checkpoint; empty if there is none."""
    try:
        with open(os.path.join(directory, "best.json"), encoding="utf-8") as file:
            best = json.load(file)
        best["checkpoint"] = os.path.join(directory, best["checkpoint"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return best if os.path.exists(f"{best['checkpoint']}.index") else {}
