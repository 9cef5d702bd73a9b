"""Names: what becomes of them, and which are refused before anything is written."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from environments import ROOT, SOURCE

PACKAGE = "{{cookiecutter.project_slug}}/{{cookiecutter.project_slug}}"


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The prompts and the hook that judges the answers, with a project that is baked quickly."""
    template = tmp_path_factory.mktemp("template")
    (template / "hooks").mkdir()
    for file in ("cookiecutter.json", "hooks/pre_gen_project.py"):
        shutil.copy(ROOT / file, template / file)
    (template / PACKAGE).mkdir(parents=True)
    (template / PACKAGE / "__init__.py").touch()
    return template


REFUSED_SLUGS = {
    "no identifier": [
        "my-project",
        "my project",
        "3d",
        "",
        "a.b",
        "a/b",
        "../a",
        'a"b',
        "a\\",
        "é",
    ],
    "no name of a distribution": ["a_", "my__"],
    "not all lower-case": ["MyProject", "_private", "日本"],
    "too long": ["a" * 41],
    "a keyword": ["class", "async", "lambda"],
    "a module": [
        "test",
        "random",
        "json",
        "imp",
        "tomllib",
        "tensorflow",
        "numpy",
        "hydra",
        "tqdm",
    ],
    "a package or a command": ["hydra_core", "pyyaml", "python", "activate"],
    "a directory of the project": [
        "tests",
        "scripts",
        "requirements",
        "docs",
        "deploy",
        "build",
        "dist",
        "datasets",
        "runs",
        "engine_tests",
    ],
    "known to pytest": ["conftest", "test_", "test_model"],
    "known to Hydra": ["hydra_plugins"],
    "a device of Windows": ["con", "prn", "aux", "nul", "com0", "com9", "lpt0", "lpt9"],
    "code": ["$(touch x)", "__import__('os')", "{{ '{{' }} 1/0 }}", '"""+1', "a\nb", "a\x07"],
}


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Project", "my_project"),
        ("  Deep--Net (v2) ", "deep_net_v2"),
        ("Größe & Ähnlichkeit", "grosse_ahnlichkeit"),
        ("3D shapes", "project_3d_shapes"),
        ("3" * 60, "project_" + "3" * 32),
        ("!!!", "my_project"),
        ("One Name That Goes On And On And On", "one_name_that_goes_on_and_on_and"),
    ],
)
def test_the_slug_follows_the_name(bake, name, slug):
    project = bake(project_name=name)
    assert project.path.name == slug
    assert (project.path / slug / "__init__.py").is_file()


@pytest.mark.parametrize(
    "slug",
    [
        pytest.param(slug, id=f"{why}: {slug!a}")
        for why in REFUSED_SLUGS
        for slug in REFUSED_SLUGS[why]
    ],
)
def test_a_slug_that_cannot_name_a_package_is_refused_in_one_line(refuse, capfd, slug):
    refuse(project_slug=slug)
    if slug:  # with none, cookiecutter itself finds that the directory exists already
        assert (
            len(
                re.findall(
                    r"^error: project_slug .+; (?:use|choose) .+$", capfd.readouterr().err, re.M
                )
            )
            == 1
        )


@pytest.mark.parametrize(
    "slug", ["a", "a" * 40, "match", "data", "model", "builds", "conference", "testing"]
)
def test_any_other_slug_is_taken(bake, slug):
    assert bake(project_slug=slug).path.name == slug


@pytest.mark.parametrize("prompt", ["project_name", "author_name"])
@pytest.mark.parametrize(
    "text",
    ["", "  ", "two\nlines", "a\tb", "\x1b[31m", "a\u2028b", "a\u202eb", "a\u2066b", "é" * 101],
)
def test_a_name_that_is_not_one_short_line_of_text_is_refused(refuse, capfd, prompt, text):
    refuse(**{"project_slug": "fine", prompt: text})
    assert f"error: {prompt} " in capfd.readouterr().err


def test_a_name_of_100_letters_is_taken(bake):
    assert bake(project_slug="fine", project_name="é" * 100, author_name="é" * 100)


def test_a_python_that_is_too_old_for_the_template_is_named_in_one_line():
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text("utf-8")
    aged = "import sys; sys.version_info = (3, 9, 18); exec(sys.stdin.read())"
    command = [sys.executable, "-c", aged]
    done = subprocess.run(command, input=hook, capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert re.fullmatch(
        "error: cookiecutter runs on Python 3.9; .* needs >= 3.10, .*\n", done.stderr
    )


def test_the_hook_copies_what_the_template_has_and_no_weights_of_gigabytes():
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text("utf-8")
    copied = re.search('TEMPLATE_NAMES = """(.+?)"""', hook, re.S)[1].split()
    files = subprocess.check_output(["git", "ls-files", SOURCE.name], cwd=ROOT, encoding="utf-8")
    names = {file.split("/")[1] for file in files.splitlines()}
    assert sorted(copied) == sorted(names - {SOURCE.name})


@pytest.fixture
def cookiecutter(template):
    """Bakes by cookiecutter's command line into `directory`; returns what it printed."""

    def cookiecutter(directory, *answers, code):
        command = [sys.executable, "-m", "cookiecutter", template, "--no-input", "-o", directory]
        done = subprocess.run(
            [*command, *answers],
            env={**os.environ, "HOME": f"{directory}-home"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    return cookiecutter


@pytest.mark.parametrize("slug", ["class", "x/y", "x/y/z", "../x", "../x/y"])
def test_a_refused_slug_leaves_nothing_behind_inside_or_outside(tmp_path, cookiecutter, slug):
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine").write_text("precious")
    assert "error: project_slug" in cookiecutter(here, f"project_slug={slug}", code=1)
    assert [file for file in tmp_path.rglob("*") if "here-home" not in file.parts] == [
        here,
        here / "mine",
    ]


def test_an_existing_directory_is_left_as_it_was(tmp_path, cookiecutter):
    mine = tmp_path / "my_project" / "LICENSE"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert 'my_project" directory already exists' in cookiecutter(tmp_path, code=1)
    assert [file.name for file in mine.parent.iterdir()] == ["LICENSE"]
    assert mine.read_text("utf-8") == "mine"


@pytest.mark.tensorflow
def test_no_slug_can_shadow_what_is_installed(runtime, runtime_python):
    listing = (
        "import os, sysconfig; paths = sysconfig.get_paths(); "
        "print(*os.listdir(paths['purelib']), *os.listdir(paths['scripts']), sep='\\n')"
    )
    found = subprocess.check_output([runtime_python, "-c", listing], text=True).splitlines()
    names = {name.removesuffix(".py") for name in found}
    names |= {name.partition("-")[0].lower() for name in found if name.endswith(".dist-info")}
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text("utf-8")
    refused = set(re.search('INSTALLED_NAMES = """(.+?)"""', hook, re.S)[1].split())
    missing = {name for name in names if re.fullmatch("[a-z][a-z0-9_]*", name)} - refused
    assert not missing, f"add {sorted(missing)} to INSTALLED_NAMES in hooks/pre_gen_project.py"
