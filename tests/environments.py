"""One Python environment per TensorFlow, made once and shared by every baked project."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "{{cookiecutter.project_slug}}"
CACHE = ROOT / ".cache" / "envs"

# Each has tests; EXTRAS names their files in requirements/.
EXTRAS = ("slurm", "wandb", "mlflow", "optuna")

RUNTIMES = {"tf1": "TensorFlow 1.15", "tf2": "TensorFlow 2.x"}


class Unavailable(Exception):
    """No Python for a runtime can be had on this machine; the message is scripts/install.py's."""


def make_environment(runtime: str) -> Path:
    """Sets an environment up by the emitted scripts/install.py and returns its Python.

    Quick when it is there: its name holds a key that follows from what it is made of. Those of
    other keys are removed when no test has used them for an hour.
    Raises Unavailable where install.py exits with 2, RuntimeError where it fails otherwise.
    """
    install = SOURCE / "scripts" / "install.py"
    requirements = SOURCE / "requirements" / f"{runtime}.txt"
    extras = [requirements.with_name(f"{name}.txt") for name in EXTRAS]
    scripts = [one for one in sorted(install.parent.glob("*.py")) if one.name != "update.py"]
    parts = [*scripts, requirements, *extras]
    key = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:12]
    environment = CACHE / f"{runtime}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, install, "--runtime", runtime, "--venv", environment]
    command += ["--extras", ",".join(EXTRAS)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        shown = ""
        for line in process.stderr:
            print(line, end="", flush=True)  # a new environment takes minutes
            shown += line
    if process.returncode == 2:
        raise Unavailable(shown.rpartition("install.py: ")[2].strip())
    if process.returncode != 0:
        raise RuntimeError(f"{install} exited with {process.returncode}:\n{shown}")
    os.utime(environment)
    for other in CACHE.glob(f"{runtime}-*"):
        if other.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(other, ignore_errors=True)
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
