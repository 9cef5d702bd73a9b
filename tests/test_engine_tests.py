"""The tests of the engine pass in a bake that has everything, and can be copied into any other."""

import re
import sys

import pytest

from engine_tests import ENGINE_TESTS, copy_engine_tests
from environments import ROOT

PARTS = 6  # processes on each TensorFlow

# What tests Python, files and other libraries more than TensorFlow runs on one: 1.15 where that
# is, for on 2.x a process takes twice as long to start. `make engine-tests` runs it on any.
ON_ONE = {"compare", "config", "download", "draw_digits", "experiments", "idx", "lock", "search"}
ON_ONE |= {"sweep", "track"}


@pytest.fixture(scope="session")
def full_bake(bake_to_share):
    """A project with all that there is, and the tests of it."""
    project = bake_to_share(examples="all", many_machines="yes")
    assert copy_engine_tests(project.path) == []
    return project


@pytest.mark.tensorflow
@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_passes(full_bake, runtime_python, any_python, part):
    # By their size, so that no part has all that are long.
    found = sorted(ENGINE_TESTS.rglob("test_*.py"), key=lambda file: (file.stat().st_size, file))
    names = {f"test_{name}.py" for name in ON_ONE}
    assert names < {file.name for file in found}
    if runtime_python != any_python:
        found = [file for file in found if file.name not in names]
    files = [f"engine_tests/{file.relative_to(ENGINE_TESTS).as_posix()}" for file in found]
    # Of a test that hangs, the output tells where.
    words = ["-m", "pytest", "-q", "-o", "faulthandler_timeout=300", *files[part::PARTS]]
    shown = full_bake.run(runtime_python, *words)
    for name in ("submitit", "wandb", "mlflow", "optuna"):  # what an extra installs is tested, too
        assert f"could not import '{name}" not in shown
    assert re.match(r"\d+ passed", shown.splitlines()[-1]), shown


def test_they_are_copied_into_a_project_of_another_name_but_for_what_it_lacks(bake):
    project = bake(project_slug="other")
    left_out = copy_engine_tests(project.path)
    assert {"test_gan.py", "test_processes.py", "test_tables.py"} < set(left_out)
    assert "test_session.py" not in left_out
    files = {file.relative_to(ENGINE_TESTS).as_posix() for file in ENGINE_TESTS.rglob("*.py")}
    files -= set(left_out)
    assert "gpu/test_gpu_training.py" in files
    assert {file for file in project.files() if file.startswith("engine_tests/")} == {
        f"engine_tests/{name}" for name in files
    }
    for name in files:
        text = (project.path / "engine_tests" / name).read_text("utf-8")
        assert "my_project" not in text, name
        # Any of them may be left out, and two are called conftest: what is shared lies in toy.py.
        assert not re.search(r"^from (test_|conftest)", text, re.M), name
    assert "from other.engine." in (project.path / "engine_tests/test_session.py").read_text()


def test_the_command_names_what_is_no_project(bake, tmp_path):
    project = bake()
    command = [sys.executable, ROOT / "scripts" / "engine_tests.py"]
    assert project.run(*command, code=1) == (
        "error: name a project: make engine-tests PROJECT=path/to/project\n"
    )
    shown = project.run(*command, tmp_path, code=1)
    assert shown.startswith(f"error: {tmp_path}: found 0 packages with an engine/, expected one")


@pytest.mark.tensorflow
def test_the_command_runs_them(bake, any_python):
    project = bake(project_slug="other")
    command = [sys.executable, ROOT / "scripts" / "engine_tests.py", project.path]
    words = [f"PYTHON={any_python}", "-q", "-k", "safe"]
    shown = project.run(*command, *words)
    assert "left out, for the project lacks what they test: test_arrays.py," in shown
    assert re.search(r"^\d+ passed, 1 skipped, \d+ deselected", shown, re.M), shown
