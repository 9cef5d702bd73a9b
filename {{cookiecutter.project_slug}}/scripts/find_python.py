"""Find a Python by running every candidate and asking it, or fetch one. Python >= 3.6.

A file of the right name proves nothing: a pyenv shim fails unless its version is switched on, and
Debian has Pythons that cannot make environments.
"""

import glob
import json
import os
import platform
import sys
import tempfile
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from environment import WINDOWS, Stop, interpreter, make_venv, must, pip_install, run, say

PYTHONS = {"tf1": ["3.7"], "tf2": ["3.13", "3.12", "3.11", "3.10"]}
X86_64 = ("x86_64", "amd64")  # as Linux and macOS say, as Windows says
PROBE = """
import json, platform, sys
try:
    import ensurepip, venv
except ImportError:
    ensurepip = None
kind, version = platform.python_implementation(), platform.python_version()
machine = platform.machine().lower() if sys.maxsize > 2**32 else "32 bits"
print(json.dumps([kind, version, machine, ensurepip is not None]))
"""
NO_PYTHON37 = """\
No Python 3.7 was found ({tried}), and none could be fetched ({problem}).
TensorFlow 1.15 needs exactly 3.7. Do one of these in the project's folder:
  pyenv    pyenv install 3.7.17    # then repeat your command: it is found by itself
  conda    conda create --yes --name py37 --channel conda-forge python=3.7
           conda run --name py37 python scripts/install.py    # then repeat your command
  Docker   docker run --rm -it --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD":/project \\
             -w /project python:3.7-bullseye make train
  other    PYTHON37=/path/to/python3.7 make train
or run the same project on TensorFlow 2.x, with Python 3.10 to 3.13:
           RUNTIME=tf2 make train"""


class Python(NamedTuple):
    """An interpreter that answered and fits."""

    command: List[str]
    version: str


def inspect(command: List[str], versions: List[str]) -> Tuple[Optional[Python], str]:
    """Ask an interpreter what it is.

    versions: the minor versions that will do, as in ["3.7"].
    Returns it and "" if it is a 64-bit CPython of these that can make environments (for 3.7, also
    an x86-64 one: TensorFlow 1.15 has no other builds), else None and what is wrong with it.
    """
    code, text = run([*command, "-I", "-c", PROBE], timeout=20)
    try:
        kind, version, machine, complete = json.loads(text.splitlines()[-1])
    except (IndexError, TypeError, ValueError):
        return None, f"does not run ({text.splitlines()[0] if text else f'exit code {code}'})"
    minor = ".".join(version.split(".")[:2])
    machine_fits = machine in X86_64 or (minor != "3.7" and machine != "32 bits")
    if kind != "CPython" or minor not in versions or not machine_fits:
        return None, f"is {kind} {version} for {machine}"
    if not complete:
        return None, f"lacks venv or ensurepip (Debian, Ubuntu: apt install python{minor}-venv)"
    return Python(command, version), ""


def candidates(version: str) -> Iterator[List[str]]:
    """Commands that may start this version: on PATH, in pyenv, in uv, by Windows' launcher."""
    home, folders = os.path.expanduser("~"), os.get_exec_path()
    program = "python.exe" if WINDOWS else f"bin/python{version}"
    # The parent folder of a shim on PATH is its pyenv.
    pyenvs = [os.path.dirname(folder.rstrip("/\\")) for folder in folders]
    pyenvs += [os.environ.get("PYENV_ROOT", ""), f"{home}/.pyenv", f"{home}/.pyenv/pyenv-win"]
    data = os.environ.get("APPDATA" if WINDOWS else "XDG_DATA_HOME") or f"{home}/.local/share"
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR") or f"{data}/uv/python"
    places = [(folder, f"python{version}{'.exe' * WINDOWS}") for folder in folders]
    places += [(root, f"versions/{version}*/{program}") for root in pyenvs]
    places += [(uv, f"cpython-{version}*/{program}")]
    for root, pattern in places:
        for path in sorted(glob.glob(os.path.join(glob.escape(root), pattern)), reverse=True):
            yield [path]
    if WINDOWS:
        yield ["py", f"-{version}"]


def search(versions: List[str], avoid: str, first: List[str]) -> Tuple[Optional[Python], str]:
    """Return the first Python that fits and "", else None and what was tried.

    versions: the minor versions that will do, the best first.
    avoid: a folder whose interpreters are about to be deleted.
    first: interpreters to ask before all others.
    """
    tried: Dict[str, str] = {}
    avoid = os.path.join(os.path.realpath(avoid), "")
    for command in [[path] for path in first] + [c for v in versions for c in candidates(v)]:
        folder, name = os.path.split(command[0])
        path = os.path.join(os.path.realpath(folder), name)
        if path in tried or path.startswith(avoid):
            continue
        python, tried[path] = inspect(command, versions)
        if python:
            return python, ""
    return None, "; ".join(f"{path} {flaw}" for path, flaw in tried.items()) or "nothing to try"


def fetch_python37() -> None:
    """Install a Python 3.7 into uv's own folder: all projects share it, and the search sees it."""
    say("No Python 3.7 here: fetching one with uv (under 100 MB, for all your projects).")
    with tempfile.TemporaryDirectory() as scratch:
        make_venv([sys.executable], scratch)
        # Later versions no longer list 3.7. A program, not a module: any Python unpacks it.
        options = ["--only-binary", ":all:", "--ignore-requires-python", "--retries", "1"]
        pip_install(scratch, [*options, "--timeout", "10", "uv==0.6.17"], timeout=120)
        uv = os.path.join(os.path.dirname(interpreter(scratch)), "uv")
        must([uv, "--no-cache", "python", "install", "3.7"], "uv python install 3.7", timeout=600)


def choose_python(runtime: str, avoid: str, last: str) -> Python:
    """Return $PYTHON37, or else a Python that was found, or else one that was fetched.

    last: the interpreter used last time, asked before others.
    Raises Stop with exit code 2 if there is none.
    """
    versions, named = PYTHONS[runtime], os.environ.get("PYTHON37")
    if runtime == "tf1" and named:
        python, flaw = inspect([os.path.expanduser(named)], versions)
        if not python:
            raise Stop(2, f"PYTHON37={named} {flaw}: name a CPython 3.7 for x86-64, or unset it.")
        return python
    python, tried = search(versions, avoid, [last, sys.executable])
    if python:
        return python
    if runtime == "tf2":
        hint = "install one (such as: pyenv install 3.12) and repeat the command"
        raise Stop(2, f"TensorFlow 2.x needs Python 3.10 to 3.13: {hint}. Tried: {tried}.")
    if platform.machine().lower() not in X86_64:
        hint = "RUNTIME=tf2 runs the same project on TensorFlow 2.x"
        raise Stop(2, f"TensorFlow 1.15 has no build for {platform.machine()}: {hint}.")
    try:
        fetch_python37()
        python, problem = search(versions, avoid, [])
    except Stop as stop:
        problem = stop.args[1]
    if not python:
        raise Stop(2, NO_PYTHON37.format(tried=tried, problem=problem))
    return python
