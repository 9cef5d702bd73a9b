"""Each answer does what it says, and whatever is typed stays text."""

import hashlib
import json
import os
import re
from pathlib import PurePosixPath

import pytest
import yaml

from environments import ROOT

PROMPTS = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))


def test_a_mistyped_prompt_fails_by_name(bake):
    with pytest.raises(KeyError, match="licence"):
        bake(licence="MIT")


@pytest.mark.parametrize(
    ("license", "title", "sha256"),
    [
        ("MIT", "MIT License", "9df9f6555f0adef563fb461256a07798bae4756525d32be518b6d99b4ac7f2d0"),
        (
            "BSD-3-Clause",
            "BSD 3-Clause License",
            "ab4ba7f4677f29c9bbd950dd3a92c1d98d4683f1b1b19e6ce0dc7f602d85f012",
        ),
        (
            "Apache-2.0",
            "Apache License",
            "4c2a2141bcba8919d06107f398a94346890c51d850f5cb788de08d5dcca4e2d4",
        ),
    ],
)
def test_the_license_is_the_chosen_one_word_for_word(bake, license, title, sha256):
    text = (bake(license=license, author_name="Ada Lovelace").path / "LICENSE").read_text("utf-8")
    assert text.strip().splitlines()[0].strip() == title
    text, count = re.subn(r"20\d\d(,?) Ada Lovelace\n", r"YEAR\1 AUTHOR\n", text)
    assert (count, hashlib.sha256(text.encode()).hexdigest()) == (1, sha256)


def test_without_a_license_there_is_no_license_file(bake):
    project = bake(license="none")
    assert "LICENSE" not in project.files()


@pytest.mark.parametrize(
    ("ci", "expected"),
    [
        ("github", {".github/workflows/ci.yml", ".github/workflows/update.yml"}),
        ("gitlab", {".gitlab-ci.yml"}),
        ("none", set()),
    ],
)
def test_the_ci_files_are_the_chosen_ones(bake, ci, expected):
    project = bake(ci=ci)
    assert {file for file in project.files() if ".git" in file and ".yml" in file} == expected
    assert (project.path / ".github").exists() == (ci == "github")


def test_github_tests_both_runtimes(default_bake):
    text = (default_bake.path / ".github/workflows/ci.yml").read_text("utf-8")
    workflow = yaml.load(text, yaml.BaseLoader)  # as text: YAML 1.1 takes the key "on" for true
    assert set(workflow["on"]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"] == {"runtime": ["tf1", "tf2"]}
    assert job["env"] == {"RUNTIME": "${{ matrix.runtime }}"}
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test"]


def test_gitlab_tests_both_runtimes(bake):
    job = yaml.safe_load((bake(ci="gitlab").path / ".gitlab-ci.yml").read_text("utf-8"))["test"]
    assert job["parallel"]["matrix"] == [{"RUNTIME": ["tf1", "tf2"]}]
    assert job["script"] == ["make test"]


def example_files(kind: str = "EXAMPLE") -> set[str]:
    """The files and directories that the hook removes, in a project with the default name."""
    hook = (ROOT / "hooks" / "post_gen_project.py").read_text("utf-8")
    named = re.search(rf'{kind}_FILES = """(.+?)"""', hook, re.S)[1]
    files = named.format(package="my_project").split()
    assert len(files) == len(set(files))
    return set(files)


def test_all_has_the_files_of_basic_and_those_that_the_hook_names(bake, default_bake):
    assert "my_project/model/gan.py" in example_files()
    assert not example_files() & default_bake.files()
    assert bake(examples="all").files() == default_bake.files() | example_files()


def test_basic_has_no_trace_of_the_other_examples(default_bake):
    modules = "|".join(PurePosixPath(file).stem for file in example_files() if ".py" in file)
    trace = re.compile(rf"\b(data|model)[./=]({modules})\b|\b(RNN|ResNet|GAN|SQLite)\b")
    for file in default_bake.files():
        text = (default_bake.path / file).read_text("utf-8")
        assert not trace.search(text), (file, trace.search(text))


@pytest.fixture(scope="module")
def cluster_bake(baked):
    """A project for many machines, to look at and not to change."""
    return baked(many_machines="yes")


def test_many_machines_adds_the_files_that_the_hook_names(cluster_bake, default_bake):
    named = example_files("CLUSTER")
    assert {"my_project/launch.py", "my_project/engine/cluster", "deploy/slurm.sh"} < named
    added = cluster_bake.files() - default_bake.files()
    assert default_bake.files() < cluster_bake.files()
    assert {name for file in added for name in named if f"{file}/".startswith(f"{name}/")} == named
    assert all(any(f"{file}/".startswith(f"{name}/") for name in named) for file in added)
    trace = re.compile(
        r"my_project\.launch\b|\bdeploy/|many_machines\.md|ClusterTrainer|engine.cluster"
    )
    for file in default_bake.files():
        assert not trace.search((default_bake.path / file).read_text("utf-8")), file


def test_every_process_of_a_tfjob_starts_again_after_a_signal_and_shares_the_runs(cluster_bake):
    text = (cluster_bake.path / "deploy" / "tfjob.yaml").read_text("utf-8")
    claim, job = yaml.safe_load_all(text)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    replicas = job["spec"]["tfReplicaSpecs"]
    assert {role: spec["replicas"] for role, spec in replicas.items()} == {
        **{"Chief": 1, "PS": 1},
        **{"Worker": 2, "Evaluator": 1},
    }
    for spec in replicas.values():
        assert spec["restartPolicy"] == "ExitCode"
        (container,) = spec["template"]["spec"]["containers"]
        (volume,) = spec["template"]["spec"]["volumes"]
        assert container["name"] == "tensorflow"
        assert container["volumeMounts"][0]["mountPath"] == "/project/runs"
        assert any(word.startswith("run_dir=runs/") for word in container["args"])
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert job["spec"]["runPolicy"]["cleanPodPolicy"] == "None"


def test_images_have_a_named_base_and_train(cluster_bake):
    images = sorted((cluster_bake.path / "deploy").glob("*.Dockerfile"))
    assert [image.stem for image in images] == ["tf1-cpu", "tf1-gpu", "tf1-nvidia", "tf2"]
    for image in images:
        text = image.read_text("utf-8")
        assert re.search(r"^FROM [\w./]+:\d+\.\d+[.-]\w+", text, re.M), image
        installed = image.stem == "tf1-nvidia"
        wanted = "--runtime installed" if installed else f"requirements/{image.stem[:3]}.txt"
        assert wanted in text
        assert re.search(r"^USER 1000$", text, re.M)
        assert '"-m", "my_project.train"]' in text


def test_the_slurm_script_can_be_run(cluster_bake):
    script = cluster_bake.path / "deploy" / "slurm.sh"
    assert os.name == "nt" or os.access(script, os.X_OK)
    assert 'export PS_TASKS="${PS_TASKS:-1}"' in script.read_text("utf-8")


@pytest.mark.parametrize("prompt", ["license", "ci", "examples", "many_machines"])
def test_an_answer_that_is_not_offered_is_refused(refuse, prompt):
    refuse(**{prompt: "whatever"})


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
