"""What is saved when something fails or comes at a bad moment, and what a corrupt file costs."""

import logging
import os
import re
import shutil
import signal
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.digits import Digits
from my_project.engine.errors import DataError, RunError
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.loop.evaluation import Evaluation
from my_project.engine.run.checkpoints import newest_checkpoint
from my_project.model.mlp import MLP
from my_project.train.hooks.every import EveryHook
from my_project.train.trainer import SessionTrainer


class At(EveryHook):
    """Does something after a step."""

    def __init__(self, step, action):
        super().__init__(always=[step])
        self.action = action

    def act(self, session, step, values):
        self.action()


def damage(path, how):
    """Changes a file as crashes and bad disks do."""
    with open(path, "r+b") as file:
        size = os.path.getsize(path)
        if how == "cut":
            file.truncate(size // 2)
        elif how == "emptied":
            file.truncate(0)
        elif how == "changed":
            file.seek(size // 2)
            byte = file.read(1)[0]
            file.seek(size // 2)
            file.write(bytes([byte ^ 255]))
    if how == "gone":
        os.remove(path)


@pytest.mark.parametrize("how", ["cut", "emptied", "changed", "gone"])
@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
def test_the_newest_checkpoint_that_is_whole_is_found_with_a_warning(
    trained, tmp_path, caplog, how, part
):
    checkpoints = str(tmp_path / "checkpoints")
    shutil.copytree(f"{trained()}/checkpoints", checkpoints)
    caplog.clear()
    assert newest_checkpoint(checkpoints) == (f"{checkpoints}/model.ckpt-20", 20)
    assert not caplog.records
    damage(f"{checkpoints}/model.ckpt-20.{part}", how)
    assert newest_checkpoint(checkpoints) == (f"{checkpoints}/model.ckpt-10", 10)
    if (part, how) != ("index", "gone"):  # then nothing says that there was one
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "model.ckpt-20 is corrupt, looking for an older one" in record.getMessage()


@pytest.mark.parametrize("text", [b"", b"\x00\xff"])
def test_a_corrupt_list_of_checkpoints_does_not_keep_a_run_from_going_on(
    fit, tmp_path, caplog, text, checkpoint_steps
):
    run_dir = str(tmp_path / "run")
    fit(run_dir, last_step=10)
    (tmp_path / "run" / "checkpoints" / "checkpoint").write_bytes(text)
    fit(run_dir, last_step=20)
    assert "checkpoints/checkpoint is corrupt; the checkpoints themselves count" in caplog.text
    assert checkpoint_steps(run_dir) == [10, 20]
    (tmp_path / "run" / "checkpoints" / "checkpoint").write_bytes(text)
    other = MLP(hidden=16, warm_start={"checkpoint": run_dir})
    fit(tmp_path / "other", 5, other)
    assert "warm start from" in caplog.text


def test_where_no_checkpoint_can_be_read_the_best_one_is_named(trained, tmp_path):
    shutil.copytree(trained(), str(tmp_path / "run"))
    checkpoints = tmp_path / "run" / "checkpoints"
    for file in checkpoints.glob("*.index"):
        damage(str(file), "emptied")
    best = r"; start a new run, with model.warm_start.checkpoint=.*best/.*-[12]0, which is whole$"
    with pytest.raises(RunError, match=best):
        newest_checkpoint(str(checkpoints))
    for file in (tmp_path / "run" / "best").glob("*.index"):
        damage(str(file), "emptied")
    with pytest.raises(RunError, match=r"; start a new run$"):
        newest_checkpoint(str(checkpoints))


def test_beside_the_newest_one_checkpoint_for_every_so_many_hours_is_kept(
    fit, tmp_path, checkpoint_steps
):
    hours = {"max_to_keep": 1, "keep_checkpoint_every_n_hours": 1e-9}
    fit(tmp_path / "run", last_step=30, checkpoint_every_n_steps=10, **hours)
    assert checkpoint_steps(tmp_path / "run") == [10, 20, 30]
    # The last one before a restart was kept as the newest alone; the hours start again.
    fit(tmp_path / "run", last_step=40, checkpoint_every_n_steps=10, **hours)
    assert checkpoint_steps(tmp_path / "run") == [10, 20, 40]


@pytest.mark.parametrize("trainer", [SessionTrainer, KerasTrainer])
def test_the_step_whose_evaluation_fails_is_saved_before_the_run_ends(
    tmp_path,
    digits,
    variables,
    monkeypatch,
    trainer,
    checkpoint_steps,
):
    def train(run, last_step):
        settings = {"last_step": last_step, "checkpoint_every_n_steps": 15}
        trainer(run_dir=str(tmp_path / run), **settings).fit(MLP(hidden=16), digits)

    def fail(*arguments):
        raise RuntimeError("a bug in a measure")

    train("straight", 30)
    monkeypatch.setattr(Evaluation, "_means", fail)
    with pytest.raises(RuntimeError, match="a bug in a measure"):
        train("run", 20)
    monkeypatch.undo()
    newest = checkpoint_steps(tmp_path / "run")[-1]
    assert newest == (20 if trainer is SessionTrainer else 10)  # Keras evaluates each epoch
    train("run", 30)
    straight, run = variables(tmp_path / "straight"), variables(tmp_path / "run")
    assert all(np.array_equal(straight[name], run[name]) for name in straight)


class Ends(tf.train.SessionRunHook):
    """Raises after a number of steps, or asks for the end of training and raises then."""

    def __init__(self, steps, error, at_end=False):
        self.left, self.error, self.at_end = steps, error, at_end

    def after_run(self, run_context, run_values):
        self.left -= 1
        if self.left == 0 and self.at_end:
            run_context.request_stop()
        elif self.left == 0:
            raise self.error

    def end(self, session):
        if self.at_end:
            raise self.error


class FailsAt(MLP):
    """A model of which one step fails."""

    def loss(self, outputs, labels):
        step = tf.train.get_global_step().read_value()
        with tf.control_dependencies([tf.debugging.Assert(tf.not_equal(step, 17), ["a bug"])]):
            return super().loss(outputs, labels)


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_all_ways_out_after_whole_steps_lead_past_a_checkpoint(
    fit, tmp_path, digits, variables, share, checkpoint_steps
):
    digits.memory_fraction = share
    fit(tmp_path / "straight")
    ways = [
        (BrokenPipeError, 5, {"hooks": [Ends(5, BrokenPipeError())]}),
        (KeyboardInterrupt, 9, {"hooks": [Ends(4, KeyboardInterrupt())]}),
        (ValueError, 13, {"hooks": [Ends(4, ValueError("a bug"), at_end=True)]}),
        # The batch that it read is the next one again.
        (tf.errors.InvalidArgumentError, 17, {"model": FailsAt(16, dropout=0.5, name="mlp")}),
    ]
    for error, step, arguments in ways:
        with pytest.raises(error):
            fit(tmp_path / "run", **arguments)
        assert checkpoint_steps(tmp_path / "run")[-1] == step
    fit(tmp_path / "run")
    straight, run = variables(tmp_path / "straight"), variables(tmp_path / "run")
    assert all(np.array_equal(straight[name], run[name]) for name in straight)


@pytest.mark.parametrize("trainer", [SessionTrainer, KerasTrainer])
def test_an_evaluation_that_failed_or_was_cut_short_is_made_up_for_at_the_next_start(
    tmp_path,
    digits,
    monkeypatch,
    trainer,
    checkpoint_steps,
):
    def train(run, last_step=20):
        made = trainer(
            run_dir=str(tmp_path / run), last_step=last_step, checkpoint_every_n_steps=10
        )
        return made, made.fit(MLP(hidden=16), digits)

    def cut_short(evaluation, session, *others):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)  # Python's handler runs
        return means(evaluation, session, *others)

    means = Evaluation._means
    _, straight = train("straight")
    monkeypatch.setattr(Evaluation, "_means", cut_short)
    with pytest.raises(KeyboardInterrupt):
        train("run")
    monkeypatch.undo()
    seen = checkpoint_steps(tmp_path / "run")[-1]
    assert seen == (20 if trainer is SessionTrainer else 10)  # Keras evaluates each epoch
    again, results = train("run")
    assert again.stopped_by is None
    assert results == straight
    for file in ("metrics.jsonl", "best/best.json"):
        made = [(tmp_path / run / file).read_text() for run in ("straight", "run")]
        found = [re.findall(r'"step": (\d+), "split": "test"|"step": (\d+),\n', m) for m in made]
        assert found[0] == found[1]
        assert found[0]
    assert train("run")[1] == straight  # and now it is finished


def test_a_checkpoint_is_read_whole_once_for_each_start(fit, tmp_path, monkeypatch):
    fit(tmp_path / "run", last_step=10)
    read, load = [], tf.train.load_checkpoint

    class Reader:
        def __init__(self, prefix):
            self.__dict__ = {"_reader": load(prefix)}

        def __getattr__(self, name):
            return getattr(self._reader, name)

        def get_tensor(self, name):
            read.append(name)
            return self._reader.get_tensor(name)

    monkeypatch.setattr(tf.train, "load_checkpoint", Reader)
    fit(tmp_path / "run", last_step=20)
    assert read.count("mlp/dense/kernel") == 1


def test_checkpoints_kept_for_their_hours_outlive_damage_to_the_newest(
    fit, tmp_path, checkpoint_steps
):
    hours = {"max_to_keep": 2, "checkpoint_every_n_steps": 10}
    often = {"keep_checkpoint_every_n_hours": 1e-9}
    fit(tmp_path / "run", last_step=50, **hours, **often)
    assert checkpoint_steps(tmp_path / "run") == [10, 20, 30, 40, 50]
    (tmp_path / "run" / "checkpoints" / "model.ckpt-50.data-00000-of-00001").write_text("cut")
    fit(tmp_path / "run", last_step=80, **hours)
    assert checkpoint_steps(tmp_path / "run") == [10, 20, 30, 70, 80]


def test_a_corrupt_record_in_the_last_evaluation_loses_no_step(
    fit, tmp_path, digits, caplog, checkpoint_steps
):
    digits.prepare()
    shutil.copytree(os.path.dirname(digits.files("test")[0]), str(tmp_path / "data"))
    dataset = Digits(str(tmp_path / "data"), 640, 130, batch_size=64, memory_fraction=0.0)
    _, labels = dataset.files("test")

    def spoil():
        with open(labels, "r+b") as file:
            file.seek(8 + 7)
            file.write(b"\xc8")

    settings = {"checkpoint_every_n_steps": 10, "dataset": dataset, "hooks": [At(18, spoil)]}
    with pytest.raises(DataError, match=r"t10k-labels.* record 8: .*200"):
        fit(tmp_path / "run", last_step=25, **settings)
    assert checkpoint_steps(tmp_path / "run") == [10, 20, 25]
    assert "an error ends training; step 25 is saved" in caplog.text


def test_a_signal_while_the_last_checkpoint_is_written_waits_until_it_is_whole(
    fit,
    tmp_path,
    digits,
    variables,
    monkeypatch,
    checkpoint_steps,
):
    save = tf.train.Saver.save

    def interrupted(saver, session, path, *arguments, **others):
        if "checkpoints" in path:
            os.kill(os.getpid(), signal.SIGTERM)
        return save(saver, session, path, *arguments, **others)

    def too_early(*arguments):
        raise AssertionError("SIGTERM reached who handled it before training")

    before = signal.signal(signal.SIGTERM, too_early)
    trainer = SessionTrainer(str(tmp_path / "run"), last_step=12, checkpoint_every_n_steps=0)
    try:
        monkeypatch.setattr(tf.train.Saver, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(MLP(hidden=16, dropout=0.5), digits)
        assert signal.getsignal(signal.SIGTERM) is too_early
    finally:
        signal.signal(signal.SIGTERM, before)
    assert trainer.stopped_by == signal.SIGTERM
    assert checkpoint_steps(tmp_path / "run") == [12]
    monkeypatch.undo()
    fit(tmp_path / "straight", last_step=12)
    straight, run = variables(tmp_path / "straight"), variables(tmp_path / "run")
    assert all(np.array_equal(straight[name], run[name]) for name in straight)
