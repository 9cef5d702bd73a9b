"""Where scripts/install.py of the emitted project looks for a Python 3.7; uv is a stand-in."""

import json
import os
import platform
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from bare_project import EMITTED, BareProject

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are POSIX scripts")
needs_x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="Python 3.7 is fetched for x86-64 alone"
)


@pytest.fixture
def project(tmp_path: Path) -> BareProject:
    return BareProject(tmp_path)


def python_of(project: BareProject) -> str:
    return json.loads((project.venv / ".complete").read_text())["python"]


def test_a_broken_shim_leads_to_the_version_that_its_pyenv_holds(project: BareProject) -> None:
    shim = Path(project.python("py env/shims/python3.7"))
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.7: command not found' >&2\nexit 127\n")
    real = project.python("py env/versions/3.7.17/bin/python3.7")
    code, output = project.install(PATH=str(shim.parent))
    assert (code, "command not found" in output) == (0, False), output
    assert python_of(project) == real


def test_a_candidate_that_hangs_is_given_up(project: BareProject) -> None:
    source = project.root / "scripts" / "find_python.py"
    source.write_text(source.read_text().replace("timeout=20", "timeout=0.5"))
    hanging = Path(project.python("bin/python3.7"))
    hanging.write_text("#!/bin/sh\n/bin/sleep 30\necho\n")
    real = project.python(".pyenv/versions/3.7.17/bin/python3.7")
    start = time.monotonic()
    code, output = project.install(PATH=str(hanging.parent))
    assert (code, time.monotonic() - start < 10) == (0, True), output
    assert python_of(project) == real


def test_the_named_python37_is_taken_and_remembered(project: BareProject) -> None:
    project.python(".pyenv/versions/3.7.17/bin/python3.7")
    named = project.python("conda/bin/python")
    assert project.install(PYTHON37=named)[0] == 0
    project.require("tf1", "tensorflow==1.15.5", "tqdm==4.68.2")
    assert project.install()[0] == 0
    assert python_of(project) == named


@pytest.mark.parametrize("named", [sys.executable, "/nowhere/python3.7"])
def test_a_named_python37_that_will_not_do_is_refused_in_one_line(
    project: BareProject, named: str
) -> None:
    project.python(".pyenv/versions/3.7.17/bin/python3.7")
    code, output = project.install(PYTHON37=named)
    assert (code, len(output.splitlines())) == (2, 1), output
    assert f"PYTHON37={named} " in output
    assert not project.venv.exists()


@needs_x86_64
def test_a_missing_python37_is_fetched_with_uv_once_for_all_projects(project: BareProject) -> None:
    running = project.python("bin/python3.11")
    code, output = project.install(RUNS_ON=running)
    assert (code, "fetching one with uv" in output) == (0, True), output
    assert python_of(project).startswith(f"{project.home}/.local/share/uv/python/cpython-3.7")
    code, output = project.install("--venv", "other", RUNS_ON=running)
    assert (code, "fetching" in output) == (0, False), output
    assert list(project.scratch.iterdir()) == []


@needs_x86_64
def test_where_no_python37_can_be_had_the_ways_out_are_printed(project: BareProject) -> None:
    running = project.python("bin/python3.11")
    code, output = project.install(RUNS_ON=running, PIP_PRINTS="ERROR: no such package")
    assert "pip install uv==0.6.17 failed: ERROR: no such package" in output
    assert code == 2
    for way_out in (
        "pyenv install 3.7.17",
        "conda create --yes --name py37 --channel conda-forge python=3.7",
        "python:3.7-bullseye make train",
        "PYTHON37=/path/to/python3.7 make train",
        "RUNTIME=tf2 make train",
    ):
        assert way_out in output
    assert not project.venv.exists()
    assert list(project.scratch.iterdir()) == []
    assert not (project.home / ".local").exists()


@pytest.fixture
def find_python(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The emitted scripts/find_python.py, on a machine without Pythons."""
    monkeypatch.syspath_prepend(EMITTED / "scripts")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("PYTHON37", raising=False)
    import find_python

    monkeypatch.setattr(find_python, "candidates", lambda version: [])
    monkeypatch.setattr(find_python, "fetch_python37", lambda: 1 / 0)
    return find_python


@pytest.mark.parametrize(
    ("answer", "wanted", "flaw"),
    [
        (["CPython", "3.7.17", "x86_64", True], "3.7", ""),
        (["CPython", "3.7.9", "amd64", True], "3.7", ""),
        (["CPython", "3.12.1", "arm64", True], "3.12", ""),
        (["PyPy", "3.7.13", "x86_64", True], "3.7", "is PyPy 3.7.13 for x86_64"),
        (["CPython", "3.7.17", "32 bits", True], "3.7", "is CPython 3.7.17 for 32 bits"),
        (["CPython", "3.12.1", "32 bits", True], "3.12", "is CPython 3.12.1 for 32 bits"),
        (["CPython", "3.7.17", "arm64", True], "3.7", "is CPython 3.7.17 for arm64"),
        (["CPython", "3.8.18", "x86_64", True], "3.7", "is CPython 3.8.18 for x86_64"),
        (
            ["CPython", "3.12.1", "x86_64", False],
            "3.12",
            "lacks venv or ensurepip (Debian, Ubuntu: apt install python3.12-venv)",
        ),
    ],
)
def test_a_python_that_will_not_do_is_refused_with_its_flaw(
    find_python: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    answer: list[object],
    wanted: str,
    flaw: str,
) -> None:
    monkeypatch.setattr(find_python, "run", lambda *_, **__: (0, json.dumps(answer)))
    python, found = find_python.inspect(["python"], [wanted])
    assert found == flaw
    assert python == (None if flaw else (["python"], answer[1]))


@pytest.mark.parametrize(
    ("wanted", "machine", "said"),
    [
        ("tf1", "arm64", "TensorFlow 1.15 has no build for arm64: RUNTIME=tf2 runs the same"),
        ("tf2", "x86_64", "TensorFlow 2.x needs Python 3.10 to 3.13: install one"),
    ],
)
def test_where_nothing_can_be_fetched_the_way_out_is_named(
    find_python: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    machine: str,
    said: str,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(find_python, "inspect", lambda *_: (None, "is too old"))
    with pytest.raises(find_python.Stop) as stopped:
        find_python.choose_python(wanted, avoid="/nowhere", last="/old/python")
    code, message = stopped.value.args
    assert code == 2
    assert message.startswith(said)
