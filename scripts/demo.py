"""Bakes a project into demo/, sets it up, trains it on drawn digits and says what to try next.

    python scripts/demo.py        TensorFlow 1.15; 2.x with a notice where no Python 3.7 can be had
    RUNTIME=tf2 python scripts/demo.py        TensorFlow 2.x

What is there already is used again; a project of an older template is replaced, but for its
environment, data sets and other runs.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
PROJECT = DEMO / "my_project"
RUN = Path("runs") / "demo"
KEPT = {".venv", "datasets", "runs"}

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


def bake() -> None:
    """Makes PROJECT, unless it is there and the template's sources are still the same."""
    mark = DEMO / "baked_from"
    sources = hash_sources()
    if PROJECT.exists() and mark.exists() and mark.read_text() == sources:
        print("demo/my_project is there already", flush=True)
        return
    mark.unlink(missing_ok=True)  # written last, so that an interrupted bake starts afresh
    PROJECT.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(PROJECT / RUN, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=DEMO) as new:
        cookiecutter(str(ROOT), no_input=True, default_config=True, output_dir=new)
        for old in PROJECT.iterdir():
            if old.name not in KEPT:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        for file in (Path(new) / PROJECT.name).iterdir():
            file.rename(PROJECT / file.name)
    mark.write_text(sources)
    print("baked demo/my_project", flush=True)


def install(*arguments: str) -> int:
    """Runs the project's own set-up and returns its exit code."""
    command = [sys.executable, "scripts/install.py", *arguments]
    return subprocess.run(command, cwd=PROJECT).returncode


def main() -> int:
    bake()
    wanted = os.environ.get("RUNTIME")
    code = install()
    if code == 2 and not wanted:
        print("No TensorFlow 1.15: going on with TensorFlow 2.x.", flush=True)
        code = install("--runtime", "tf2")
    if code:
        return code
    runtime = json.loads((PROJECT / ".venv" / ".complete").read_text("ascii"))["runtime"]
    fell_back = runtime == "tf2" and wanted != "tf2"
    if fell_back:
        print(NOTICE, flush=True)

    python = Path(".venv") / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [str(PROJECT / python), "-m", "my_project.train", "data=digits", f"run_dir={RUN}"]
    code = subprocess.run(command, cwd=PROJECT).returncode
    if code:
        return code

    points = [json.loads(line) for line in (PROJECT / RUN / "metrics.jsonl").open()]
    accuracy = [point["accuracy"] for point in points if point["split"] == "test"][-1]
    print(f"""
checkpoints  demo/my_project/{RUN.as_posix()}/checkpoints
summaries    demo/my_project/{RUN.as_posix()}, for TensorBoard
accuracy     {accuracy:.2%} on held-out digits

Try next:
  cd demo/my_project
  make train ARGS="data=digits model.hidden=256"    # a wider network
  make train    # real MNIST, 11 MB to download""")
    if fell_back:
        print(f"\n{NOTICE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
