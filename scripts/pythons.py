"""Sets a new project up with each Python that it is for, trains it there and runs its tests.

    python scripts/pythons.py               all Pythons that this machine has
    python scripts/pythons.py 3.10 3.13     these

An environment is made and removed for one after the other: some 2.5 GB, and minutes for each. Ends
with a table, and with 1 if anything failed or no Python was found. docs/runtimes.md has the table.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from demo import bake_into

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "{{cookiecutter.project_slug}}" / "scripts"))
from environment import interpreter  # noqa: E402
from find_python import PYTHONS, search  # noqa: E402

RUNTIMES = {version: runtime for runtime, versions in PYTHONS.items() for version in versions}
VERSIONS = """
import platform, tensorflow as tf
print("Python", platform.python_version(), "TensorFlow", tf.__version__)
"""


def try_python(command: list[str], runtime: str, project: Path, venv: Path) -> str:
    """Returns the versions of Python and TensorFlow; raises CalledProcessError where one fails.

    command: starts the interpreter of the set-up, which is the first that the set-up takes.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON37"}
    inside = interpreter(str(venv))

    def run(*words: object) -> None:
        print("$", *words, flush=True)
        subprocess.run([str(word) for word in words], cwd=project, env=environment, check=True)

    run(*command, "scripts/install.py", "--runtime", runtime, "--venv", venv)
    settings = ["data=digits", "trainer.last_step=50", f"run_dir={venv}/run"]
    run(inside, "-m", "my_project.train", *settings)
    run(inside, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    answer = subprocess.run([inside, "-c", VERSIONS], cwd=project, capture_output=True, check=True)
    return answer.stdout.decode().strip()


def main(versions: list[str]) -> int:
    unknown = sorted(set(versions) - set(RUNTIMES))
    if unknown:
        print(f"error: no such Python: {', '.join(unknown)}; there are {', '.join(RUNTIMES)}")
        return 2
    rows, passed, failed = [], 0, 0
    for version in versions or sorted(RUNTIMES, key=lambda name: int(name.split(".")[1])):
        python, tried = search([version], avoid=sys.prefix, first=[])
        if not python:
            rows.append(f"{version:7} not found here ({tried})")
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            project, venv = bake_into(scratch), Path(scratch, "venv")
            try:
                row = "passed: " + try_python(python.command, RUNTIMES[version], project, venv)
                passed += 1
            except subprocess.CalledProcessError as error:
                row = f"FAILED: {' '.join(error.cmd)} exited with {error.returncode}"
                failed += 1
        rows.append(f"{version:7} {row}, {time.monotonic() - started:.0f} s")
    print("\nPython  what came of it", *rows, sep="\n")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
