"""Linters find nothing in what many_machines=yes adds to deploy/."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def lint(bake_to_share):
    """lint(linter, pattern) -> what it says about the files of deploy/ that match."""

    def lint(linter, pattern):
        (program, *_) = [*Path(sys.executable).parent.glob(f"{linter}*"), None]
        if program is None:
            pytest.skip(f"{linter} is not installed beside {sys.executable}")
        folder = bake_to_share(many_machines="yes").path / "deploy"
        files = sorted(folder.glob(pattern))
        assert files
        done = subprocess.run([program, *files], capture_output=True, text=True)
        return done.stdout + done.stderr

    return lint


def test_shellcheck_finds_nothing_in_scripts(lint):
    assert lint("shellcheck", "*.sh") == ""


def test_hadolint_finds_nothing_in_dockerfiles(lint):
    assert lint("hadolint", "*.Dockerfile") == ""
