"""A trained model from Python: the examples of a split with what it predicts, and the notebook."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, ModelError
from my_project.engine.run.metrics import read_metrics
from my_project.engine.settings.config import load_config
from my_project.engine.tools.contact_sheet import pictures
from my_project.engine.tools.examples import predicted
from my_project.engine.tools.restored import Restored, newest_run
from my_project.model.mlp import MLP

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def restored(trained):
    """restored(*settings of training, checkpoint="") -> the model of such a run."""

    def restored(*settings, checkpoint=""):
        return Restored(load_config([f"run_dir={trained(*settings)}"], "evaluate"), checkpoint)

    return restored


@pytest.mark.parametrize("settings", [(), ("model.ema_decay=0.9",)])
def test_predictions_are_those_that_training_has_counted(restored, trained, settings):
    lines = read_metrics(f"{trained(*settings)}/metrics.jsonl")
    logged = {line["step"]: line["accuracy"] for line in lines if line["split"] == "test"}
    for step in (10, 20):
        examples = predicted(restored(*settings, checkpoint=str(step)))
        hits = [each.prediction["class"] == each.labels for each in examples]
        assert len(examples) == 130
        assert np.mean(hits) == pytest.approx(logged[step])


def test_an_example_has_its_features_its_label_and_its_prediction(restored):
    one = restored()
    examples = predicted(one, "train", batches=2)
    assert len(examples) == 2 * one.dataset.batch_size
    again = predicted(one, "train", batches=1)  # the same object serves more than once
    for first, second in zip(examples, again):
        np.testing.assert_array_equal(first.features, second.features)
        np.testing.assert_array_equal(
            first.prediction["probabilities"], second.prediction["probabilities"]
        )
    assert examples[0].features.shape == (28, 28, 1)
    assert examples[0].labels.shape == ()
    assert examples[0].prediction["probabilities"].sum() == pytest.approx(1)


def test_a_split_that_is_not_there_and_a_prediction_of_another_size_are_named(
    restored, monkeypatch
):
    with pytest.raises(ConfigError, match="split=holdout: expected one of train, test"):
        predicted(restored(), "holdout")
    monkeypatch.setattr(MLP, "predict", lambda self, outputs: {"mean": tf.reduce_mean(outputs, 0)})
    with pytest.raises(ModelError, match=r"mlp\.predict: mean is of shape \(10,\), expected"):
        predicted(restored())


def test_the_newest_run_is_that_which_was_saved_last_whatever_its_name(trained, tmp_path):
    with pytest.raises(ConfigError, match="runs: there is no run with a checkpoint"):
        newest_run(str(tmp_path / "runs"))
    for number, name in enumerate(["b", "sweep/a", "c"]):
        run = shutil.copytree(trained(), str(tmp_path / "runs" / name))
        time = 1e9 + 100 * (number if name != "c" else -1)
        os.utime(os.path.join(run, "checkpoints"), (time, time))
    (tmp_path / "runs" / "empty" / "checkpoints").mkdir(parents=True)
    assert newest_run(str(tmp_path / "runs")) == str(tmp_path / "runs" / "sweep" / "a")


def test_pictures_take_what_a_model_takes_and_nothing_at_all():
    features = {"image": np.zeros([8, 8, 1], np.float32), "size": np.float32(3)}
    figure = pictures([(features, "first"), (features, "second")])
    assert [axes.get_title() for axes in figure.axes] == ["first", "second"]
    assert [len(axes.images) for axes in figure.axes] == [1, 1]
    assert pictures([]).axes == []


def test_the_cells_of_the_notebook_show_a_run(trained, tmp_path, monkeypatch, capsys):
    path = os.path.join(ROOT, "look_at_a_run.ipynb")
    if not os.path.exists(path):
        pytest.skip("this project has no notebook")
    shutil.copytree(trained(), str(tmp_path / "runs" / "x"))
    monkeypatch.chdir(tmp_path)
    with open(path, encoding="utf-8") as file:
        cells = [cell for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    names: dict = {}
    for cell in cells:
        exec("".join(line for line in cell["source"] if line[0] != "%"), names)
    shown = capsys.readouterr().out
    assert "runs/x/checkpoints/model.ckpt-20\n" in shown
    assert "of 130 examples" in shown
    assert 0 < len(names["wrong"]) < 130
