"""What must agree across this repository, and what must not be in it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from environments import EXTRAS, ROOT, SOURCE

VERSION = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))["_template_version"]


def repository_files() -> list[Path]:
    """All files that git has or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command, cwd=ROOT, text=True).split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_all_places_name_the_same_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## (\S+)", changelog, re.M)[1] == VERSION
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text("utf-8")
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        named = re.findall(r"--checkout v(\S+?)[`\s]", page.read_text("utf-8"))
        assert set(named) <= {VERSION}, page
    assert f"--checkout v{VERSION}`" in (ROOT / "README.md").read_text("utf-8")


def test_each_version_says_what_an_updater_must_do():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.split(r"^## ", changelog, flags=re.M)[1:]
    for section in versions:
        assert re.match(r"\d+\.\d+\.\d+ \((\d{4}-\d\d-\d\d|unreleased)\)\n", section)
        assert re.search(r"\n### What an updater must do\n\S[^#]+\Z", section), section[:40]
    assert not [one for one in versions[1:] if "(unreleased)" in one[:40]]


def test_no_command_names_an_owner_who_is_to_be_replaced():
    for file in repository_files():
        if file.suffix in (".md", ".py", ".yml", ".toml") and file != Path(__file__):
            assert "OWNER" not in file.read_text("utf-8"), file


def test_no_file_names_a_place_on_somebodys_machine():
    # Not what follows a letter, for instance in an address, or a variable.
    folders = "home|root|Users|mnt|media|tmp|opt|srv|var|work|workspace|data"
    place = re.compile(rf"(?<![\w.}}/])/(?:{folders})/[\w.]|[A-Z]:\\Users")
    for file in repository_files():
        # All but pictures is UTF-8; these may have remarks in them.
        text = file.read_text("latin-1" if file.suffix == ".png" else "utf-8")
        assert not place.search(text), file


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bit")
def test_ci_can_be_started():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_make_help_lists_every_target():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    shown = subprocess.check_output(["make", "--no-print-directory"], cwd=ROOT, text=True)
    assert [line.split()[1] for line in shown.splitlines()] == targets


def test_the_page_names_what_the_extras_are_made_of():
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)\.txt` \| (.+) \| (.+) \|$", page, re.M)
    assert {name for name, *_ in rows} == set(EXTRAS)
    for name, old, new in rows:
        frozen = (SOURCE / "requirements" / f"{name}.txt").read_text("utf-8")
        for pins, marker in (old, '< "3.8"'), (new, '>= "3.10"'):
            for pin in re.findall("`(.+?)`", pins):
                assert f"\n{pin} ; python_version {marker} " in frozen, (name, pin)


@pytest.mark.slow
def test_tests_of_a_group_run_on_one_worker(tmp_path):
    """Else what they share is made twice, at once, as with pytest 9.2 and pytest-xdist 3.8."""
    (tmp_path / "test_group.py").write_text(
        "import os, pytest\n"
        'pytestmark = [pytest.mark.xdist_group("one")]\n'
        '@pytest.mark.parametrize("number", range(6))\n'
        "def test_it(number):\n"
        '    print(os.environ["PYTEST_XDIST_WORKER"], file=open(f"{number}.txt", "w"))\n'
    )
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "test_group.py"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.PIPE)
    found = [(tmp_path / f"{number}.txt").read_text() for number in range(6)]
    assert len(set(found)) == 1
