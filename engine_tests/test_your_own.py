"""The examples of docs/your_own.md, run as they are printed."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = "my_project"


@pytest.fixture
def project(tmp_path):
    """A copy of the package with all files that the page shows and names."""
    shutil.copytree(os.path.join(ROOT, PACKAGE), str(tmp_path / PACKAGE))
    with open(os.path.join(ROOT, "docs", "your_own.md"), encoding="utf-8") as file:
        page = file.read()
    shown = re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    assert len(shown) == 6
    for name, text in shown:
        (tmp_path / name).write_text(text, encoding="utf-8")
    (script,) = re.findall(r"whole program in Python.*:\n\n```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    (settings,) = re.findall(r"with:\n\n```python\n(SETTINGS = .*?)```", page, re.DOTALL)
    with open(os.path.join(ROOT, "tests", "test_models.py"), encoding="utf-8") as file:
        traps, count = re.subn(r"^SETTINGS = \{.*?\}\n", settings, file.read(), flags=re.M | re.S)
    assert count == 1
    (tmp_path / "test_models.py").write_text(traps, encoding="utf-8")
    return tmp_path


def run(project, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments], cwd=str(project), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_dataset_and_a_model_of_ones_own_train_by_their_names(project):
    settings = ["data=waves", "model=normed", "trainer.last_step=100", "run_dir=run"]
    printed = run(project, "-m", f"{PACKAGE}.train", *settings)
    assert float(re.search(r"test accuracy: ([\d.]+)", printed).group(1)) > 0.5


def test_a_loss_and_a_hook_of_ones_own_are_named_in_the_settings(project):
    with open(os.path.join(ROOT, "docs", "your_own.md"), encoding="utf-8") as file:
        page = file.read()
    (key,) = re.findall(r"^```yaml\n(generalized:.*?)^```", page, re.M | re.S)
    with open(str(project / PACKAGE / "conf" / "losses.yaml"), "a", encoding="utf-8") as file:
        file.write("\n" + key)
    (hooks,) = re.findall(r"^train (trainer\.hooks)='(.*)'$", page, re.M)
    settings = ["data=digits", "loss=generalized", "model.loss.q=1.0", "trainer.last_step=200"]
    run(project, "-m", f"{PACKAGE}.train", *settings, "=".join(hooks), "run_dir=run")
    log = (project / "run" / "train.log").read_text("utf-8")
    assert [*re.findall(r"step (\d+)  largest weight \d", log)] == ["100", "200"]
    losses = [float(text) for text in re.findall(r"step \d+  test: loss ([\d.]+)", log)]
    assert 0 < losses[-1] < 0.5  # 1 - p


def test_a_model_of_ones_own_runs_through_the_traps_with_one_line(project):
    printed = run(project, "-m", "pytest", "-q", "-rs", "-k", "normed", "test_models.py")
    assert re.search(r"^8 passed, \d+ deselected", printed, re.MULTILINE), printed


def test_the_program_without_settings_files_trains_with_its_own_hook(project):
    with open(str(project / "script.py"), "a", encoding="utf-8") as file:
        file.write("print(len(LossHook.losses))\n")
    printed = run(project, "script.py")
    found = re.fullmatch(r"\{'loss': ([\d.]+), 'accuracy': ([\d.]+)\}\n100\n", printed)
    (name,) = os.listdir(str(project / "runs"))
    with open(os.path.join(ROOT, "docs", "your_own.md"), encoding="utf-8") as file:
        (words,) = re.findall(r"^python (-m .*\.evaluate run_dir=.*)$", file.read(), re.M)
    run(project, *words.replace("runs/…", f"runs/{name}").split())
    with open(str(project / "runs" / name / "evaluation" / "test-100.json")) as file:
        result = json.load(file)
    numbers = [float(text) for text in found.groups()]
    assert [result["loss"], result["accuracy"]] == pytest.approx(numbers, rel=1e-5)
