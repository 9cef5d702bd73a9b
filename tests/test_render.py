"""What a bake looks like: its files, their text, and what git, ruff and mypy make of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from conftest import BakedProject
from environments import ROOT, SOURCE

EXPECTED = Path(__file__).parent / "default_bake.txt"
PACKAGE = SOURCE / "{{cookiecutter.project_slug}}"


def ruff(*arguments: str, cwd: Path) -> None:
    # No cache, for it would lie among the sources of the emitted project.
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}", pytrace=False)


def test_a_default_bake_has_exactly_the_expected_files(default_bake):
    expected = set(EXPECTED.read_text("utf-8").split())
    found = default_bake.files()
    assert found == expected, (
        f"added: {sorted(found - expected)}, lost: {sorted(expected - found)}; "
        f"if that is meant, edit tests/{EXPECTED.name}"
    )


def test_caches_in_a_working_copy_of_the_template_are_not_baked(cookies, default_bake, tmp_path):
    caches = shutil.ignore_patterns("__pycache__", ".*_cache")
    for part in ("hooks", SOURCE.name):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=caches)
    shutil.copy(ROOT / "cookiecutter.json", tmp_path)
    for cache in (".ruff_cache", "{{cookiecutter.project_slug}}/data/__pycache__"):
        (tmp_path / SOURCE.name / cache).mkdir()
        # With a line feed near its start cookiecutter takes it for text, which it is not.
        (tmp_path / SOURCE.name / cache / "1").write_bytes(b"{{ text\n" * 99 + b"\x91")
    result = cookies.bake(template=str(tmp_path))
    assert BakedProject(result.project_path).files() == default_bake.files()


def test_a_project_that_is_baked_once_more_keeps_what_was_made_in_it(default_bake, tmp_path):
    made = {f"{folder}/.ruff_cache/1" for folder in ("datasets/a", "runs/a", ".venv/lib")}
    made |= {"runs/__pycache__/1", "my_project/.my_cache/1"}
    for file in made:
        (tmp_path / "my_project" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my_project" / file).touch()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"replay_dir": str(tmp_path), "cookiecutters_dir": str(tmp_path)}))
    options = {"no_input": True, "overwrite_if_exists": True, "config_file": str(config)}
    cookiecutter(str(ROOT), output_dir=str(tmp_path), **options)
    assert BakedProject(tmp_path / "my_project").files() == default_bake.files() | made


@pytest.fixture(params=["basic", "all"])
def any_bake(request, baked) -> BakedProject:
    """The smallest project and the largest, to look at and not to change."""
    many_machines = {"basic": "no", "all": "yes"}[request.param]
    return baked(examples=request.param, many_machines=many_machines)


def test_nothing_is_left_unrendered(any_bake):
    for file in any_bake.files():
        text = (any_bake.path / file).read_text("utf-8")
        if file.startswith(".github/workflows/"):
            text = text.replace("${{", "")  # GitHub's own
        assert not re.search(r"\{\{|\{%|cookiecutter\.\w", text), file


def test_every_file_ends_with_one_line_feed_and_has_no_other_line_ends(any_bake):
    for file in any_bake.files():
        content = (any_bake.path / file).read_bytes()
        assert b"\r" not in content, file
        assert not content or re.search(rb"[^\n]\n\Z", content), file


def test_the_packages_modules_hold_no_jinja():
    modules = list(PACKAGE.rglob("*.py"))
    assert len(modules) > 20
    for module in modules:
        assert not re.search(r"\{\{|\{%|\{#|cookiecutter", module.read_text("utf-8")), module


def test_the_set_up_is_baked_as_it_is():
    # tests/environments.py runs it in place.
    for file in ("scripts/install.py", "requirements/tf1.txt", "requirements/tf2.txt"):
        assert not re.search(r"\{\{|\{%|\{#", (SOURCE / file).read_text("utf-8")), file


def test_git_takes_every_file_and_ignores_what_training_makes(bake):
    project = bake()
    no_config = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    files = project.files()
    project.run("git", "init", "-q", **no_config)
    for made in (".venv/x", "datasets/mnist/x", "runs/x/train.log", "my_project/__pycache__/x.pyc"):
        (project.path / made).parent.mkdir(parents=True, exist_ok=True)
        (project.path / made).touch()
    own = {"my_project/data/mine.py", "my_project/runs/mine.py", "my_project/datasets/mine.py"}
    for file in own:
        (project.path / file).parent.mkdir(exist_ok=True)
        (project.path / file).touch()
    project.run("git", "add", "-A", **no_config)
    assert set(project.run("git", "ls-files", **no_config).split()) == files | own


def test_the_engine_is_marked_as_the_templates(bake):
    project = bake(project_slug="other")
    project.run("git", "init", "-q")
    for file, value in ("engine/input/idx.py", "set"), ("data/mnist.py", "unspecified"):
        shown = project.run("git", "check-attr", "linguist-vendored", f"other/{file}")
        assert shown == f"other/{file}: linguist-vendored: {value}\n"


@pytest.mark.parametrize("slug", ["a", "my_project", "z" * 40])
def test_a_bake_is_formatted_and_free_of_lint_as_it_comes(bake, slug):
    project = bake(project_slug=slug, examples="all", many_machines="yes")
    ruff("check", cwd=project.path)
    ruff("format", "--check", cwd=project.path)


def test_the_sources_are_formatted_and_free_of_lint_in_place():
    rendered = "*cookiecutter*/tests,*cookiecutter*/*.ipynb"
    ruff("check", "--exclude", rendered, cwd=ROOT)
    ruff("format", "--check", "--exclude", rendered, cwd=ROOT)


def test_the_types_of_a_bake_are_right(baked):
    project = baked(examples="all", many_machines="yes")
    project.run(sys.executable, "-m", "mypy", f"--cache-dir={os.devnull}", "my_project")


def test_make_help_lists_every_target(default_bake):
    targets = re.findall(r"^([a-z]+):", (default_bake.path / "Makefile").read_text("utf-8"), re.M)
    shown = default_bake.run("make", "help")
    assert [line.split()[1] for line in shown.splitlines()] == targets


@pytest.mark.parametrize(
    ("target", "module"),
    [
        ("train", "my_project.train"),
        ("show", "my_project.show"),
        ("benchmark", "my_project.benchmark"),
        ("test", "pytest"),
    ],
)
def test_make_sets_up_what_is_missing_unless_a_python_is_named(default_bake, target, module):
    shown = default_bake.run("make", "-n", target, "ARGS=a=9 b")
    assert shown == f'python3 scripts/install.py\n".venv/bin/python" -m {module} a=9 b\n'
    shown = default_bake.run("make", "-n", target, "ARGS=a=9 b", "PYTHON=my python")
    assert shown == f'"my python" -m {module} a=9 b\n'
