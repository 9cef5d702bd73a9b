"""What a user does in the first week leaves everything green, with nothing else to edit."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import BakedProject, commit, git

pytestmark = pytest.mark.tensorflow

# Imports every module, and composes and makes every data set and model that conf/ names.
LOOK = """
import importlib, pathlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, sys.argv[1] + "."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
config = importlib.import_module(sys.argv[1] + ".engine.settings.config")
for group in ("data", "model"):
    for file in sorted(pathlib.Path(config.CONF, group).iterdir()):
        composed = config.load_config([*sys.argv[2:], f"{group}={file.stem}"])
        config.instantiate(composed[group])
"""


def write_what_is_printed(project: BakedProject, *pages: str) -> list[str]:
    """Writes each file that a page shows under its name; returns the names."""
    names = []
    for page in pages:
        text = (project.path / page).read_text("utf-8")
        for name, content in re.findall(
            r"`([\w/]+\.(?:py|yaml))`[^`\n]*:\n\n```\w+\n(.*?)```", text, re.S
        ):
            (project.path / name).write_text(content, "utf-8")
            names.append(name)
    return names


def lint(project: BakedProject) -> None:
    for command in (["check"], ["format", "--check"]):
        project.run(sys.executable, "-m", "ruff", *command, "--no-cache", ".")


def run_tests(project: BakedProject, python: Path) -> str:
    shown = project.run("make", "test", f"PYTHON={python}", "ARGS=-q")
    return shown.splitlines()[-1]


def test_what_is_printed_is_written_and_what_is_theirs_replaced(bake, any_python):
    project = bake()
    names = write_what_is_printed(project, "docs/your_own.md", "docs/data.md")
    assert len(names) >= 8
    for name in ("README.md", "LICENSE"):
        (project.path / name).write_text("mine\n")
    shutil.rmtree(project.path / ".github")
    shutil.rmtree(project.path / "docs")
    lint(project)
    assert re.match(r"\d+ passed, \d+ skipped", run_tests(project, any_python))
    words = ["data=waves", "model=normed", "trainer.last_step=3", "run_dir=runs/first"]
    project.run(any_python, "-m", "my_project.train", *words)
    assert (project.path / "runs/first/checkpoints/model.ckpt-3.index").exists()


def example_files(project: BakedProject) -> dict[str, list[Path]]:
    """Example -> its files: one that conf/data/ or conf/model/ names, with its module."""
    package = project.path / "my_project"
    found: dict[str, list[Path]] = {}
    for settings in sorted([*package.glob("conf/data/*.yaml"), *package.glob("conf/model/*.yaml")]):
        (target,) = re.findall(r"^_target_: my_project\.(.+)\.\w+$", settings.read_text(), re.M)
        module = package / f"{target.replace('.', '/')}.py"
        found[f"{settings.parent.name}/{settings.stem}"] = [settings, module]
    return found


def test_each_example_can_be_deleted(bake, any_python):
    project = bake(examples="all")
    kept = {"data/digits": "data=digits", "model/mlp": "model=mlp"}  # the last ones to go
    examples = example_files(project)
    assert len(examples) >= 14
    for name in sorted(examples, key=lambda name: name in kept):
        if name in kept:
            write_what_is_printed(project, "docs/your_own.md")
            conf = project.path / "my_project/conf/train.yaml"
            own = {"data/digits": "waves", "model/mlp": "normed"}[name]
            group = name.partition("/")[0]
            text, count = re.subn(rf"- {group}: \w+", f"- {group}: {own}", conf.read_text())
            assert count == 1
            conf.write_text(text)
        for path in examples[name]:
            path.unlink()
        lint(project)
        digits = (project.path / "my_project/conf/data/digits.yaml").exists()
        project.run(any_python, "-c", LOOK, "my_project", *["data=digits"] * digits)
    project.run(any_python, "-m", "my_project.train", "trainer.last_step=3", "run_dir=runs/own")
    assert re.match(r"\d+ passed, \d+ skipped", run_tests(project, any_python))


def test_the_package_is_renamed_by_the_command_that_is_printed(bake, any_python):
    project = bake()
    page = (project.path / "docs/your_own.md").read_text("utf-8")
    (command,) = re.findall(r"^git mv my_project new_name.*$", page, re.M)
    git(project.path, "init", "-q")
    commit(project.path)
    project.run("bash", "-c", command)
    lint(project)
    project.run(any_python, "-c", LOOK, "new_name", "data=digits")
    left = subprocess.run(["git", "grep", "-w", "my_project"], cwd=project.path)
    assert left.returncode == 1
