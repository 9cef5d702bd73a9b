"""What TensorBoard shows: a run asked for over HTTP, as a browser does, and one that was killed."""

import glob
import html
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import matplotlib.image
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.loop.summaries import image_summaries
from my_project.engine.run.metrics import read_metrics
from my_project.model.mlp import MLP
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS = [1, 5, 10, 15, 20]

KILLED = """
import os, signal, sys
import tensorflow.compat.v1 as tf
from my_project.data.digits import Digits
from my_project.model.mlp import MLP
from my_project.train.trainer import SessionTrainer

class Kill(tf.train.SessionRunHook):
    steps = 0

    def before_run(self, run_context):
        self.steps += 1
        if self.steps == 18:
            os.kill(os.getpid(), signal.SIGKILL)

run_dir, directory = sys.argv[1:]
digits = Digits(directory, train_examples=640, test_examples=130, batch_size=64)
SessionTrainer(
    run_dir,
    last_step=30,
    checkpoint_every_n_steps=10,
    summary_every_n_steps=3,
    evaluate_every_n_steps=6,
    hooks=[Kill()],
).fit(MLP(hidden=16, dropout=0.5), digits, config="model: killed\\n")
"""


def accumulated(directory):
    """All that TensorBoard reads of the event files in a directory."""
    events = EventAccumulator(str(directory), {"scalars": 0, "tensors": 0})
    return events.Reload()


@pytest.fixture(scope="module")
def tensorboard(trained, tmp_path_factory):
    """tensorboard(path, **query) -> what `make tensorboard` answers about a run of 20 steps."""
    if not shutil.which("make"):
        pytest.skip("there is no make")
    directory = tmp_path_factory.mktemp("tensorboard")
    # No proxy may be asked for an address of this machine.
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    options = f"ARGS=--logdir {directory} --port 0 --reload_interval 1"
    command = ["make", "-s", "-C", ROOT, "tensorboard", f"PYTHON={sys.executable}", options]
    with open(str(directory / "output"), "w+") as output:
        group = {"start_new_session": True}  # so that make and its children are killed together
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **group)

    def ask(path, **query):
        found = re.findall(r"http://localhost:\d+", (directory / "output").read_text())
        address = f"{found[-1]}/data/{path}?{urllib.parse.urlencode(query)}"
        with browser.open(address, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if "json" in answer.headers["Content-Type"] else body

    def loaded():  # one run may be read before it ends, and the other after that
        try:
            curves = [
                ask("plugin/scalars/scalars", run=run, tag="loss") for run in ("run", "run/eval")
            ]
            return all(points[-1][1] == 20 for points in curves)
        except (OSError, IndexError):  # not there yet
            return False

    try:
        every = [f"trainer.{what}_every_n_steps=5" for what in ("log", "summary")]
        trained(*every, "trainer.histograms=true", f"run_dir={directory}/run")
        deadline = time.monotonic() + 180
        while not loaded():
            assert time.monotonic() < deadline, (directory / "output").read_text()
            time.sleep(0.5)
        ask.run = directory / "run"
        yield ask
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(("run", "split"), [("run", "train"), ("run/eval", "test")])
def test_training_and_evaluation_are_two_curves_of_one_name_with_the_numbers_of_the_log(
    tensorboard, run, split
):
    lines = read_metrics(f"{tensorboard.run}/metrics.jsonl")
    lines = [line for line in lines if line["split"] == split]
    for tag in ("loss", "accuracy"):
        points = tensorboard("plugin/scalars/scalars", run=run, tag=tag)
        assert [step for _, step, _ in points] == (STEPS if split == "train" else [10, 20])
        values = [line[tag] for line in lines]
        assert [value for _, _, value in points] == pytest.approx(values, rel=1e-6)


def test_learning_rate_and_speed_are_curves(tensorboard):
    rates = tensorboard("plugin/scalars/scalars", run="run", tag="learning_rate")
    assert [(step, value) for _, step, value in rates] == [
        (step, pytest.approx(0.002)) for step in STEPS
    ]
    speeds = tensorboard("plugin/scalars/scalars", run="run", tag="examples_per_sec")
    assert [step for _, step, _ in speeds] == STEPS
    assert all(value > 1 for _, _, value in speeds)


def test_the_settings_are_text_as_they_are_in_the_file(tensorboard):
    (shown,) = tensorboard("plugin/text/text", run="run", tag="settings")
    (block,) = re.findall(r"^<pre><code>(.*)</code></pre>$", shown["text"], re.DOTALL)
    assert shown["step"] == 1
    assert html.unescape(block) == (tensorboard.run / "config.yaml").read_text()


def test_the_first_images_that_were_trained_on_are_shown_once(tensorboard, batches, digits):
    assert len(tensorboard("plugin/images/tags")["run"]) == 8
    ((features, _),) = batches(digits, "train", 1, training=True)
    for i in (0, 7):
        (image,) = tensorboard(
            "plugin/images/images", run="run", tag=f"features/image/{i}", sample=0
        )
        assert image["step"] == 1
        query = dict(urllib.parse.parse_qsl(image["query"]))
        png = tensorboard("plugin/images/individualImage", **query)
        pixels = matplotlib.image.imread(io.BytesIO(png)).reshape(28, 28, -1)[..., 0]
        expected = features[i, ..., 0] / features[i].max()
        np.testing.assert_allclose(pixels, expected, atol=0.01)


def test_histograms_hold_every_weight_and_gradient(tensorboard):
    for tag in ("weights/mlp/dense/kernel", "gradients/mlp/dense/kernel"):
        points = tensorboard("plugin/histograms/histograms", run="run", tag=tag)
        assert [step for _, step, _ in points] == STEPS
        for _, _, bars in points:
            assert sum(count for _, _, count in bars) == pytest.approx(784 * 16)


def test_the_graph_is_shown(tensorboard):
    graph = tensorboard("plugin/graphs/graph", run="run").decode()
    assert 'name: "training/loss"' in graph
    assert 'name: "mlp/dense/kernel"' in graph


def test_histograms_are_left_out_unless_they_are_asked_for(trained):
    assert accumulated(trained()).Tags()["histograms"] == []


def test_training_by_keras_shows_the_same_curves_settings_and_graph(tmp_path, digits):
    trainer = KerasTrainer(run_dir=str(tmp_path), last_step=20, summary_every_n_steps=5)
    trainer.fit(MLP(hidden=16, learning_rate=0.25), digits, config="model: mlp\n")
    events = accumulated(tmp_path)
    for tag in ("loss", "accuracy", "learning_rate", "examples_per_sec"):
        assert [point.step for point in events.Scalars(tag)] == STEPS
    assert {point.value for point in events.Scalars("learning_rate")} == {0.25}
    (settings,) = events.Tensors("settings")
    assert tf.make_ndarray(settings.tensor_proto).item() == b"    model: mlp\n"
    assert events.Tags()["graph"]
    assert [point.step for point in accumulated(tmp_path / "eval").Scalars("loss")] == [10, 20]


def test_only_features_that_are_images_are_shown():
    features = {
        "image": tf.zeros([2, 4, 4, 3], tf.uint8),
        "numbers": tf.zeros([2, 5]),
        "channels": tf.zeros([2, 4, 4, 7]),
        "classes": tf.zeros([2, 4, 4, 1], tf.int32),
        "unknown": tf.placeholder(tf.float32),
    }
    (summary,) = image_summaries(features)
    with tf.Session() as session:
        values = tf.Summary.FromString(session.run(summary)).value
    assert [value.tag for value in values] == ["features/image/0", "features/image/1"]


class Named(MLP):
    """An MLP with a measure whose name TensorFlow takes for no operation."""

    def measure(self, outputs, labels):
        return {"précision, 5": super().measure(outputs, labels)["accuracy"]}


def test_a_measure_may_be_named_in_any_language(tmp_path, fit):
    assert "précision, 5" in fit(tmp_path, last_step=2, model=Named(hidden=4))
    for directory, steps in ((tmp_path, [1, 2]), (tmp_path / "eval", [2])):
        points = accumulated(directory).Scalars("précision, 5")
        assert [point.step for point in points] == steps


def steps_in_the_files(directory, tag):
    """The steps of a tag's points, for a reader that knows no SessionLog."""
    paths = sorted(glob.glob(f"{directory}/events*"))
    events = (event for path in paths for event in tf.train.summary_iterator(path))
    return [event.step for event in events for value in event.summary.value if value.tag == tag]


def test_a_run_that_was_killed_and_goes_on_has_no_point_twice_and_none_too_many(
    fit, tmp_path, digits
):
    run, data = str(tmp_path / "run"), os.path.dirname(digits.files("train")[0])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, run, data], cwd=ROOT, stderr=subprocess.PIPE
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert steps_in_the_files(run, "loss") == [1, 3, 6, 9, 12, 15]
    assert steps_in_the_files(f"{run}/eval", "loss") == [6, 12]
    (cut_short,) = glob.glob(f"{run}/events*")
    with open(cut_short, "ab") as file:
        file.write(b"\x20\0\0\0\0\0\0\0half of a record")
    time.sleep(1.1)  # event files are read in the order of their names, which hold the second
    # Resumes from 10, and shows other steps than before: what was shown after 10 is to vanish.
    settings = {"checkpoint_every_n_steps": 10, "evaluate_every_n_steps": 5}
    fit(run, last_step=20, summary_every_n_steps=4, **settings)
    expected = {run: [1, 3, 6, 9, 12, 16, 20], f"{run}/eval": [6, 10, 15, 20]}
    for directory, steps in expected.items():
        assert [point.step for point in accumulated(directory).Scalars("loss")] == steps
        assert steps_in_the_files(directory, "loss") == steps
    lines = read_metrics(f"{run}/metrics.jsonl")
    logged = {line["step"]: line["loss"] for line in lines if line["split"] == "test"}
    shown = {point.step: point.value for point in accumulated(f"{run}/eval").Scalars("loss")}
    assert shown == pytest.approx(logged)
