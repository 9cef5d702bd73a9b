"""Each answer does what it says, and whatever is typed stays text."""

import json
import os

import pytest
import yaml

from environments import ROOT

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

PROMPTS = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))

HOSTILE_TEXTS = [
    'Dwayne "The Rock" O\'Neill',
    "back\\slash \\",
    '"""); import os; os.mkdir("x"); ("""',
    "{{ '{{' }} 1/0 }} {{ '{%' }} raise %}",
    "$(touch x) `touch x` ; touch x #",
    "__import__('os').mkdir('x')",
    "<b>&amp;</b> 日本語 Ærøskøbing 😀 \u3000",
]


def test_a_mistyped_prompt_fails_by_name(bake):
    with pytest.raises(KeyError, match="licence"):
        bake(licence="MIT")


@pytest.mark.parametrize(
    ("license", "first_line"),
    [
        ("MIT", "MIT License"),
        ("BSD-3-Clause", "BSD 3-Clause License"),
        ("Apache-2.0", "Apache License"),
    ],
)
def test_the_licence_is_the_chosen_one_with_the_author_in_it(bake, license, first_line):
    text = (bake(license=license, author_name="Ada Lovelace").path / "LICENSE").read_text("utf-8")
    assert text.strip().splitlines()[0].strip() == first_line
    assert "Ada Lovelace\n" in text
    assert sum(title in text for title in ("MIT License", "BSD 3-Clause", "Apache License")) == 1


def test_without_a_licence_there_is_no_licence_file(bake):
    project = bake(license="none")
    assert "LICENSE" not in project.files()


@pytest.mark.parametrize(
    ("ci", "expected"),
    [("github", {".github/workflows/ci.yml"}), ("gitlab", {".gitlab-ci.yml"}), ("none", set())],
)
def test_the_ci_file_is_the_chosen_one(bake, ci, expected):
    project = bake(ci=ci)
    assert {file for file in project.files() if ".git" in file and "ci.yml" in file} == expected
    assert (project.path / ".github").exists() == (ci == "github")
    for file in expected:
        assert yaml.safe_load((project.path / file).read_text("utf-8"))


@pytest.mark.parametrize("prompt", ["license", "ci"])
def test_an_answer_that_is_not_offered_is_refused(refuse, prompt):
    refuse(**{prompt: "whatever"})


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_whatever_is_typed_stays_text(bake, text):
    project = bake(project_slug="fine", project_name=text, author_name=text)
    rendered = text.replace("{{ '{{' }}", "{{").replace("{{ '{%' }}", "{%")
    about = tomllib.loads((project.path / "pyproject.toml").read_text("utf-8"))["project"]
    assert about["description"] == rendered
    assert about["authors"] == [{"name": rendered}]
    assert rendered in (project.path / "LICENSE").read_text("utf-8")
    assert os.listdir(project.path.parent) == ["fine"]
    assert "x" not in os.listdir(project.path)


def test_every_prompt_has_human_words_and_a_section_in_the_documentation():
    asked = [key for key in PROMPTS if not key.startswith("_")]
    assert list(PROMPTS["__prompts__"]) == asked
    documentation = (ROOT / "docs" / "prompts.md").read_text("utf-8")
    headings = [line[4:-1] for line in documentation.splitlines() if line.startswith("## `")]
    assert headings == asked
    for key in asked:
        if isinstance(PROMPTS[key], list):
            assert set(PROMPTS["__prompts__"][key]) == {"__prompt__", *PROMPTS[key]}
            assert all(f"`{choice}`" in documentation for choice in PROMPTS[key])
