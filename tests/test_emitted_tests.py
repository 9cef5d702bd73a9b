"""The emitted project's own tests pass in a default bake."""

import re

import pytest


@pytest.mark.tensorflow
def test_the_emitted_tests_pass(bake, runtime_python):
    shown = bake().run("make", "test", f"PYTHON={runtime_python}", "ARGS=-q")
    assert "could not import 'hydra_plugins" not in shown  # the launchers are tested, too
    assert re.match(r"\d+ passed", shown.splitlines()[-1]), shown


@pytest.mark.tensorflow
def test_what_many_machines_add_passes_too(bake, runtime_python):
    project = bake(many_machines="yes")
    tests = "ARGS=-q tests/test_launch.py tests/test_processes.py"
    shown = project.run("make", "test", f"PYTHON={runtime_python}", tests)
    assert re.match(r"\d+ passed", shown.splitlines()[-1]), shown


@pytest.mark.tensorflow
def test_what_all_examples_add_passes_too(bake, default_bake, runtime_python):
    project = bake(examples="all")
    added = [file for file in project.files() - default_bake.files() if file.startswith("tests/")]
    tests = " ".join(["tests/test_traps.py", *sorted(added)])
    shown = project.run("make", "test", f"PYTHON={runtime_python}", f"ARGS=-q {tests}")
    assert re.match(r"\d+ passed", shown.splitlines()[-1]), shown
