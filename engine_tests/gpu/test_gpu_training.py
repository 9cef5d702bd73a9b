"""On a GPU: every model trains and is used; results are equal where that is promised."""

import json
import logging
import math
import os
import re
import signal
import time

import pytest
import tensorflow.compat.v1 as tf
from my_project.benchmark import benchmark
from my_project.engine.compat import RUNTIME
from my_project.engine.run.gpus import visible_gpus
from my_project.engine.run.metrics import read_metrics
from my_project.evaluate import evaluate
from my_project.export import export
from my_project.predict import predict
from my_project.train.__main__ import train
from PIL import Image

pytestmark = pytest.mark.gpu
ON_CPU = not visible_gpus()

MODELS = {
    "mlp": [],
    "cnn": ["model=cnn"],
    "resnet": ["model=resnet", "model.filters=[8,16,32]"],
    "rnn": ["model=rnn", "model.units=16"],
    "gan": ["model=gan", "model.filters=8"],
    "keras": ["trainer=keras"],
    "streamed": ["data.memory_fraction=0"],
    "float16": ["model=cnn", "model.loss_scale=128"],
    "xla": ["model=cnn", "trainer.xla=true"],
}


@pytest.fixture
def words(digits_directory):
    """Small data, and few steps."""
    data = ["data=digits", f"data.directory={digits_directory}", "data.train_examples=640"]
    return [*data, "data.test_examples=130", "data.batch_size=64", "trainer.last_step=20"]


@pytest.mark.gpu(only="there")
def test_tensorflow_uses_the_gpu():
    assert tf.config.experimental.list_physical_devices("GPU"), "CUDA's libraries are not found"


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_a_model_trains_is_evaluated_predicts_and_is_exported(
    settings, words, tmp_path, caplog, capsys
):
    caplog.set_level(logging.INFO)
    run = f"run_dir={tmp_path}/run"
    start = time.perf_counter()
    assert train([*words, *settings, run]) == 0
    secs = time.perf_counter() - start
    (plan,) = [text for text in caplog.messages if text.startswith("steps 1 to 20")]
    assert (" on the CPU" in plan) is ON_CPU, plan
    assert "is not used" not in caplog.text
    lines = read_metrics(f"{tmp_path}/run/metrics.jsonl")
    assert lines[-1]["step"] == 20
    numbers = [line[name] for line in lines for name in line if name not in ("step", "split")]
    assert all(number is not None and math.isfinite(number) for number in numbers)
    caplog.clear()
    assert evaluate([run]) == 0
    assert "as while training; the largest difference is" in caplog.text
    assert export([run, f"directory={tmp_path}/served"]) == 0
    assert "; loaded again, the largest difference is" in capsys.readouterr().out
    with capsys.disabled():
        print(f" {secs:.1f} s", caplog.messages[-1].partition("; ")[2], end="")
    test = f"{tmp_path}/run/evaluation"
    assert os.listdir(test)


def test_predictions_are_made(words, tmp_path, capsys):
    assert train([*words, "model=cnn", f"run_dir={tmp_path}/run"]) == 0
    capsys.readouterr()
    Image.new("L", (28, 28), 255).save(str(tmp_path / "white.png"))
    assert predict([f"run_dir={tmp_path}/run", f"{tmp_path}/white.png"]) == 0
    assert json.loads(capsys.readouterr().out)["class"] in range(10)


@pytest.mark.parametrize("names", [["mlp"]] if ON_CPU else [["cnn", "resnet"], ["rnn", "gan"]])
def test_with_deterministic_two_runs_and_a_resumed_one_are_equal(
    names, side_by_side, tmp_path, variables
):
    every = ["trainer.deterministic=true", "trainer.checkpoint_every_n_steps=15"]
    runs = {
        f"{name}-{run}": [*MODELS[name], *every, f"run_dir={tmp_path}/{name}-{run}"]
        for name in names
        for run in ("one", "other", "resumed")
    }
    first = {run: 15 if "resumed" in run else 30 for run in runs}
    side_by_side(*([*runs[run], f"trainer.last_step={first[run]}"] for run in runs))
    resumed = [run for run in runs if "resumed" in run]
    side_by_side(*([*runs[run], "trainer.last_step=30"] for run in resumed))
    for run in runs:
        one, found = variables(tmp_path / f"{run.split('-')[0]}-one"), variables(tmp_path / run)
        assert found["global_step"] == 30
        assert [name for name in one if (one[name] != found[name]).any()] == [], run


UNSUPPORTED = """
import sys
import tensorflow.compat.v1 as tf
from my_project.data.digits import Digits
from my_project.engine.errors import ModelError
from my_project.model.mlp import MLP
from my_project.train.trainer import SessionTrainer

class Cropped(MLP):
    def build(self, input_shape):
        self.shift = self.add_weight("shift", [1, 28, 28, 1])
        super().build(input_shape)

    def call(self, inputs, training=False):
        boxes = tf.constant([[0.1, 0.1, 0.9, 0.9]])
        cropped = tf.image.crop_and_resize(self.shift, boxes, [0], [28, 28])
        return super().call(inputs + tf.reshape(cropped, [1, *inputs.shape[1:]]), training)

data = Digits("DATA", train_examples=640, test_examples=130, batch_size=64)
try:
    SessionTrainer(run_dir="RUN", last_step=2, deterministic=True).fit(Cropped(hidden=8), data)
except ModelError as error:
    print("named:", error)
"""


@pytest.mark.gpu(only="there")
@pytest.mark.skipif(RUNTIME == "tf1", reason="stock 1.15 does not tell")
def test_an_operation_without_a_deterministic_kernel_is_named(
    side_by_side, tmp_path, digits_directory
):
    program = UNSUPPORTED.replace("DATA", digits_directory).replace("RUN", f"{tmp_path}/run")
    (shown,) = side_by_side([program])
    assert "named: trainer.deterministic=true: " in shown, shown
    assert "CropAndResize" in shown


@pytest.mark.gpu(only="there")
def test_the_benchmark_tells_of_memory_and_copies(words, capsys):
    settings = [word for word in words if "last_step" not in word]
    assert benchmark([*settings, "model=cnn", "seconds=0.5"]) == 0
    found = re.search(r"at most ([\d,]+) MB in a step, of .* take (\d+)%", capsys.readouterr().out)
    assert int(found.group(1).replace(",", "")) > 0
    assert 0 <= int(found.group(2)) <= 100


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_sigterm_saves_and_the_same_command_resumes(start, tmp_path, checkpoint_steps):
    words = ["model=cnn", "trainer.log_every_n_steps=10"]
    process = start(*words, "trainer.last_step=1000000")
    log = tmp_path / "run" / "train.log"
    while not log.exists() or "step 10 " not in log.read_text():
        assert process.poll() is None, (tmp_path / "output").read_text()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143, (tmp_path / "output").read_text()
    saved = checkpoint_steps(tmp_path / "run")[-1]
    assert saved >= 10
    assert start(*words, f"trainer.last_step={saved + 5}").wait() == 0
    assert checkpoint_steps(tmp_path / "run")[-1] == saved + 5
