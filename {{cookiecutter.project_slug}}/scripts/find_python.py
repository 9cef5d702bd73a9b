"""Find an interpreter of a given version by running every candidate and asking it.

A file of the right name proves nothing: a pyenv shim fails unless its version is switched on, and
Debian ships Pythons that cannot make environments. Standard library only, Python >= 3.6.
"""

import glob
import json
import os
import subprocess
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

WINDOWS = os.name == "nt"
X86_64 = ("x86_64", "amd64")  # Linux' and macOS' name, Windows' name
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


class Python(NamedTuple):
    """An interpreter that answered and fits."""

    command: List[str]
    version: str


def run(command: List[str], timeout: Optional[float] = None) -> Tuple[int, str]:
    """Run a command quietly; return its exit code and all it printed."""
    # A file, not a pipe: reading a pipe that a grandchild keeps open would outlast the time-out.
    with tempfile.TemporaryFile() as file:
        files: Dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
        try:  # close_fds=False: children inherit the lock of install.py
            code = subprocess.call(command, timeout=timeout, close_fds=False, **files)
        except subprocess.TimeoutExpired:
            return 1, f"no answer within {timeout:.0f} s"
        except OSError as error:
            return 1, f"{command[0]}: {error.strerror}"
        file.seek(0)
        return code, file.read().decode("utf-8", "replace")


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
        return None, f"does not run (exit code {code})"
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


def search(versions: List[str], avoid: str, *first: str) -> Tuple[Optional[Python], str]:
    """Return the first Python that fits and "", else None and what was tried.

    versions: the minor versions that will do, the best first.
    avoid: a folder whose interpreters are about to be deleted.
    first: interpreters to ask before all others.
    """
    tried: Dict[str, str] = {}
    avoid = os.path.join(os.path.realpath(avoid), "")
    commands = [[path] for path in first] + [c for v in versions for c in candidates(v)]
    for command in commands:
        folder, name = os.path.split(command[0])
        path = os.path.join(os.path.realpath(folder), name) if folder else name
        if path in tried or path.startswith(avoid):
            continue
        python, tried[path] = inspect(command, versions)
        if python:
            return python, ""
    return None, "; ".join(f"{path} {flaw}" for path, flaw in tried.items()) or "nothing to try"
