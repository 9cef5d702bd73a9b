"""Find NVIDIA's GPU, and say why TensorFlow 1.15 will not use it. Python >= 3.6.

engine/run/gpus.py asks nvidia-smi, too: this runs before there is an environment to import it in.
"""

import ctypes
import platform
import re
import sys
from typing import Tuple

from environment import run
from find_python import X86_64

NOT_USED = """\
{name} will not be used: {reason}. What uses it:
  RUNTIME=tf2 make train          TensorFlow 2.x, the same source
  RUNTIME=installed make train    a TensorFlow 1.15 that is there, as in NVIDIA's container
                                  nvcr.io/nvidia/tensorflow:23.03-tf1-py3
On the CPU all works; trainer.gpus=none says that this is meant."""


def find_gpu() -> Tuple[str, float]:
    """Return its name, and its compute capability or 0 if an old driver does not tell it.

    The name is empty where there is none, or no CUDA for this system.
    """
    if not sys.platform.startswith("linux") or platform.machine().lower() not in X86_64:
        return "", 0.0
    for fields in ("name,compute_cap", "name"):
        query = ["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader"]
        code, text = run(query, timeout=30)
        found = re.match(r"(.+?)(?:, ([\d.]+))?$", text.strip(), re.MULTILINE)
        if code == 0 and found:
            return found.group(1), float(found.group(2) or 0)
    return "", 0.0


def why_not_tf1(name: str, capability: float) -> str:
    """Return what to say to somebody who installs TensorFlow 1.15 beside a GPU."""
    reason = "requirements/tf1.txt has the TensorFlow for processors, tensorflow-gpu has CUDA"
    if capability >= 8:
        reason = f"its compute capability is {capability}, TensorFlow 1.15 knows those below 8.0"
    else:
        for library in ("libcudart.so.10.0", "libcudnn.so.7"):
            try:
                ctypes.CDLL(library)
            except OSError:
                reason = f"TensorFlow 1.15 needs CUDA 10.0, cuDNN 7: {library} cannot be loaded"
                break
    return NOT_USED.format(name=name, reason=reason)
