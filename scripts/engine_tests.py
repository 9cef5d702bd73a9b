"""Copies the tests of the engine into a project made from this template, and runs them there.

    python scripts/engine_tests.py path/to/project -k lock PYTHON=python3

After the project come arguments of pytest, and variables of the project's make. The copies lie in
the project's engine_tests/; there `make test ARGS=engine_tests` runs them again. Those in
engine_tests/gpu need a GPU, and are left out without one.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ENGINE_TESTS = Path(__file__).resolve().parent.parent / "engine_tests"
PAGES = ("test_your_own.py", "test_data_docs.py")  # of what a user replaces; not of the engine


def copy_engine_tests(project: Path) -> list[str]:
    """Copies the tests of all that the project has; returns the names of those left out.

    Raises FileNotFoundError if it is not a project made from this template.
    """
    packages = [engine.parent for engine in project.glob("*/engine") if engine.is_dir()]
    if len(packages) != 1:
        raise FileNotFoundError(
            f"{project}: found {len(packages)} packages with an engine/, expected one; name the "
            "directory of a project made from this template"
        )
    left_out = []
    for file in sorted(ENGINE_TESTS.rglob("*.py")):
        name = file.relative_to(ENGINE_TESTS).as_posix()
        text = re.sub(r"\bmy_project\b", packages[0].name, file.read_text("utf-8"))
        if _missing(text, project, packages[0].name):
            left_out.append(name)
        else:
            copy = project / "engine_tests" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text, "utf-8")
    return left_out


def _missing(text: str, project: Path, package: str) -> list[str]:
    """The modules of the package that a test imports first of all and the project lacks."""
    names = [one.module for one in ast.parse(text).body if isinstance(one, ast.ImportFrom)]
    return [
        name
        for name in names
        if name.split(".")[0] == package
        and not (project / f"{name.replace('.', '/')}.py").exists()
        and not (project / name.replace(".", "/") / "__init__.py").exists()
    ]


def main() -> int:
    if len(sys.argv) < 2 or not sys.argv[1]:
        sys.exit("error: name a project: make engine-tests PROJECT=path/to/project")
    project = Path(sys.argv[1])
    try:
        left_out = copy_engine_tests(project)
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    if left_out:
        print(f"left out, for the project lacks what they test: {', '.join(left_out)}", flush=True)
    variables = [word for word in sys.argv[2:] if re.match(r"\w+=", word)]
    options = [f"--ignore=engine_tests/{name}" for name in PAGES]
    options += [word for word in sys.argv[2:] if word not in variables]
    arguments = f"ARGS={shlex.join(['engine_tests', *options])}"
    # Without what make tells its children: PYTHON there is another one.
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    command = ["make", "-C", str(project), "test", arguments, *variables]
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
