"""A run of 50 steps: what it leaves, that it resumes exactly, and what its commands make of it."""

import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from matplotlib import pyplot

from {{ cookiecutter.project_slug }}.engine.settings import config
from {{ cookiecutter.project_slug }}.evaluate import evaluate
from {{ cookiecutter.project_slug }}.export import export
from {{ cookiecutter.project_slug }}.predict import predict
from {{ cookiecutter.project_slug }}.train.__main__ import train

# What is trained; name yours if you delete these.
CHOICES = {"data": "digits", "model": "mlp"}
SETTINGS = ["data.train_examples=640", "data.test_examples=130", "data.batch_size=64"]

EVERY = {"log": 10, "summary": 10, "checkpoint": 20, "evaluate": 20}

for group, choice in CHOICES.items():
    if not os.path.exists(f"{config.CONF}/{group}/{choice}.yaml"):
        pytest.skip(f"there is no {group}={choice}; change CHOICES", allow_module_level=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(name, *last_steps) -> the directory of a run that was trained up to each of them."""
    root = tmp_path_factory.mktemp("runs")
    settings = [f"{group}={choice}" for group, choice in CHOICES.items()]
    settings += [f"trainer.{what}_every_n_steps={steps}" for what, steps in EVERY.items()]
    settings += [*SETTINGS, f"data.directory={root}/data"]

    def run(name, *last_steps):
        for step in last_steps:
            assert train([*settings, f"run_dir={root}/{name}", f"trainer.last_step={step}"]) == 0
        return root / name

    return run


@pytest.fixture(scope="module")
def trained(run):
    return run("straight", 50)


def points(run_dir, split):
    """The lines of metrics.jsonl about a split."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [point for point in map(json.loads, lines) if point["split"] == split]


def variables(run_dir):
    reader = tf.train.load_checkpoint(str(run_dir / "checkpoints" / "model.ckpt-50"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_checkpoints_are_at_the_steps_that_were_asked_for(trained):
    found = (trained / "checkpoints").glob("model.ckpt-*.index")
    assert {int(path.stem.rpartition("-")[2]) for path in found} == {20, 40, 50}


def test_curves_have_their_points(trained):
    for directory, steps in {".": [1, 10, 20, 30, 40, 50], "eval": [20, 40, 50]}.items():
        (path,) = (trained / directory).glob("events.out.tfevents.*")
        events = list(tf.train.summary_iterator(str(path)))
        assert [e.step for e in events for value in e.summary.value if value.tag == "loss"] == steps


def test_the_loss_falls(trained):
    losses = [point["loss"] for point in points(trained, "train")]
    assert losses[-1] < 0.8 * losses[0]


def test_30_steps_and_20_after_a_restart_are_50_bit_for_bit(trained, run):
    np.testing.assert_equal(variables(run("resumed", 30, 50)), variables(trained))


def test_evaluate_finds_what_was_found_while_training(trained):
    assert evaluate([f"run_dir={trained}", f"file={trained}/found.json"]) == 0
    found = json.loads((trained / "found.json").read_text())
    last = points(trained, "test")[-1]
    assert (found["step"], found["loss"]) == (last["step"], last["loss"])


def test_predict_writes_a_line_for_each_image(trained, tmp_path):
    for name in "ab":
        pyplot.imsave(str(tmp_path / f"{name}.png"), np.random.RandomState(1).rand(28, 28))
    assert predict([f"run_dir={trained}", str(tmp_path), f"file={tmp_path}/found.jsonl"]) == 0
    found = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [os.path.basename(line["file"]) for line in found] == ["a.png", "b.png"]
    np.testing.assert_allclose(*(line["probabilities"] for line in found), rtol=1e-5)


def test_export_writes_a_saved_model(trained, tmp_path):
    assert export([f"run_dir={trained}", f"directory={tmp_path}/saved"]) == 0
    assert (tmp_path / "saved" / "saved_model.pb").exists()
