"""Bakes a project into demo/, sets it up, trains it on drawn digits and says what to try next.

    python scripts/demo.py        TensorFlow 1.15; 2.x with a notice where no Python 3.7 can be had
    RUNTIME=tf2 python scripts/demo.py        TensorFlow 2.x

What is there already is used again. When the template has changed, the old project is kept as
my_project.old-1 (-2, …), and its environment and data sets move on into the new one.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
PROJECT = DEMO / "my_project"

NOTICE = """\
NOTICE: this demo uses TensorFlow 2.x, because no Python 3.7 for TensorFlow 1.15 could be had here.
How to get one: cd demo/my_project && RUNTIME=tf1 make install"""


def hash_sources() -> str:
    """The sha256 of all that a bake is made of."""
    total = hashlib.sha256()
    sources = [ROOT / "cookiecutter.json", ROOT / "hooks", ROOT / "{{cookiecutter.project_slug}}"]
    for source in sources:
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file() and not re.search(r"__pycache__|/\.\w+_cache/", file.as_posix()):
                total.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return total.hexdigest()


def replace_project(new: Path) -> None:
    """Puts a new project at PROJECT; what was there is kept next to it."""
    number = 1
    while os.path.lexists(old := DEMO / f"my_project.old-{number}"):
        number += 1
    replaced = os.path.lexists(PROJECT)
    if replaced:
        PROJECT.rename(old)
        print(f"the template has changed: what you had is now demo/{old.name}", flush=True)
    new.rename(PROJECT)
    for name in (".venv", "datasets"):
        # A link's own folder lies elsewhere and stays complete.
        if replaced and not old.is_symlink() and os.path.lexists(old / name):
            (old / name).rename(PROJECT / name)


def bake_into(folder: str, **answers: str) -> Path:
    """Bakes a project with these answers, and defaults for the others, into a folder."""
    # cookiecutter writes into the home folder otherwise, which may be read-only.
    config = Path(folder, "config.json")
    config.write_text(json.dumps({"replay_dir": folder, "cookiecutters_dir": folder}))
    options = {"no_input": True, "config_file": str(config), "extra_context": answers}
    return Path(cookiecutter(str(ROOT), output_dir=folder, **options))


def bake() -> None:
    """Makes PROJECT, unless it is there and the template's sources are still the same."""
    mark = DEMO / "baked_from"
    sources = hash_sources()
    if PROJECT.exists() and mark.exists() and mark.read_text() == sources:
        print("demo/my_project is there already", flush=True)
        return
    mark.unlink(missing_ok=True)  # written last, so that an interrupted bake starts afresh
    DEMO.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DEMO) as scratch:
        replace_project(bake_into(scratch))
    mark.write_text(sources)
    print("baked demo/my_project", flush=True)


def run(*command: str) -> int:
    """Runs a command in the project and returns its exit code, as a shell does."""
    code = subprocess.run(command, cwd=PROJECT).returncode
    return code if code >= 0 else 128 - code


def install(*arguments: str) -> int:
    """Runs the project's own set-up and returns its exit code."""
    return run(sys.executable, "scripts/install.py", *arguments)


def installed_runtime() -> str | None:
    """tf1 or tf2, whichever the project's environment holds; None if there is none."""
    mark = PROJECT / ".venv" / ".complete"
    return json.loads(mark.read_text("ascii"))["runtime"] if mark.exists() else None


def set_up() -> tuple[int, bool]:
    """Sets the project up; returns an exit code, and if TensorFlow 2.x stands in for 1.15."""
    if os.environ.get("RUNTIME"):
        return install(), False
    # So that the next demo looks for no Python 3.7 again, which may take a minute.
    mark = DEMO / "no_python37"
    if not mark.exists() or os.environ.get("PYTHON37") or installed_runtime() == "tf1":
        mark.unlink(missing_ok=True)
        code = install("--runtime", "tf1")
        if code != 2:
            return code, False
        mark.touch()
        print("No TensorFlow 1.15: going on with TensorFlow 2.x.", flush=True)
    return install("--runtime", "tf2"), True


def main() -> int:
    bake()
    # Ctrl-C goes to the child as well, which saves and leaves; its exit code says so. Children do
    # not inherit this handler, as they would inherit SIG_IGN.
    signal.signal(signal.SIGINT, lambda *_: None)
    code, fell_back = set_up()
    if code:
        return code
    if fell_back:
        print(NOTICE, flush=True)

    python = PROJECT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    directory = f"runs/demo_{installed_runtime()}"
    code = run(str(python), "-m", "my_project.train", "data=digits", f"run_dir={directory}")
    if code:
        return code

    points = [json.loads(line) for line in (PROJECT / directory / "metrics.jsonl").open()]
    accuracy = [point["accuracy"] for point in points if point["split"] == "test"][-1]
    print(f"""
checkpoints  demo/my_project/{directory}/checkpoints
summaries    demo/my_project/{directory}, for TensorBoard
accuracy     {accuracy:.2%} on held-out digits

Try next:
  cd demo/my_project
  make train ARGS="data=digits model.hidden=512"    # a wider network
  make train    # real MNIST, 11 MB to download""")
    if fell_back:
        print(f"\n{NOTICE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
