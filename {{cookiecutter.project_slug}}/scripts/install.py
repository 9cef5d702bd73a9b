"""Make the project's environment: find a fitting Python, install the frozen requirements.

    python scripts/install.py [--runtime tf1|tf2|installed] [--extras slurm,wandb] [--venv PATH]

Any Python >= 3.6 runs this file, without further packages. When nothing changed it returns at
once; what an interrupted run left behind, the next run makes again.
Exit codes: 0 ready, 1 the installation failed, 2 bad input or no fitting Python, 130 Ctrl-C.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import sys
import tempfile
from typing import Any, Callable, Dict, List, Tuple

# The two modules next to this one: without litter, and also under PYTHONSAFEPATH.
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from environment import (  # noqa: E402
    CONFIG,
    MARK,
    REPLACED,
    STARTED,
    Stop,
    add_project,
    interpreter,
    make_venv,
    must,
    pip_install,
    remove,
    say,
)
from find_gpu import find_gpu, why_not_tf1  # noqa: E402
from find_python import PYTHONS, Python, choose_python  # noqa: E402
from installed import fill, find_installed  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAMED_BY = {"tf1": "PYTHON37", "installed": "TF_PYTHON"}  # variables that choose a Python
DOWNLOAD_MB = {"tf1": 140, "tf2": 630, "cuda": 2810}


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


def check_place(venv: str) -> None:
    """Refuse to delete what is not ours, and a place that cannot be written."""
    if os.path.lexists(venv) and not os.path.isdir(venv):
        raise Stop(2, f"{venv} is not a folder: remove it, or name another place with --venv.")
    names = os.listdir(venv) if os.path.isdir(venv) else []
    if names and not {MARK, STARTED} & set(names):
        what = "is not an environment of this script" if CONFIG in names else "is no environment"
        raise Stop(2, f"{venv} {what} and stays: name another place with --venv.")
    new = not os.path.isdir(venv)
    os.makedirs(venv, exist_ok=True)
    tempfile.TemporaryFile(dir=venv).close()
    if new:
        os.rmdir(venv)


def read_mark(venv: str) -> Dict[str, Any]:
    """Return what a finished run wrote into its environment; {} if there is none."""
    try:
        with open(os.path.join(venv, MARK), encoding="ascii") as file:
            return dict(json.load(file)) if os.path.exists(interpreter(venv)) else {}
    except (OSError, ValueError):
        return {}


def restore(venv: str) -> None:
    """Bring back the environment that a run, which then failed or was killed, was to replace."""
    marked = os.path.exists(os.path.join(venv, MARK))
    if not marked and os.path.exists(os.path.join(venv + REPLACED, MARK)):
        remove(venv)
        os.rename(venv + REPLACED, venv)


def build(python: Python, venv: str, add_packages: Callable[[], None], paths: List[str]) -> str:
    """Make the environment again; return what it holds, in words. A failure leaves what was.

    paths: of packages that it sees, too.
    """
    if os.path.exists(os.path.join(venv, MARK)):
        os.rename(venv, venv + REPLACED)
    remove(venv)
    os.makedirs(venv)
    open(os.path.join(venv, STARTED), "w").close()  # now a killed run is known as ours
    try:
        make_venv(python.command, venv, paths)
        add_packages()
        add_project(venv, ROOT)
        test = "import tensorflow.compat.v1 as tf; print(tf.__version__)"
        printed = must([interpreter(venv), "-I", "-c", test], "TensorFlow's import")
    except BaseException:
        with contextlib.suppress(OSError):
            remove(venv)
            restore(venv)
        raise
    of = f" of {python.command[0]}" if paths else ""
    return f"TensorFlow {printed.split()[-1]}{of} on Python {python.version}"


def lists_of_extras(runtime: str) -> Dict[str, str]:
    """Return the extras that a runtime has, and their lists: tf2-cuda.txt is `cuda` of tf2."""
    folder, lists = os.path.join(ROOT, "requirements"), {}
    for file in sorted(os.listdir(folder)):
        of, _, name = file[:-4].rpartition("-")
        if file.endswith(".txt") and name not in PYTHONS and of in ("", runtime):
            lists[name] = os.path.join(folder, file)
    return lists


def install(runtime: str, extras: List[str], venv: str, gpu: Tuple[str, float]) -> str:
    """Make the environment, unless it is there already; return what it holds, in words.

    gpu: what find_gpu found; for a new environment alone.
    """
    if runtime not in (*PYTHONS, "installed"):
        raise Stop(
            2, f"RUNTIME={runtime} is unknown: use tf1 (TensorFlow 1.15), tf2 (2.x), installed."
        )
    known = lists_of_extras(runtime)
    for name in extras:
        if name not in known:
            raise Stop(2, f"EXTRAS={name} is unknown: use some of {','.join(known)}.")
    main_list = "project.in" if runtime == "installed" else f"{runtime}.txt"
    requirements = [os.path.join(ROOT, "requirements", main_list), *(known[x] for x in extras)]
    content = runtime.encode()
    for path in requirements:
        with open(path, "rb") as file:
            content += file.read()
    digest = hashlib.sha256(content).hexdigest()
    named = os.environ.get(NAMED_BY[runtime]) if runtime in NAMED_BY else None
    lock()
    restore(venv)
    mark = read_mark(venv)
    if mark.get("digest") == digest and named in (None, "", mark["named"]):
        return str(mark["holds"])
    check_place(venv)
    if runtime == "tf1" and gpu[0]:
        say(why_not_tf1(*gpu))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TMPDIR"] = scratch  # so that what a killed pip leaves goes, too
        old = f", in place of {mark['holds']}" if mark else ""
        paths: List[str] = []
        if runtime == "installed":
            found = find_installed(avoid=venv)
            python, paths = Python([found.command], found.python), found.paths
            what = f"what is missing beside TensorFlow {found.tensorflow} of {found.command}"
            say(f"Installing {what} into {venv}{old}.")

            def add_packages() -> None:
                fill(venv, found, *requirements)
        else:
            python = choose_python(runtime, avoid=venv, last=mark.get("python", sys.executable))
            what = f"the {runtime} environment on Python {python.version} in {venv}"
            size = f"about {DOWNLOAD_MB[runtime]} MB to download"
            if "cuda" in extras:
                why = f"{gpu[0] or 'asked for'}; EXTRAS= is without"
                size += f", and {DOWNLOAD_MB['cuda']:,} MB of CUDA ({why})"
            say(f"Installing {what}{old}: {size}, a minute or so.")

            def add_packages() -> None:
                # Modules are compiled on first use, which saves five to ten seconds here.
                lists = [word for path in requirements for word in ("--requirement", path)]
                pip_install(venv, ["--retries", "2", "--no-compile", *lists])

        holds = build(python, venv, add_packages, paths)
        holds += f" with {','.join(extras)}" if extras else ""
    mark = {"digest": digest, "holds": holds, "named": named, "python": python.command[0]}
    mark.update(runtime=runtime, extras=",".join(extras))
    with open(os.path.join(venv, MARK), "w", encoding="ascii") as file:
        json.dump(mark, file)
    os.remove(os.path.join(venv, STARTED))
    remove(venv + REPLACED)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the project's environment.")
    parser.add_argument(
        "--runtime", help="tf1, tf2 or installed (default: $RUNTIME, what is there, or tf1)"
    )
    parser.add_argument("--extras", help="slurm,wandb,mlflow,optuna,cuda: added (default: $EXTRAS)")
    parser.add_argument("--venv", help="the environment's folder (default: .venv in the project)")
    arguments = parser.parse_args()
    venv = os.path.abspath(os.path.expanduser(arguments.venv or os.path.join(ROOT, ".venv")))
    # Who has chosen once is not asked to repeat it with every command.
    before = read_mark(venv)
    runtime = arguments.runtime or os.environ.get("RUNTIME") or before.get("runtime", "tf1")
    asked = os.environ.get("EXTRAS") if arguments.extras is None else arguments.extras
    # Added to what is there, so that none costs another; "" is none.
    extras = (
        set()
        if asked == ""
        else {*(asked or "").split(","), *before.get("extras", "").split(",")} - {""}
    )
    gpu = ("", 0.0)
    if before.get("runtime") != runtime:
        gpu = find_gpu()
        extras &= {*lists_of_extras(runtime), *(asked or "").split(",")}
        extras |= {"cuda"} if runtime == "tf2" and gpu[0] and asked != "" else set()
    for name in ("PIP_PREFIX", "PIP_TARGET"):  # pip would install elsewhere
        os.environ.pop(name, None)
    os.environ["PIP_USER"] = "0"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clean up first, as after Ctrl-C
    try:
        say(f"Ready: {install(runtime, sorted(extras), venv, gpu)} in {venv}")
        return 0
    except Stop as stop:
        code, message = stop.args
    except OSError as error:
        code, message = 1, f"cannot use {error.filename or venv}: {error.strerror}"
    except KeyboardInterrupt:
        code, message = 130, "interrupted; the same command starts over."
    if code == 1:
        message = f"{message.rstrip('.')}. Fix that, then repeat the command."
    say(f"install.py: {message}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
