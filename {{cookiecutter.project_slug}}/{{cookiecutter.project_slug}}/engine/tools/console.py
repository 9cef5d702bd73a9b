"""The command that installing adds: `<package> train …` is `python -m <package>.train …`."""

from __future__ import annotations

import ast
import contextlib
import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).absolute().parents[2]


def commands() -> dict[str, pathlib.Path]:
    """Name -> file: the modules in the package's root, and packages that can be run."""
    files = {path.stem: path for path in ROOT.glob("[!_]*.py")}
    files.update({path.parent.name: path for path in ROOT.glob("*/__main__.py")})
    return {name: files[name] for name in sorted(files)}


def what_it_does(file: pathlib.Path) -> str:
    """The first line of a module's docstring; "" where the module is no Python."""
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n")[0]
    return ""


def main() -> int:
    """Becomes `python -m`, so that signals, exit codes and the run's record are those of `-m`."""
    words, package = sys.argv[1:], ROOT.name
    if words and words[0] in commands():
        command = [sys.executable, "-m", f"{package}.{words[0]}", *words[1:]]
        if os.name == "nt":  # where exec returns to the shell at once
            signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the child, which gets it
            return subprocess.call(command)
        os.execv(sys.executable, command)
    if words and words[0] not in ("-h", "--help"):
        expected = f"expected one of {', '.join(commands())}"
        print(f"error: {words[0]}: there is no such command; {expected}", file=sys.stderr)
        return 2
    print(f"{package} COMMAND … is python -m {package}.COMMAND …; each has a --help")
    for name, file in commands().items():
        print(f"    {name:10} {what_it_does(file)}".rstrip())
    return 0 if words else 2
