"""What the tests say and do when an environment with TensorFlow is missing or no longer used."""

import json
import os
import subprocess
import sys
import time

import pytest

import environments
from conftest import ENVIRONMENTS
from environments import ROOT, make_environment

WITHOUT_TF1 = {"tf1": {"missing": "No Python 3.7 was found."}, "tf2": {"python": "/nowhere"}}
NOTICE = "NOTICE: TensorFlow 1.15 is not tested. No Python 3.7 was found."


def run_pytest(*arguments, **environment):
    """Runs a test of both runtimes as on a machine without Python 3.7."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/test_emitted_tests.py", "-n", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, ENVIRONMENTS: json.dumps(WITHOUT_TF1), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.returncode, done.stdout


def test_a_missing_runtime_is_not_tested_and_a_notice_stands_first_and_last():
    code, shown = run_pytest("--collect-only", REQUIRE_TF1="")
    assert code == 0
    assert ("[tf1]" in shown, "[tf2]" in shown) == (False, True)
    assert shown.count(NOTICE) == 2
    assert shown.index(NOTICE) < shown.index("[tf2]") < shown.rindex(NOTICE)


def test_a_missing_tensorflow_1_15_fails_where_it_is_required():
    code, shown = run_pytest("-k", "tf1", REQUIRE_TF1="1")
    assert code == 1
    assert "REQUIRE_TF1=1, but: No Python 3.7 was found." in shown


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--collect-only"], ["-n", "2", "-k", "no_such_test"]])
def test_no_environment_is_made_when_no_test_needs_one(arguments):
    command = [sys.executable, "-m", "pytest", "tests/test_emitted_tests.py", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name != ENVIRONMENTS}
    shown = subprocess.run(command, cwd=ROOT, env=inherited, stdout=subprocess.PIPE, text=True)
    assert "for the tests, in .cache/envs" not in shown.stdout


def test_an_environment_that_no_test_used_for_an_hour_is_removed(tmp_path, monkeypatch):
    ready = "import os, sys; os.makedirs(sys.argv[4], exist_ok=True)"
    (tmp_path / "source" / "scripts").mkdir(parents=True)
    (tmp_path / "source" / "scripts" / "install.py").write_text(ready)
    (tmp_path / "source" / "requirements").mkdir()
    for name in ("tf1", *environments.EXTRAS):
        (tmp_path / "source" / "requirements" / f"{name}.txt").touch()
    monkeypatch.setattr(environments, "SOURCE", tmp_path / "source")
    monkeypatch.setattr(environments, "CACHE", tmp_path / "envs")
    for name, minutes in {"tf1-unused": 61, "tf1-in-use": 59, "tf2-other": 61}.items():
        (tmp_path / "envs" / name).mkdir(parents=True)
        os.utime(tmp_path / "envs" / name, (0, time.time() - 60 * minutes))
    made = make_environment("tf1").parent.parent
    os.utime(made, (0, 0))
    assert make_environment("tf1").parent.parent == made
    assert {folder.name for folder in (tmp_path / "envs").iterdir()} == {
        "tf1-in-use",
        "tf2-other",
        made.name,
    }
