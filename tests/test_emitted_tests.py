"""The emitted project's own tests pass in a default bake."""

import re

import pytest


@pytest.mark.tensorflow
def test_the_emitted_tests_pass(bake, runtime_python):
    shown = bake().run("make", "test", f"PYTHON={runtime_python}", "ARGS=-q")
    assert re.match(r"\d+ passed", shown.splitlines()[-1]), shown
