"""The evaluate command: the numbers of training again, for any checkpoint, split and run."""

import json
import logging
import os
import shutil
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project import evaluate as evaluate_command
from my_project import export, predict
from my_project.engine.errors import ConfigError, RunError, UserError
from my_project.engine.loop.evaluation import Evaluation
from my_project.engine.run.metrics import read_metrics
from my_project.engine.settings.config import load_config
from my_project.engine.tools.command import run_command
from my_project.engine.tools.plots import confusion_matrix
from my_project.engine.tools.restored import Restored, find_checkpoint
from my_project.evaluate import evaluate


def evaluated(tmp_path, *arguments):
    assert evaluate([*arguments, f"file={tmp_path}/result.json"]) == 0
    return json.loads((tmp_path / "result.json").read_text())


def test_results_replace_no_data_and_no_file_of_another_kind(trained, tmp_path):
    (tmp_path / "notes.md").write_text("notes")
    dataset = Restored(load_config([f"run_dir={trained()}"])).dataset
    (tmp_path / "photo.png").symlink_to(dataset.files("test")[0])
    for name, message in [("notes.md", "exists, and its name"), ("photo.json", "is one of the")]:
        with pytest.raises(ConfigError, match=message):
            evaluate([f"run_dir={trained()}", f"file={tmp_path}/{name}"])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["notes.md", "photo.png"]


@pytest.mark.parametrize("settings", [(), ("model.ema_decay=0.9",)])
def test_the_numbers_are_those_that_were_logged_for_the_same_checkpoint(
    trained, tmp_path, settings
):
    run = trained(*settings)
    logged = [line for line in read_metrics(f"{run}/metrics.jsonl") if line["split"] == "test"]
    assert [line["step"] for line in logged] == [10, 20]
    for line in logged:
        found = evaluated(tmp_path, f"run_dir={run}", f"checkpoint={line['step']}")
        assert {name: found[name] for name in line} == line


def test_the_largest_difference_from_training_is_told(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run = str(tmp_path / "run")
    shutil.copytree(trained(), run)
    evaluated(tmp_path, f"run_dir={run}")
    assert f"{run}: as while training; the largest difference is 0.0e+00, of loss" in caplog.text
    with open(f"{run}/metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    for line in lines:
        line["loss"] *= 1.001  # more than rounding does
    with open(f"{run}/metrics.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    caplog.clear()
    evaluated(tmp_path, f"run_dir={run}")
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "loss was" in warning.getMessage()
    assert "code, data or settings may have changed" in warning.getMessage()


def test_a_run_from_python_is_evaluated_with_the_settings_that_are_typed(fit, tmp_path, digits):
    fit(tmp_path / "run", last_step=5)
    (logged,) = (x for x in read_metrics(f"{tmp_path}/run/metrics.jsonl") if x["split"] == "test")
    data = ["data=digits", f"data.directory={os.path.dirname(digits.directory)}"]
    data += ["data.train_examples=640", "data.test_examples=130"]
    command = [f"run_dir={tmp_path}/run", *data, "model=mlp", "model.hidden=16"]
    found = evaluated(tmp_path, *command, "data.batch_size=64")
    assert {name: found[name] for name in logged} == logged
    with pytest.raises(RunError, match="of another model"):
        evaluated(tmp_path, *command[:-1])


def test_any_split_is_evaluated_and_the_confusion_matrix_has_all_its_examples(trained, tmp_path):
    for split, examples in (("train", 640), ("test", 130)):
        found = evaluated(tmp_path, f"run_dir={trained()}", f"split={split}")
        matrix = found["confusion"]
        assert sum(map(sum, matrix)) == examples
        hits = sum(matrix[label][label] for label in range(10))
        assert hits / examples == pytest.approx(found["accuracy"])
        assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")


def test_a_confusion_matrix_counts_pairs_and_skips_labels_below_zero():
    labels, classes = np.array([0, 2, 2, -1, 2]), np.array([0, 2, 1, 1, 2])
    matrix = confusion_matrix(labels, classes)
    assert matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 2]]


def test_of_many_classes_there_is_no_matrix_and_the_log_says_so(caplog):
    numbers = np.arange(10000)
    with caplog.at_level(logging.INFO):
        assert confusion_matrix(numbers, numbers) is None
    assert caplog.messages == ["no confusion matrix: found 10000 classes, expected 1 to 1000"]
    assert confusion_matrix(numbers[:1000], numbers[:1000]).trace() == 1000


def test_the_result_lies_in_the_run_by_default_and_the_table_names_it(trained, tmp_path, capsys):
    run = shutil.copytree(trained(), str(tmp_path / "moved"))
    assert evaluate([f"run_dir={run}"]) == 0
    header, numbers, *paths = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "step", "loss", "accuracy"]
    assert numbers.split()[:2] == [run, "20"]
    assert paths == [f"{run}/evaluation/test-20.{ending}" for ending in ("json", "png")]
    with open(paths[0]) as file:
        assert json.load(file)["step"] == 20


def test_several_runs_stand_side_by_side_with_the_settings_that_differ(trained, tmp_path, capsys):
    one, other = trained(), trained("model.ema_decay=0.9")
    rows = evaluated(tmp_path, f"run_dir={one}", f"run_dir={other}", "checkpoint=10")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "step", "loss", "accuracy", "model.ema_decay"]
    assert [line.split()[-1] for line in lines[1:3]] == ["0", "0.9"]
    assert [row["run"] for row in rows] == [one, other]
    assert [row["model.ema_decay"] for row in rows] == [0.0, 0.9]
    assert rows[0]["loss"] != rows[1]["loss"]
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")


def test_a_pattern_stands_for_the_runs_that_it_matches_and_for_nothing_else(trained, tmp_path):
    for name in ("seed=2", "seed=1", "other"):
        shutil.copytree(trained(), str(tmp_path / "sweep" / name))
    (tmp_path / "sweep" / "jobs").mkdir()
    rows = evaluated(tmp_path, f"run_dir={tmp_path}/sweep/seed=*")
    assert [row["run"] for row in rows] == [f"{tmp_path}/sweep/seed={n}" for n in (1, 2)]
    with pytest.raises(ConfigError, match=r"sweep/x\*: there is no run with a checkpoint"):
        evaluate([f"run_dir={tmp_path}/sweep/x*"])


def test_a_path_alone_is_one_line_that_says_how_to_write_it(trained, tmp_path):
    shutil.copytree(trained(), str(tmp_path / "seed=1"))
    for path in (trained(), "runs/x", f"{tmp_path}/seed=1"):
        with pytest.raises(ConfigError) as raised:
            evaluate([path])
        assert str(raised.value) == f"{path}: found a path alone; expected run_dir={path}"


def test_best_is_the_checkpoint_that_best_json_names_with_its_numbers(trained, tmp_path):
    run = trained("trainer.metric=loss", "trainer.mode=max")
    with open(f"{run}/best/best.json") as file:
        best = json.load(file)
    found = evaluated(tmp_path, f"run_dir={run}", "checkpoint=best")
    assert found["step"] == best["step"] == 10
    assert {name: found[name] for name in best["metrics"]} == best["metrics"]


def test_the_model_of_a_run_is_used_from_python_with_its_seed_and_weights(trained):
    run = trained()
    restored = Restored(load_config([f"run_dir={run}", "trainer.hooks=[{_target_: no.Hook}]"]))
    assert (restored.step, restored.checkpoint) == (20, f"{run}/checkpoints/model.ckpt-20")
    with restored.graph():
        assert tf.get_default_graph().seed == 1
        logits = restored.model(tf.zeros([1, 28, 28, 1]))
        with restored.session() as session:
            found = session.run(logits)
            weights = session.run(restored.model.variables)
    reader = tf.train.load_checkpoint(restored.checkpoint)
    for variable, values in zip(restored.model.variables, weights):
        np.testing.assert_array_equal(values, reader.get_tensor(variable.op.name))
    assert found.shape == (1, 10)


def test_a_run_is_used_on_as_many_gpus_as_it_may_take_and_are_there(trained, monkeypatch):
    for replicas, there, taken in ((0, 3, 3), (1, 3, 1), (2, 3, 2), (8, 3, 3), (2, 0, 1)):
        restored = Restored(load_config([f"run_dir={trained()}", f"trainer.replicas={replicas}"]))
        with monkeypatch.context() as patched:
            listed = ["GPU"] * there
            patched.setattr(tf.config.experimental, "list_physical_devices", lambda kind: listed)  # noqa: B023
            with restored.graph():
                assert len(restored.model.replicas.devices) == taken


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["checkpoint=7"], "expected one of 10, 20, best, or a path"),
        (["split=holdout"], "train, test"),
        (["splitt=test"], "did you mean split"),
        (["model.hidden=32"], "model.hidden was 16, is 32"),
    ],
)
def test_a_wrong_name_is_one_line_that_lists_what_there_is(trained, arguments, expected):
    with pytest.raises(ConfigError) as raised:
        evaluate([f"run_dir={trained()}", *arguments])
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_run_is_one_line_that_lists_the_runs(trained, tmp_path, monkeypatch):
    shutil.copytree(trained(), str(tmp_path / "runs" / "sweep" / "0"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"run_dir=runs/x: .* such as runs/sweep/0$"):
        evaluate(["run_dir=runs/x"])


def test_of_several_runs_one_that_is_not_there_is_found_before_any_is_evaluated(
    trained, monkeypatch
):
    monkeypatch.setattr(Evaluation, "run", None)
    with pytest.raises(ConfigError, match="nosuch: there is no run"):
        evaluate([f"run_dir={trained()}", "run_dir=nosuch"])


def test_a_file_of_a_checkpoint_stands_for_it(trained):
    run = trained()
    for ending in (".index", ".data-00000-of-00001"):
        prefix = f"{run}/checkpoints/model.ckpt-10"
        assert find_checkpoint(run, prefix + ending) == prefix


def test_the_checkpoint_of_another_model_is_refused_with_what_differs(trained):
    other = trained("model.hidden=8")
    with pytest.raises(RunError, match=r"mlp/dense/kernel is \[784, 8\] there, \[784, 16\] in"):
        evaluate([f"run_dir={trained()}", f"checkpoint={other}/checkpoints/model.ckpt-20"])


def test_a_corrupt_checkpoint_is_one_line(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained(), str(run))
    (path,) = (run / "checkpoints").glob("model.ckpt-10.data*")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.ckpt-10: cannot be read: [^\n]+$"):
        evaluate([f"run_dir={run}", "checkpoint=10"])


@pytest.mark.parametrize("command", [evaluate_command, predict, export])
def test_help_shows_examples_and_exit_codes(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    assert run_command(lambda arguments: 9, command.__doc__) == 0
    text = capsys.readouterr().out
    assert text.count("    python -m <package>.") >= 2
    assert "Exit codes: 0 done, 1 failed, 2 bad setting." in text
