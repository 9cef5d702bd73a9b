"""`make test-pythons` tries each Python, says what came of it, and leaves nothing behind."""

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import pythons

# Makes an environment whose Python is that of these tests.
INSTALL = """\
import os, sys
runtime, venv = sys.argv[2], sys.argv[4]
assert runtime == "tf2" and "PYTHON37" not in os.environ
os.makedirs(os.path.join(venv, "bin"))
os.symlink(sys.executable, os.path.join(venv, "bin", "python"))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A stand-in for the bake, its set-up and its TensorFlow; Python 3.12 is the only one here."""
    files = {
        "scripts/install.py": INSTALL,
        "my_project/train.py": "import sys; assert 'trainer.last_step=50' in sys.argv",
        "tensorflow.py": "__version__ = '2.0'",
        "pytest.py": "",
    }

    def bake_into(folder):
        for name, text in files.items():
            file = Path(folder, "my_project", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Path(folder, "my_project")

    def search(versions, **_):
        found = versions == ["3.12"]
        return (SimpleNamespace(command=[sys.executable]), "") if found else (None, "none here")

    monkeypatch.setattr(pythons, "bake_into", bake_into)
    monkeypatch.setattr(pythons, "search", search)
    monkeypatch.setenv("PYTHON37", "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return files


@pytest.mark.skipif(os.name == "nt", reason="the stand-in's environment is a link")
def test_each_python_is_tried_and_its_environment_removed(project, tmp_path, capfd):
    assert pythons.main([]) == 0
    printed = capfd.readouterr().out
    for version in ("3.7", "3.10", "3.11", "3.13"):
        assert f"\n{version:7} not found here (none here)\n" in printed
    version = ".".join(str(number) for number in sys.version_info[:3])
    assert f"\n3.12    passed: Python {version} TensorFlow 2.0, " in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="the stand-in's environment is a link")
@pytest.mark.parametrize("file", ["scripts/install.py", "my_project/train.py", "pytest.py"])
def test_what_fails_is_named_and_the_exit_code_says_so(project, tmp_path, capfd, file):
    project[file] = "import sys; sys.exit(5)"
    assert pythons.main(["3.12"]) == 1
    failed = capfd.readouterr().out.splitlines()[-1]
    assert failed.startswith("3.12    FAILED: ")
    assert "exited with 5" in failed
    assert list(tmp_path.iterdir()) == []


def test_no_python_at_all_is_a_failure(project):
    assert pythons.main(["3.13"]) == 1


def test_an_unknown_python_is_refused(capsys):
    assert pythons.main(["3.9", "3.12"]) == 2
    assert capsys.readouterr().out.startswith("error: no such Python: 3.9; there are 3.7, ")
