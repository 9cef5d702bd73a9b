"""Make the project's environment: find a fitting Python, install the frozen requirements.

    python scripts/install.py [--runtime tf1|tf2] [--venv PATH]

Any Python >= 3.6 runs this file, without further packages. When nothing changed it returns at
once; what an interrupted run left behind, the next run makes anew.
Exit codes: 0 ready, 1 the installation failed, 2 bad input or no fitting Python, 130 Ctrl-C.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from typing import Any, Dict, List, Optional

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # absent under PYTHONSAFEPATH
from find_python import WINDOWS, X86_64, Python, inspect, run, search

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHONS = {"tf1": ["3.7"], "tf2": ["3.13", "3.12", "3.11", "3.10"]}
DOWNLOAD_MB = {"tf1": 150, "tf2": 700}
CONFIG, MARK = "pyvenv.cfg", ".complete"  # every environment has the one, a finished one both
NO_PYTHON37 = """\
No Python 3.7 was found ({tried}), and none could be fetched ({problem}).
TensorFlow 1.15 needs exactly 3.7, on x86-64. Do one of these in the project's folder:
  pyenv    pyenv install 3.7.17    # then repeat your command: it is found by itself
  conda    conda create --yes --name py37 --channel conda-forge python=3.7
           conda run --name py37 python scripts/install.py    # then repeat your command
  Docker   docker run --rm -it --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD":/project \\
             -w /project python:3.7-bullseye make train
  other    PYTHON37=/path/to/python3.7 make train
or run the same project on TensorFlow 2.x, with Python 3.10 to 3.13:
           RUNTIME=tf2 make train"""


class Stop(Exception):
    """Ends the program; its arguments are the exit code and a message."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # stderr escapes the letters that a terminal lacks


def interpreter(venv: str) -> str:
    return os.path.join(venv, "Scripts\\python.exe" if WINDOWS else "bin/python")


def cause(text: str) -> str:
    """Return the line of a failed command's output that says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it printed nothing"]
    broken = [line for line in lines if "Retrying (" in line]
    if broken:
        return f"no connection to the package index: {broken[-1].split(' broken by ')[-1]}"
    return ([line for line in lines if line.lower().startswith("error")] or lines)[-1]


def pip_install(venv: str, what: List[str], timeout: Optional[float] = None) -> None:
    # By module: the pip script's first line breaks on a path with spaces.
    options = ["--require-virtualenv", "--no-input", "--disable-pip-version-check"]
    code, text = run([interpreter(venv), "-I", "-m", "pip", *options, "install", *what], timeout)
    if code:
        raise Stop(1, f"pip could not install {what[-1]}: {cause(text)}")


def make_venv(command: List[str], venv: str) -> None:
    code, text = run([*command, "-I", "-m", "venv", venv])
    if code:
        raise Stop(1, f"{command[0]} could not make an environment: {cause(text)}")
    pip_install(venv, ["pip>=20.3"])  # Python 3.7.9 brings 20.1, which cannot read all wheels


def fetch_python37() -> str:
    """Install a Python 3.7 into uv's own folder; return what went wrong, or ""."""
    if platform.machine().lower() not in X86_64:
        return f"there is none for {platform.machine()}"
    say("No Python 3.7 here: fetching one with uv (under 100 MB, for all your projects).")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            make_venv([sys.executable], scratch)
            # Later versions no longer list 3.7. A program, not a module: any Python unpacks it.
            options = ["--only-binary", ":all:", "--ignore-requires-python", "--retries", "1"]
            pip_install(scratch, [*options, "--timeout", "10", "uv==0.6.17"], timeout=120)
        except Stop as stop:
            return str(stop.args[1])
        # Into uv's usual folder: shared by all projects, known to uv itself, and found next time.
        uv = os.path.join(os.path.dirname(interpreter(scratch)), "uv")
        code, text = run([uv, "--no-cache", "python", "install", "3.7"], timeout=600)
        return f"uv: {text.strip().splitlines()[-1].strip()}" if code else ""


def choose_python(runtime: str, venv: str, last: str) -> Python:
    """Return $PYTHON37, or else a Python that was found, or else one that was fetched."""
    versions, named = PYTHONS[runtime], os.environ.get("PYTHON37")
    if named and runtime == "tf1":
        python, flaw = inspect([os.path.expanduser(named)], versions)
        if not python:
            raise Stop(2, f"PYTHON37={named} {flaw}; name a CPython 3.7 for x86-64, or unset it.")
        return python
    python, tried = search(versions, venv, last, sys.executable)
    if not python and runtime == "tf2":
        raise Stop(2, f"TensorFlow 2.x needs Python 3.10 to 3.13: install one. Tried: {tried}.")
    if not python:
        problem = fetch_python37()
        python, _ = search(versions, venv)
        if not python:
            raise Stop(2, NO_PYTHON37.format(tried=tried, problem=problem))
    return python


def lock() -> None:
    """Wait until no other run installs. Children inherit the lock: a killed run's pip keeps it."""
    with contextlib.suppress(ImportError, OSError):  # Windows and some file systems have none
        import fcntl

        script = os.open(__file__, os.O_RDONLY)  # stays open, and locked, until the program ends
        os.set_inheritable(script, True)
        try:
            fcntl.flock(script, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another installation is at work in this project; waiting for its end.")
            fcntl.flock(script, fcntl.LOCK_EX)


def clear(venv: str) -> None:
    """Empty an environment: its mark first, pyvenv.cfg last, so that a kill does no harm."""
    for name in sorted(os.listdir(venv), key=lambda name: (name == CONFIG, name != MARK)):
        path = os.path.join(venv, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def build(python: Python, venv: str, requirements: str) -> str:
    """Make the environment anew; return what it holds, in words. A failure leaves nothing."""
    os.makedirs(venv, exist_ok=True)
    clear(venv)
    open(os.path.join(venv, CONFIG), "w").close()  # now a killed run is known as ours
    try:
        make_venv(python.command, venv)
        pip_install(venv, ["--requirement", requirements])
        test = "import tensorflow; print(tensorflow.__version__)"
        code, text = run([interpreter(venv), "-I", "-c", test])
        if code:
            flaw = "this processor lacks AVX" if code == -signal.SIGILL else cause(text)
            raise Stop(1, f"TensorFlow was installed but cannot be imported: {flaw}")
    except BaseException:
        clear(venv)
        os.rmdir(venv)
        raise
    return f"TensorFlow {text.split()[-1]} on Python {python.version}"


def check_place(venv: str) -> None:
    """Refuse to delete what is not ours."""
    if os.path.lexists(venv) and not os.path.isdir(venv):
        raise Stop(2, f"{venv} is not a folder: remove it, or name another place with --venv.")
    names = os.listdir(venv) if os.path.isdir(venv) else []
    if names and CONFIG not in names:
        raise Stop(2, f"{venv} is no environment and stays: name another place with --venv.")


def read_mark(venv: str) -> Dict[str, Any]:
    """Return what a finished run wrote into its environment; {} if there is none."""
    try:
        with open(os.path.join(venv, MARK), encoding="ascii") as file:
            return dict(json.load(file)) if os.path.exists(interpreter(venv)) else {}
    except (OSError, ValueError):
        return {}


def install(runtime: str, venv: str) -> str:
    """Make the environment, unless it is there already; return what it holds."""
    if runtime not in PYTHONS:
        raise Stop(2, f"RUNTIME={runtime} is unknown: use tf1 (TensorFlow 1.15) or tf2 (2.x).")
    requirements = os.path.join(ROOT, "requirements", f"{runtime}.txt")
    with open(requirements, "rb") as file:
        digest = hashlib.sha256(runtime.encode() + file.read()).hexdigest()
    named = os.environ.get("PYTHON37") if runtime == "tf1" else None
    lock()
    mark = read_mark(venv)
    if mark.get("digest") == digest and named in (None, "", mark["named"]):
        return str(mark["holds"])
    check_place(venv)
    python = choose_python(runtime, venv, mark.get("python", sys.executable))
    what = f"the {runtime} environment on Python {python.version} in {venv}"
    old = f", in place of {mark['holds']}" if mark else ""
    say(f"Installing {what}{old}: {DOWNLOAD_MB[runtime]} MB to download, a minute or more.")
    start = time.time()
    holds = build(python, venv, requirements)
    say(f"Installed in {time.time() - start:.0f} s.")
    mark = {"digest": digest, "holds": holds, "named": named, "python": python.command[0]}
    with open(os.path.join(venv, MARK), "w", encoding="ascii") as file:
        json.dump(mark, file)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the project's environment.")
    parser.add_argument("--runtime", help="tf1 or tf2 (default: $RUNTIME, or tf1)")
    parser.add_argument("--venv", help="the environment's folder (default: .venv in the project)")
    arguments = parser.parse_args()
    runtime = arguments.runtime or os.environ.get("RUNTIME") or "tf1"
    venv = os.path.abspath(os.path.expanduser(arguments.venv or os.path.join(ROOT, ".venv")))
    # Settings that would make pip install elsewhere.
    for name in ("PIP_PREFIX", "PIP_TARGET"):
        os.environ.pop(name, None)
    os.environ["PIP_USER"] = "0"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clean up first, as after Ctrl-C
    try:
        say(f"Ready: {install(runtime, venv)} in {venv}")
        return 0
    except Stop as stop:
        code, message = stop.args
    except OSError as error:
        code, message = 1, f"{error.filename or venv}: {error.strerror}."
    except KeyboardInterrupt:
        code, message = 130, "Interrupted: the same command starts over."
    if code == 1:
        message += " Mend that and repeat the command: it starts over."
    say(f"install.py: {message}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
