"""Make and empty a virtual environment. Standard library only, Python >= 3.6."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Optional, Tuple

WINDOWS = os.name == "nt"
CONFIG = "pyvenv.cfg"  # every environment has it
MARK, STARTED = ".complete", ".incomplete"  # ours has one of these
LIBRARY = "Lib" if WINDOWS else os.path.join("lib", "python3.*")
REPLACED = ".replaced"  # added to the name of the old one until the new one is complete
# Under LANG=C, Python 3.7 misreads an environment's non-ASCII path; pip and protobuf then fail.
UTF8_PATHS = (
    "import sys; "
    "fix = lambda path: path.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace'); "
    "sys.path[:] = map(fix, sys.path); "
    "sys.executable, sys.prefix, sys.exec_prefix = "
    "map(fix, [sys.executable, sys.prefix, sys.exec_prefix])\n"
)


class Stop(Exception):
    """Ends the program; its arguments are the exit code and a message."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # stderr escapes the letters that a terminal lacks


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


def must(command: List[str], what: str, timeout: Optional[float] = None) -> str:
    """Run a command and return what it printed, or stop with the line of it that says why."""
    code, text = run(command, timeout)
    if not code:
        return text
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [f"exit code {code}"]
    why = ([line for line in lines if line.lower().startswith(("error", "caused by"))] or lines)[-1]
    retries = [line for line in lines if "Retrying (" in line]
    if retries:  # "... broken by 'NewConnectionError('<object>: reason')': /simple/..."
        why = retries[-1].split(" broken by ")[-1].split(">: ")[-1].split("')'")[0]
        why = f"no connection to the package index ({why})"
    raise Stop(1, f"{what} failed: {why}")


def interpreter(venv: str) -> str:
    return os.path.join(venv, "Scripts\\python.exe" if WINDOWS else "bin/python")


def pip_install(venv: str, what: List[str], timeout: Optional[float] = None) -> None:
    # By module: the pip script's first line breaks on a path with spaces.
    pip = [interpreter(venv), "-I", "-m", "pip", "--require-virtualenv", "--no-input"]
    command = [*pip, "--disable-pip-version-check", "install", *what]
    must(command, f"pip install {what[-1]}", timeout)


def make_venv(command: List[str], venv: str, paths: Optional[List[str]] = None) -> None:
    """Make an environment with pip, for the interpreter that the command starts.

    paths: folders whose packages it sees, too; pip may be one of them.
    """
    must([*command, "-I", "-m", "venv", "--without-pip", venv], f"{command[0]} -m venv")
    site_packages = os.path.join(venv, "lib", "python3.7", "site-packages")
    if os.path.isdir(site_packages):
        with open(os.path.join(site_packages, "utf8_paths.pth"), "w") as file:
            file.write(UTF8_PATHS)
    for site_packages in glob.glob(os.path.join(glob.escape(venv), LIBRARY, "site-packages")):
        if paths:
            with open(os.path.join(site_packages, "installed.pth"), "w", encoding="ascii") as file:
                file.write(f"import site; list(map(site.addsitedir, {paths!a}))\n")
    if paths and not run([interpreter(venv), "-I", "-m", "pip", "--version"])[0]:
        return
    # Not by venv, which would hide why it failed.
    ensurepip = ["-I", "-m", "ensurepip", "--upgrade", "--default-pip"]
    must([interpreter(venv), *ensurepip], f"{command[0]} -m ensurepip")
    outdated = (
        "import pip, sys; sys.exit([int(n) for n in pip.__version__.split('.')[:2]] < [19, 3])"
    )
    if run([interpreter(venv), "-I", "-c", outdated])[0]:
        # Before 19.3, which Python 3.6 and 3.7.0 to 3.7.5 bring, pip overlooks today's wheels.
        pip_install(venv, ["--retries", "1", "pip==21.3.1"])


def add_project(venv: str, root: str) -> None:
    """Let an environment in the project import it, wherever its Python is started.

    By a relative path, so that what was copied or moved never imports the code of the old place;
    pip's editable installation names an absolute one, and takes seconds. An environment elsewhere
    may serve several projects.
    """
    venv, root = os.path.realpath(venv), os.path.realpath(root)
    for site_packages in glob.glob(os.path.join(glob.escape(venv), LIBRARY, "site-packages")):
        if venv.startswith(os.path.join(root, "")):
            with open(os.path.join(site_packages, "project.pth"), "w") as file:
                file.write(os.path.relpath(root, site_packages) + "\n")


def remove(venv: str) -> None:
    """Remove an environment: its mark first, the other last, so that a kill does no harm."""
    if not os.path.isdir(venv) or not {MARK, STARTED} & set(os.listdir(venv)):
        return
    open(os.path.join(venv, STARTED), "w").close()
    for name in sorted(os.listdir(venv), key=lambda name: (name == STARTED, name != MARK)):
        path = os.path.join(venv, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)
    os.rmdir(venv)
