"""The export command: a SavedModel that predicts what the checkpoint does, or nothing."""

import os
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.tools import saved_model
from my_project.engine.tools.table import flat
from my_project.export import export


@pytest.fixture
def pixels():
    return np.random.RandomState(1).rand(5, 28, 28, 1).astype(np.float32)


def probabilities(run, pixels, suffix=""):
    """What a run's MLP predicts, computed by hand from its checkpoint."""
    reader = tf.train.load_checkpoint(f"{run}/checkpoints/model.ckpt-20")
    names = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    kernel, bias, kernel1, bias1 = (reader.get_tensor(f"mlp/{name}{suffix}") for name in names)
    logits = np.maximum(pixels.reshape(len(pixels), -1) @ kernel + bias, 0) @ kernel1 + bias1
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_the_saved_model_takes_any_batch_and_predicts_what_the_checkpoint_does(
    trained, tmp_path, pixels, capsys
):
    assert export([f"run_dir={trained()}", f"directory={tmp_path}/served/1"]) == 0
    printed = capsys.readouterr().out
    assert "serving_default takes features float32 (?, 28, 28, 1)" in printed.replace("None", "?")
    told = re.search(r"gives class, probabilities; .* difference is ([\d.e+-]+)$", printed.strip())
    assert 0 <= float(told.group(1)) <= 1e-5
    found = saved_model.predict_with(f"{tmp_path}/served/1", {"features": pixels})
    expected = probabilities(trained(), pixels)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
    np.testing.assert_array_equal(found["class"], expected.argmax(axis=1))
    assert os.listdir(f"{tmp_path}/served") == ["1"]


def test_averages_of_the_weights_are_exported_in_their_place(trained, tmp_path, pixels):
    run = trained("model.ema_decay=0.9")
    assert export([f"run_dir={run}", f"directory={tmp_path}/averaged/"]) == 0
    found = saved_model.predict_with(f"{tmp_path}/averaged", {"features": pixels})
    expected = probabilities(run, pixels, "/average")
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
    assert np.abs(expected - probabilities(run, pixels)).max() > 1e-3


def test_nothing_of_the_dataset_is_in_the_saved_model(trained, tmp_path):
    assert export([f"run_dir={trained()}", f"directory={tmp_path}/1"]) == 0
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.saved_model.load(session, ["serve"], f"{tmp_path}/1")
        assert not [op.name for op in graph.get_operations() if "Iterator" in op.type]


def test_what_is_there_is_not_overwritten(trained, tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ConfigError, match="/1: exists"):
        export([f"run_dir={trained()}", f"directory={tmp_path}/1"])
    assert os.listdir(f"{tmp_path}/1") == []


def test_an_interrupted_export_leaves_nothing_and_the_next_one_succeeds(
    trained, tmp_path, monkeypatch
):
    arguments = [f"run_dir={trained()}", f"directory={tmp_path}/1"]
    save = tf.saved_model.simple_save

    def interrupted(*arguments, **others):
        save(*arguments, **others)
        (part,) = os.listdir(str(tmp_path))
        assert re.fullmatch(r"1\.[0-9a-f]{32}\.part", part)  # nobody else's
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "simple_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(arguments)
    assert os.listdir(str(tmp_path)) == []
    monkeypatch.undo()
    (tmp_path / "1.part").mkdir()  # somebody's
    assert export(arguments) == 0
    assert sorted(os.listdir(str(tmp_path))) == ["1", "1.part"]


def test_a_saved_model_that_predicts_something_else_is_refused(trained, tmp_path, monkeypatch):
    predict_with = saved_model.predict_with

    def wrong(*arguments):
        found = predict_with(*arguments)
        return {**found, "probabilities": found["probabilities"] + 1e-3}

    monkeypatch.setattr(saved_model, "predict_with", wrong)
    with pytest.raises(RunError, match="predicts another probabilities"):
        export([f"run_dir={trained()}", f"directory={tmp_path}/1"])
    assert os.listdir(str(tmp_path)) == []


def test_a_directory_that_cannot_be_written_is_one_line(trained, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"file/1: cannot be written \(Not a directory\)"):
        export([f"run_dir={trained()}", f"directory={tmp_path}/file/1"])


def test_two_values_that_would_have_one_name_are_refused():
    assert flat({"a": {"b": 1}, "c": [2, 3]}) == {"a.b": 1, "c.0": 2, "c.1": 3}
    with pytest.raises(ConfigError, match=r"a\.b: two values have this name"):
        flat({"a.b": 1, "a": {"b": 2}})
