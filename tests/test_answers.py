"""Any answer, and any place of the template: a whole project, or one line and nothing."""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import PROMPTS, BakedProject, commit, git
from environments import CACHE, ROOT, SOURCE
from test_names import PACKAGE

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

SETTINGS = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))
VERSION = f"v{SETTINGS['_template_version']}"
CHOICES = {key: SETTINGS[key] for key in PROMPTS if isinstance(SETTINGS[key], list)}

HOSTILE = [
    *("'", '"', "'''", '"""', "\\", "\\n", "\\u0041", '"""); import os; os.mkdir("x"); ("""'),
    *("{{", "}}", "{%", "%}", "{#", "#}", "{", "}", "{{ 1/0 }}", "{% raise %}", "{{cookiecutter}}"),
    *("${", "$(touch x)", "`touch x`", ";", "#", "%", "&", "~", "^", "_", "$HOME", "|", ": ", "- "),
    *("<b>&amp;</b>", "[x](y)", "*", "!", "@", "?", "=", ",", "true", "null", "1e3", "0x1", "~"),
    *(
        "日本語",
        "Ærøskøbing",
        "e\u0301",
        "😀",
        "👩‍👩‍👧",
        "🇯🇵",
        "שלום",
        "سلام",
        "हिन्दी",
        "\u3000",
        "\xa0",
    ),
    *("\ufeff", "\u200b", "\ufffd", "\U0010ffff", "\ue000", "İ", "ß", "A", "z", "7", " "),
]

# One letter of these in a name is enough.
REFUSED = [
    *"\n\r\t\x00\x1b\x7f\x85\u2028\u2029\u200e\u200f\u061c\u202a\u202e\u2066\u2069",
    "\ud800",
]

texts = st.lists(
    st.sampled_from(HOSTILE) | st.characters(exclude_categories=("C", "Z")), min_size=1
)
names = texts.map("".join).filter(lambda name: name.strip() and len(name) <= 100)
long_names = texts.map(lambda parts: ("".join(parts) * 101)[:100]).filter(str.strip)
bad_names = (
    st.tuples(names, st.sampled_from(REFUSED), names).map(lambda parts: "".join(parts)[:100])
    .filter(lambda name: set(name) & set(REFUSED))
    | names.map(lambda name: (name * 101)[:101])
    | st.sampled_from(["", " ", "\xa0", "\u3000 "])
)  # fmt: skip


def property_test(examples: int):
    """Settings of a test with n cases: the same in each run, and nothing written."""
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
    return settings(
        **{"max_examples": examples, "derandomize": True, "database": None},
        **{"deadline": None, "suppress_health_check": quiet},
    )


def as_typed(name: str) -> str:
    """What gives this name on a command line, whose words cookiecutter renders."""
    return re.sub(r"\{[{%#]", lambda found: f"{{{{ '{found[0]}' }}}}", name)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """The template with its hooks and all files that hold a name: quickly baked."""
    template = tmp_path_factory.mktemp("small") / "template.git"
    for source in [ROOT / "cookiecutter.json", *ROOT.glob("hooks/*.py"), *SOURCE.rglob("*")]:
        holds = (
            source.is_file()
            and "__pycache__" not in source.parts
            and source.suffix not in (".pyc", ".png")
        )
        holds = holds and re.search("(project|author)_name", source.read_text("utf-8"))
        if (
            holds
            or source.parent.name == "hooks"
            or (source.name == "__init__.py" and source.parent.name == SOURCE.name)
        ):
            target = template / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    assert (template / PACKAGE / "__init__.py").exists()
    assert {"README.md", "LICENSE"} < {file.name for file in (template / SOURCE.name).iterdir()}
    return template


@pytest.fixture(scope="session")
def bake_in(tmp_path_factory):
    """`bake_in(folder, template, **answers)` bakes as the command line does."""
    config = tmp_path_factory.mktemp("home") / "config.json"
    folders = {"replay_dir": str(config.parent), "cookiecutters_dir": str(config.parent)}
    config.write_text(json.dumps(folders))

    def bake_in(folder: Path, template: object, options: "dict | None" = None, **answers: str):
        made = cookiecutter(
            str(template),
            **{"extra_context": answers, "no_input": True, **(options or {})},
            **{"output_dir": str(folder), "config_file": str(config)},
        )
        return BakedProject(Path(made))

    return bake_in


def check_names(project: BakedProject, name: str, author: str, license: str) -> None:
    """Each file that holds a name holds the very same, and can be read by what reads it."""
    text = {file: (project.path / file).read_text("utf-8") for file in project.files()}
    about = tomllib.loads(text["pyproject.toml"])["project"]
    assert about["description"] == name
    assert about["authors"] == [{"name": author}]
    assert text["README.md"].startswith(f"# {name}\n")
    cited = yaml.safe_load(text["CITATION.cff"])
    assert (cited["title"], cited["authors"]) == (name, [{"name": author}])
    assert license == "none" or re.search(rf"20\d\d,? {re.escape(author)}\n", text["LICENSE"])
    state = json.loads(text[".cruft.json"])["context"]["cookiecutter"]
    assert [unrender(state[key]) for key in ("project_name", "author_name")] == [name, author]
    for file, content in text.items():
        if not file.startswith(".github/") and "{" not in name + author:
            assert not re.search(r"\{\{[ -]|\{%|cookiecutter\.\w", content), file
        if file.endswith((".yaml", ".yml")):
            list(yaml.safe_load_all(content))
        if file.endswith(".ipynb"):
            json.loads(content)
        if file.endswith(".py"):
            compile(content, file, "exec")


def unrender(answer: str) -> str:
    """What cruft, which renders it, takes an answer in .cruft.json for."""
    return re.sub(r"\{\{ '(\{.)' \}\}", r"\1", answer)


@pytest.mark.parametrize("examples", [6, pytest.param(40, marks=pytest.mark.tensorflow, id="many")])
def test_any_name_is_text_and_stays_the_same(examples, small, bake_in, tmp_path):
    numbers = itertools.count()

    @property_test(examples)
    @given(name=names | long_names, author=names, license=st.sampled_from(["MIT", "Apache-2.0"]))
    @example(name="é" * 100, author="é" * 100, license="BSD-3-Clause")
    @example(name=" {{{% \\' \" ", author="שלום {# \\", license="none")
    def check(name, author, license):
        folder = tmp_path / str(next(numbers))
        answers = {"project_name": as_typed(name), "author_name": as_typed(author)}
        project = bake_in(folder, small, project_slug="fine", license=license, **answers)
        check_names(project, name, author, license)
        assert os.listdir(folder) == ["fine"]
        assert not {"x", "touch x"} & set(os.listdir(project.path))

    check()
    assert next(numbers) >= examples
    subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", tmp_path], check=True)


def test_any_other_name_is_refused_in_one_line_with_nothing_left(small, bake_in, tmp_path, capfd):
    @property_test(8)
    @given(prompt=st.sampled_from(["project_name", "author_name"]), name=bad_names)
    def check(prompt, name):
        with pytest.raises(FailedHookException):
            bake_in(tmp_path, small, project_slug="fine", **{prompt: as_typed(name)})
        shown = capfd.readouterr().err.splitlines()
        assert len([line for line in shown if line.startswith(f"error: {prompt} ")]) == 1, shown
        assert not [line for line in shown if "Traceback" in line]
        assert os.listdir(tmp_path) == []

    check()


def all_pairs(choices: dict[str, list[str]]) -> list[dict[str, str]]:
    """Few rows in which each two answers to two prompts come together."""
    keys = list(choices)
    rows = [dict(zip(keys, row, strict=True)) for row in itertools.product(*choices.values())]
    chosen, missing = [], {pair for row in rows for pair in itertools.combinations(row.items(), 2)}
    while missing:
        best = max(rows, key=lambda row: len({*itertools.combinations(row.items(), 2)} & missing))
        chosen.append(best)
        missing -= {*itertools.combinations(best.items(), 2)}
    return chosen


@pytest.mark.tensorflow
def test_all_pairs_of_options_are_clean_and_train(bake_in, tmp_path, any_python):
    rows = all_pairs(CHOICES)
    assert 12 <= len(rows) <= 16
    packages: dict[str, tuple[dict[str, str], BakedProject]] = {}
    for number, row in enumerate(rows):
        start = number * len(HOSTILE) // len(rows)
        name, author = "".join(HOSTILE[start : start + 6]), "".join(HOSTILE[-start - 6 :][:6])
        typed = {"project_name": as_typed(name), "author_name": as_typed(author)}
        slug = {"project_slug": "fine"}
        project = bake_in(tmp_path / str(number), ROOT, **row, **typed, **slug)
        check_names(project, name, author, row["license"])
        total = hashlib.sha256()
        for file in sorted(project.files()):
            if file.startswith("fine/"):
                total.update(file.encode() + (project.path / file).read_bytes())
        packages[total.hexdigest()] = row, project
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--no-cache", tmp_path], check=True)
    subprocess.run([*ruff, "format", "--check", "--no-cache", tmp_path], check=True)
    # License, CI and names change no code. Of the four that differ, the least and the most train.
    assert len(packages) == 4
    trained = [
        project
        for row, project in packages.values()
        if (row["examples"], row["many_machines"]) in (("basic", "no"), ("all", "yes"))
    ]
    assert len(trained) == 2
    for project in trained:
        words = ["data=digits", "data.train_examples=2000", "trainer.last_step=50"]
        project.run(any_python, "-m", "fine.train", *words, "run_dir=runs/x")
        assert (project.path / "runs/x/checkpoints/model.ckpt-50.index").exists()


def contents(project: BakedProject) -> dict[str, bytes]:
    return {
        file: (project.path / file).read_bytes()
        for file in project.files()
        if not file.startswith((".git/", ".cruft.json"))
    }


def origin(project: BakedProject) -> tuple[str, str]:
    state = json.loads((project.path / ".cruft.json").read_text("utf-8"))
    return state["template"], state["commit"]


@pytest.mark.slow
def test_an_address_a_zip_a_folder_and_a_replay_give_the_same(small, bake_in, tmp_path):
    template = tmp_path / "template.git"
    shutil.copytree(small, template)
    answers = {"project_slug": "fine", "project_name": as_typed("{{ 日本 \\ \" ' }}")}
    from_folder = bake_in(tmp_path / "0", template, **answers)
    assert origin(from_folder) == (str(template), VERSION)
    git(template, "init", "-q")
    commit(template)
    head = git(template, "rev-parse", "HEAD").strip()
    archive = tmp_path / "template.zip"
    git(template, "archive", "--prefix=template/", "-o", str(archive), "HEAD")

    from_zip = bake_in(tmp_path / "1", archive, **answers)
    assert origin(from_zip) == (str(archive), VERSION)
    from_address = bake_in(tmp_path / "2", template.as_uri(), **answers)
    assert origin(from_address) == (template.as_uri(), head)
    replayed = bake_in(
        tmp_path / "3", template, {"replay": True, "extra_context": None, "no_input": False}
    )
    assert origin(replayed) == (str(template), head)
    git(template, "remote", "add", "origin", "https://ada:p@ss@example.org/ada/t.git")
    cloned = bake_in(tmp_path / "4", template, **answers)
    assert origin(cloned) == ("https://example.org/ada/t.git", head)
    for project in (from_zip, from_address, replayed, cloned):
        assert contents(project) == contents(from_folder)


def test_a_project_that_is_baked_once_more_keeps_what_its_user_wrote(bake_in, tmp_path):
    project = bake_in(tmp_path, ROOT, license="none", many_machines="yes")
    own = ["LICENSE", "my_project/data/tables.py", "my_project/engine/cluster/mine.py"]
    for file in own:
        (project.path / file).write_text("mine\n")
    module = "my_project/model/mlp.py"
    for file in ("README.md", module):
        (project.path / file).write_text("mine\n")
    state = (project.path / ".cruft.json").read_text("utf-8")
    again = {"overwrite_if_exists": True}
    bake_in(tmp_path, ROOT, {**again, "skip_if_file_exists": True}, license="none")
    assert {(project.path / file).read_text() for file in [*own, "README.md", module]} == {"mine\n"}
    assert (project.path / ".cruft.json").read_text("utf-8") == state

    bake_in(tmp_path, ROOT, again, license="none")  # for one machine
    assert {(project.path / file).read_text() for file in own} == {"mine\n"}
    assert (project.path / "README.md").read_text().startswith("# My Project")
    assert (project.path / module).read_text() != "mine\n"
    cluster = project.path / "my_project/engine/cluster"
    assert [file.name for file in cluster.iterdir()] == ["mine.py"]
    assert not (project.path / "my_project/launch.py").exists()

    before = contents(project)
    with pytest.raises(FailedHookException):
        bake_in(tmp_path, ROOT, again, author_name="two\nlines")
    assert contents(project) == before
    assert not [file for file in before if file.startswith(".before_bake")]


@pytest.mark.network
@pytest.mark.parametrize("release", ["cookiecutter==2.6.0", "cookiecutter"])
def test_the_oldest_and_the_newest_cookiecutter_make_the_same(release, bake_in, tmp_path):
    folder = CACHE.parent / release.replace("==", "-")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():  # a test may have been killed before pip was there
        venv.create(folder, with_pip=True, clear=True)
        (folder / "complete").touch()
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", release], check=True)

    name, author = "日本 😀 {{ \" ' \\", "שלום ${x} O'Neill"
    typed = [f"project_name={as_typed(name)}", f"author_name={author}", "project_slug=fine"]
    command = [python, "-m", "cookiecutter", "--no-input", ROOT, "-o", tmp_path]
    home = {**os.environ, "HOME": str(tmp_path / "home")}
    subprocess.run([*command, *typed, "examples=all"], env=home, check=True)
    project = BakedProject(tmp_path / "fine")
    check_names(project, name, author, "MIT")
    answers = {"project_name": as_typed(name), "author_name": author, "examples": "all"}
    other = bake_in(tmp_path / "other", ROOT, project_slug="fine", **answers)
    assert contents(project) == contents(other)
    assert origin(project) == origin(other)

    replay = [python, "-m", "cookiecutter", "--replay", ROOT, "-o", tmp_path / "again"]
    subprocess.run(replay, env=home, check=True)
    assert contents(BakedProject(tmp_path / "again/fine")) == contents(project)
    refused = [*command[:-1], tmp_path / "refused", "project_slug=class"]
    done = subprocess.run(refused, env=home, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "\nerror: project_slug 'class' is a Python keyword; choose " in f"\n{done.stderr}"
    assert not (tmp_path / "refused/class").exists()
