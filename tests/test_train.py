"""A baked project trains: on MNIST if MNIST_MIRROR names a copy of it, on drawn digits if not."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import pytest

from conftest import ENVIRONMENTS, BakedProject

DATA = "mnist" if os.environ.get("MNIST_MIRROR") else "digits"
READ_RUNS = Path(__file__).parent / "read_runs.py"
RUNS = ["straight", "again", "restarted"]

pytestmark = pytest.mark.tensorflow


@dataclass(frozen=True)
class Trained:
    """A project in which `RUNS` were trained up to step 50; `found` is from read_runs.py."""

    project: BakedProject
    python: Path
    found: dict[str, dict]

    def contents(self, run: str) -> dict[str, tuple[int, str]]:
        """The time of the last change and the sum of every file of a run."""
        return {
            str(file): (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest())
            for file in (self.project.path / "runs" / run).rglob("*")
            if file.is_file()
        }


def points(run: Path) -> list[dict]:
    """The lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def train(project: BakedProject, python: Path, *settings: str, code: int = 0) -> str:
    """Trains with intervals that leave something to count; returns what was printed."""
    intervals = ["log=10", "summary=10", "checkpoint=20", "evaluate=20"]
    words = [f"trainer.{interval.replace('=', '_every_n_steps=')}" for interval in intervals]
    return project.run(
        python, "-m", "my_project.train", f"data={DATA}", *words, *settings, code=code
    )


@pytest.fixture(scope="module")
def trained(bake_to_share, runtime_python) -> Trained:
    project = bake_to_share()
    train(project, runtime_python, "run_dir=runs/straight", "trainer.last_step=50")
    train(project, runtime_python, "run_dir=runs/again", "trainer.last_step=50")
    train(project, runtime_python, "run_dir=runs/restarted", "trainer.last_step=30")
    train(project, runtime_python, "run_dir=runs/restarted", "trainer.last_step=50")
    shown = project.run(runtime_python, READ_RUNS, *(f"runs/{run}" for run in RUNS))
    found = json.loads(shown.splitlines()[-1])  # above it stand TensorFlow's warnings
    return Trained(project, runtime_python, dict(zip(RUNS, found, strict=True)))


def test_checkpoints_are_at_exactly_the_configured_steps(trained):
    assert trained.found["straight"]["checkpoints"] == [20, 40, 50]
    assert trained.found["straight"]["global_step"] == 50
    assert trained.found["restarted"]["checkpoints"] == [20, 30, 40, 50]


def test_every_curve_has_its_points_once_and_in_order(trained):
    curves = trained.found["straight"]["summaries"]
    assert {"loss", "accuracy", "eval/loss", "eval/accuracy"} <= set(curves)
    for tag, steps in curves.items():
        if tag.startswith(("settings", "features/image/")):  # shown at the start alone
            assert steps == [1], tag
        elif tag.startswith("eval/"):
            assert steps == [20, 40, 50], tag
        else:
            assert steps == [1, 10, 20, 30, 40, 50], tag


def test_the_loss_falls(trained):
    found = points(trained.project.path / "runs/straight")
    losses = [point["loss"] for point in found if point["split"] == "train"]
    assert len(losses) >= 5
    assert mean(losses[-2:]) < 0.8 * mean(losses[:2])


def test_the_record_names_the_runtime(trained, runtime):
    record = json.loads((trained.project.path / "runs/straight/record.json").read_text("utf-8"))
    assert [start["runtime"] for start in record["starts"]] == [runtime]


def test_two_runs_with_one_seed_are_equal(trained):
    assert trained.found["again"]["variables"] == trained.found["straight"]["variables"]


def test_30_steps_and_20_after_a_restart_equal_50_bit_for_bit(trained):
    assert len(trained.found["straight"]["variables"]) > 4
    assert trained.found["restarted"]["variables"] == trained.found["straight"]["variables"]


def test_a_run_goes_on_under_the_other_tensorflow_with_the_same_losses(trained, runtime):
    environments = json.loads(os.environ[ENVIRONMENTS])
    (other,) = set(environments) - {runtime}
    if "missing" in environments[other]:
        pytest.skip(f"there is no {other}")
    runs = trained.project.path / "runs"
    shutil.copytree(runs / "straight", runs / "moved")
    for step in (40, 50):  # as if it had been killed after step 20
        for file in (runs / "moved/checkpoints").glob(f"model.ckpt-{step}.*"):
            file.unlink()
    python = Path(environments[other]["python"])
    train(trained.project, python, "run_dir=runs/moved", "trainer.last_step=50")
    record = json.loads((runs / "moved/record.json").read_text("utf-8"))
    assert [start["runtime"] for start in record["starts"]] == [runtime, other]
    straight, moved = (
        {(point["step"], point["split"]): point["loss"] for point in points(runs / run)}
        for run in ("straight", "moved")
    )
    assert {(30, "train"), (50, "train"), (40, "test"), (50, "test")} < moved.keys()
    assert moved == pytest.approx(straight, rel=1e-4)


def test_running_a_finished_run_again_changes_nothing(trained):
    before = trained.contents("straight")
    train(trained.project, trained.python, "run_dir=runs/straight", "trainer.last_step=50")
    assert trained.contents("straight") == before


def test_the_demo_learns_to_tell_digits_apart(bake, any_python):
    project = bake()
    project.run(any_python, "-m", "my_project.train", "data=digits", "run_dir=runs/demo")
    found = points(project.path / "runs/demo")
    # Not 1.0: a test set that can be memorized would measure nothing.
    assert 0.90 < [point["accuracy"] for point in found if point["split"] == "test"][-1] < 0.995


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("trainer.last_stpe=9", "trainer.last_step"),
        ("trainer.last_step=abc", "an integer"),
        ("data=mnits", "mnist"),
        ("model.hiden=9", "model.hidden"),
    ],
)
def test_a_wrong_setting_ends_in_one_line_with_a_hint(bake, runtime_python, setting, hint):
    project = bake()
    shown = project.run(runtime_python, "-m", "my_project.train", setting, code=2)
    assert re.fullmatch(rf"error: .*{re.escape(hint)}.*\n", shown), shown
    assert not (project.path / "runs").exists()
