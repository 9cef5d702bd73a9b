"""RUNTIME=installed: an environment on the TensorFlow of a Python that is there. Python >= 3.6.

It sees that Python's packages and adds those that are missing. TensorFlow, NumPy, protobuf and
all else that TensorFlow needs stay as they are.
"""

import json
import os
import re
import sys
from typing import Any, Dict, List, NamedTuple

from environment import WINDOWS, Stop, interpreter, must, pip_install, run

PROBE = """
import json, os, platform, sys, sysconfig
sys.path = [path for path in sys.path if path]  # without the folder it is started in
import tensorflow
packages = {}
def add(name, version, needed):
    name = name.lower().replace("_", "-")
    packages.setdefault(name, [version, [one.lower().replace("_", "-") for one in needed]])
try:
    import re
    from importlib.metadata import distributions
    for one in distributions():
        if one.metadata["Name"]:
            names = [re.match("[A-Za-z0-9._-]*", text).group() for text in one.requires or ()]
            add(one.metadata["Name"], one.version, names)
except ImportError:  # Python 3.7
    import pkg_resources
    for one in pkg_resources.working_set:
        add(one.project_name, one.version, [each.project_name for each in one.requires()])
library = sysconfig.get_path("stdlib")
own = {library, sysconfig.get_path("platstdlib"), os.path.join(library, "lib-dynload")}
paths = [path for path in map(os.path.abspath, sys.path) if os.path.isdir(path)]
found = {"tensorflow": tensorflow.__version__, "python": platform.python_version()}
found.update(paths=[path for path in paths if path not in own], packages=packages)
print()
print(json.dumps(found))
"""
KEPT = r"(.*-)?tensorflow(-.*)?|numpy|protobuf"  # and what they need in turn
# In whatever version is there, but for those whose interface the project holds to.
EXACT = ("hydra-core", "omegaconf")


class Installed(NamedTuple):
    """A Python that has TensorFlow."""

    command: str
    tensorflow: str
    python: str  # its version
    paths: List[str]  # where its packages are
    packages: Dict[str, Any]  # name: [version, names of what it needs]


def inspect_installed(command: str) -> Installed:
    """Ask a Python for its TensorFlow; raise Stop with exit code 2 if that will not do."""
    code, text = run([command, "-c", PROBE], timeout=300)
    lines = [line for line in text.splitlines() if line.startswith('{"tensorflow"')]
    if code or not lines:
        last = (text.strip().splitlines() or [f"exit code {code}"])[-1]
        raise Stop(2, f"{command}: {last}")
    found = Installed(command, **json.loads(lines[-1]))
    version = [int(number) for number in found.tensorflow.split(".")[:2]]
    if version != [1, 15] and version < [2, 10]:
        raise Stop(2, f"{command}: TensorFlow {found.tensorflow} is not 1.15, nor 2.10 or newer")
    if [int(number) for number in found.python.split(".")[:2]] < [3, 7]:
        raise Stop(2, f"{command}: is Python {found.python}, which is older than 3.7")
    return found


def find_installed(avoid: str) -> Installed:
    """Return that of $TF_PYTHON, or else the first one on PATH that fits.

    avoid: the folder of the environment that is about to be made.
    """
    named = os.environ.get("TF_PYTHON")
    if named:
        return inspect_installed(os.path.expanduser(named))
    tried: Dict[str, str] = {}
    avoid = os.path.join(os.path.realpath(avoid), "")
    for folder in [os.path.dirname(sys.executable), *os.get_exec_path()]:
        for name in ("python", "python3"):
            path = os.path.join(os.path.realpath(folder), name + ".exe" * WINDOWS)
            if path in tried or path.startswith(avoid) or not os.access(path, os.X_OK):
                continue
            try:
                return inspect_installed(path)
            except Stop as stop:
                tried[path] = stop.args[1]
    raise Stop(
        2,
        "RUNTIME=installed needs a Python with TensorFlow 1.15, or 2.10 and newer; name it by "
        f"TF_PYTHON=/path/to/python. Tried: {'; '.join(tried.values()) or 'none'}.",
    )


def kept(packages: Dict[str, Any]) -> List[str]:
    """Return the constraints that leave TensorFlow, and all that it needs, as they are."""
    names, waiting = set(), [name for name in packages if re.fullmatch(KEPT, name)]
    while waiting:
        name = waiting.pop()
        if name in packages and name not in names:
            names.add(name)
            waiting += packages[name][1]
    return [f"{name}=={packages[name][0]}" for name in sorted(names)]


def missing(found: Installed, requirements: str) -> List[str]:
    """Return the lines of requirements/project.in that name what is not there."""
    lines = []
    for line in requirements.splitlines():
        name = re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
        there = name in found.packages and name not in EXACT
        if name and name not in ("tensorflow", "protobuf", "tf-keras") and not there:
            lines.append(line.split("  #")[0].strip())
    return lines


def fill(venv: str, found: Installed, project: str, *extras: str) -> None:
    """Install what is missing into an environment that sees the packages of `found`.

    project: the path of requirements/project.in.
    extras: those of the lists that are to be added.
    """
    constraints = os.path.join(venv, "constraints.txt")
    with open(constraints, "w", encoding="utf-8") as file:
        file.write("\n".join(kept(found.packages)) + "\n")
    options = ["--retries", "2", "--no-compile", "--constraint", constraints]
    lines = os.path.join(venv, "missing.txt")
    with open(lines, "w", encoding="utf-8") as file, open(project, encoding="utf-8") as names:
        file.write("\n".join(missing(found, names.read())) + "\n")
    pip_install(venv, [*options, "--requirement", lines])
    minor = ".".join(found.tensorflow.split(".")[:2])
    if "tf-keras" not in found.packages and [int(x) for x in minor.split(".")] >= [2, 16]:
        # Without what it needs: TensorFlow's package may have another name.
        pip_install(venv, [*options, "--no-deps", f"tf_keras=={minor}.*"])
    for path in extras:  # their lists are complete
        pip_install(venv, ["--retries", "2", "--no-compile", "--no-deps", "--requirement", path])
    names = "tensorflow, numpy, google.protobuf"
    test = f"import {names}; print(*(one.__version__ for one in ({names})))"
    before = must([found.command, "-c", test], "the TensorFlow that is there").split()[-3:]
    after = must([interpreter(venv), "-I", "-c", test], "TensorFlow's import").split()[-3:]
    if before != after:
        raise Stop(
            1, f"the environment has {' '.join(after)} ({names}), expected {' '.join(before)}"
        )
