"""The set-up part of an emitted project, in a world without Pythons and without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

EMITTED = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"

# Answers as the Python that its name says, makes environments that hold copies of itself, and is
# uv there. Its second line is a command to sh and a string to Python: a path with spaces cannot
# stand in the first.
STAND_IN = f"""#!/bin/sh
'''exec' "{sys.executable}" -IS "$0" "$@"
'''
import os, shutil, sys, time
line = " ".join(sys.argv)
if "json.dumps" in line:
    version = "3.11.9" if sys.argv[0].endswith("python3.11") else "3.7.17"
    print('["CPython", "' + version + '", "x86_64", true]')
elif "-m venv" in line:
    for folder in ("bin", "lib/python3.7/site-packages"):
        os.makedirs(os.path.join(sys.argv[-1], folder))
    for name in ("python", "uv"):
        shutil.copy(__file__, os.path.join(sys.argv[-1], "bin", name))
elif "-m pip" in line:
    open(os.environ["TMPDIR"] + "/unpacked", "w").close()
    time.sleep(float(os.environ.get("PIP_SECONDS", "0")))
    print(os.environ.get("PIP_PRINTS", ""))
    sys.exit("PIP_PRINTS" in os.environ)
elif "uv --no-cache python install 3.7" in line:
    folder = os.environ["HOME"] + "/.local/share/uv/python/cpython-3.7.9-linux-x86_64-gnu/bin"
    os.makedirs(folder)
    shutil.copy(__file__, folder + "/python3.7")
elif "tensorflow" in line:
    print("1.15.5")
"""


class BareProject:
    """scripts/ and requirements/, in a folder whose name has spaces and foreign letters."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "my clöne 日本"
        self.venv = self.root / ".venv"
        self.home, self.scratch = tmp_path / "home", tmp_path / "scratch"
        self.wheels = tmp_path / "wheels"
        shutil.copytree(EMITTED / "scripts", self.root / "scripts")
        for folder in (self.root / "requirements", self.home, self.scratch, self.wheels):
            folder.mkdir()
        self.require("tf1", "tensorflow==1.15.5")
        self.require("tf2", "tensorflow==2.21.0")

    def require(self, runtime: str, *lines: str) -> None:
        (self.root / "requirements" / f"{runtime}.txt").write_text("\n".join(lines))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Starts install.py. Its own Python is this one, or that which RUNS_ON names."""
        bare = {
            "PATH": os.devnull,
            "HOME": str(self.home),
            "TMPDIR": str(self.scratch),
            "LANG": "C",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_CONFIG_FILE": os.devnull,
        }
        program = "import os, runpy, sys; sys.executable = os.environ['RUNS_ON']; "
        program += "sys.argv[0] = 'scripts/install.py'; runpy.run_path(sys.argv[0], {}, '__main__')"
        options = ["-c", program] if "RUNS_ON" in environment else ["scripts/install.py"]
        return subprocess.Popen(
            [sys.executable, *options, *arguments],
            cwd=self.root,
            env={**bare, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def start_until_pip(self, seconds: str) -> subprocess.Popen[str]:
        """Starts install.py and returns while pip, which takes so many seconds, is at work."""
        process = self.start(PIP_SECONDS=seconds)
        deadline = time.monotonic() + 20
        while not (self.venv / "bin" / "python").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.3)
        return process

    def install(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Runs install.py and returns its exit code and what it printed."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=60)
        assert "Traceback" not in output
        return process.returncode, output

    def python(self, path: str) -> str:
        """Puts a stand-in at a path below the home folder."""
        file = self.home / path
        file.parent.mkdir(parents=True)
        file.write_text(STAND_IN)
        file.chmod(0o755)
        return str(file)

    def wheel(self, name: str, version: str, files: dict[str, str]) -> None:
        """Puts a package where pip finds it."""
        info = f"{name}-{version}.dist-info"
        metadata = {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }
        with zipfile.ZipFile(self.wheels / f"{name}-{version}-py3-none-any.whl", "w") as archive:
            for path, content in {**files, **metadata}.items():
                archive.writestr(path, content)
