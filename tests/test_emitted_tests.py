"""The emitted tests pass, whatever the answers, and whatever a user does with what is theirs."""

import os
import re
import shutil
from pathlib import Path

import pytest

from conftest import BakedProject

WRITE_DATASETS = Path(__file__).parent / "write_datasets.py"

pytestmark = pytest.mark.tensorflow


def run_tests(project: BakedProject, python: Path) -> str:
    """The last line that `make test` prints."""
    shown = project.run("make", "test", f"PYTHON={python}", "ARGS=-q")
    return shown.splitlines()[-1]


def test_they_try_each_model_and_each_data_set(bake, runtime_python):
    project = bake(examples="all")
    project.run(runtime_python, WRITE_DATASETS)
    conf = project.path / "my_project" / "conf"
    models, datasets = (len(list((conf / group).iterdir())) for group in ("model", "data"))
    passed, skipped = re.match(
        r"(\d+) passed, (\d+) skipped", run_tests(project, runtime_python)
    ).groups()
    # Generated data are streamed, and have no position; the GAN optimizes in a way of its own.
    assert int(skipped) == 3
    assert int(passed) + 3 >= 8 * models + 10 * datasets + 7


def test_they_pass_in_a_default_bake_without_a_data_set_or_a_network(bake, any_python):
    assert re.match(r"\d+ passed, 30 skipped", run_tests(bake(), any_python))


LEAK = """
import os, sys
import numpy as np

if not os.path.exists("datasets/arrays"):
    os.makedirs("datasets/arrays")
classes, shared = map(int, sys.argv[1:])
features = np.random.RandomState(1).rand(300, 2)
tests = np.concatenate([features[:shared], np.random.RandomState(2).rand(200 - shared, 2)])
for split, values in ("train", features), ("test", tests):
    np.save(f"datasets/arrays/{split}_features.npy", values)
    np.save(f"datasets/arrays/{split}_labels.npy", np.arange(len(values)) % classes)
"""


def test_they_find_test_examples_in_training_and_a_class_that_training_lacks(bake, any_python):
    project = bake(examples="all")
    chosen = "arrays and (few_are_said or class_is)"
    words = ["-m", "pytest", "-q", "tests/test_data.py", "-k", chosen]
    project.run(any_python, "-c", LEAK, "10", "0")
    assert "2 passed" in project.run(any_python, *words)
    project.run(any_python, "-c", LEAK, "10", "2")  # 1 % may be, and is said
    said = "UserWarning: 2 of 200 examples of test are in training, too"
    assert said in project.run(any_python, *words)
    project.run(any_python, "-c", LEAK, "9", "3")
    found = project.run(any_python, *words, code=1)
    assert "AssertionError: 3 of 200 examples of test are in training, too" in found
    assert "AssertionError: no training example of class [9]" in found


def test_they_do_not_look_at_what_a_user_replaces_or_deletes(bake, any_python):
    project = bake()
    for name in ("README.md", "LICENSE", ".github", "docs", "deploy"):
        path = project.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    package = project.path / "my_project"
    for name in ("data/tfrecord", "data/images", "model/cnn"):
        os.remove(package / f"{name}.py")
        os.remove(package / "conf" / f"{name}.yaml")
    imports = package / "model" / "__init__.py"
    imports.write_text(re.sub(r"from \.cnn .*\n", "", imports.read_text()))
    (package / "conf/data/mine.yaml").write_text(
        (package / "conf/data/digits.yaml").read_text().replace("datasets/digits", "datasets/mine")
    )
    (package / "conf/model/mine.yaml").write_text((package / "conf/model/mlp.yaml").read_text())
    assert re.match(r"\d+ passed, 20 skipped", run_tests(project, any_python))
