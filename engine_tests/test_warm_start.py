"""Initial weights from another run, and variables that are not trained."""

import glob
import logging
import shutil

import numpy as np
import pytest
from my_project.data.digits import Digits
from my_project.engine.errors import ConfigError, ModelError
from my_project.train.trainer import SessionTrainer
from toy import Normed


def still(**arguments):
    """A model whose weights stay what they are at the start."""
    return Normed(hidden=16, learning_rate=0.0, **arguments)


@pytest.fixture(scope="module")
def run_before(digits_directory, tmp_path_factory):
    """A run of 5 steps."""
    directory = tmp_path_factory.mktemp("before") / "run"
    digits = Digits(digits_directory, train_examples=640, test_examples=130, batch_size=64)
    SessionTrainer(str(directory), last_step=5).fit(Normed(hidden=16), digits)
    return directory


@pytest.fixture
def trained(run_before, tmp_path, variables):
    """A copy of the run's directory, and its variables."""
    shutil.copytree(str(run_before), str(tmp_path / "trained"))
    return tmp_path / "trained", variables(tmp_path / "trained")


WEIGHTS = ("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias")


@pytest.mark.parametrize("place", ["", "checkpoints/model.ckpt-5"])
def test_the_weights_of_another_run_are_those_that_training_starts_with(
    fit, tmp_path, variables, trained, place, caplog
):
    caplog.set_level(logging.INFO)
    directory, before = trained
    model = still(warm_start={"checkpoint": str(directory / place)}, ema_decay=0.9)
    fit(tmp_path / "run", last_step=1, model=model)
    after = variables(tmp_path / "run")
    assert after["global_step"] == 1
    for name in WEIGHTS:
        np.testing.assert_array_equal(after[f"normed/{name}"], before[f"normed/{name}"])
        np.testing.assert_array_equal(after[f"normed/{name}/average"], before[f"normed/{name}"])
    moving = "normed/batch_normalization/moving_mean"
    assert np.abs(before[moving]).max() > 0
    assert np.abs(after[moving] - before[moving]).max() < np.abs(before[moving]).max()
    (line,) = [r.getMessage() for r in caplog.records if "warm start from" in r.getMessage()]
    assert "normed/dense/kernel" in line
    assert "Adam" not in line


def test_the_name_of_one_of_a_checkpoints_files_will_do(fit, tmp_path, trained):
    directory, _ = trained
    path = glob.glob(f"{directory}/checkpoints/*.index")[0]
    fit(tmp_path / "run", last_step=1, model=still(warm_start={"checkpoint": path}))


def test_a_run_that_is_resumed_does_not_start_warm_again(fit, tmp_path, variables, trained):
    directory, _ = trained
    settings = {"warm_start": {"checkpoint": str(directory)}}
    fit(tmp_path / "straight", last_step=10, model=Normed(hidden=16, **settings))
    fit(tmp_path / "run", last_step=5, model=Normed(hidden=16, **settings))
    shutil.rmtree(str(directory))
    fit(tmp_path / "run", last_step=10, model=Normed(hidden=16, **settings))
    for name, value in variables(tmp_path / "straight").items():
        np.testing.assert_array_equal(value, variables(tmp_path / "run")[name], err_msg=name)


def test_averages_are_loaded_where_the_other_run_has_some(fit, tmp_path, variables):
    fit(tmp_path / "before", last_step=5, model=Normed(hidden=16, ema_decay=0.9))
    before = variables(tmp_path / "before")
    model = still(warm_start={"checkpoint": str(tmp_path / "before")})
    fit(tmp_path / "run", last_step=1, model=model)
    after = variables(tmp_path / "run")
    for name in WEIGHTS:
        average = before[f"normed/{name}/average"]
        np.testing.assert_array_equal(after[f"normed/{name}"], average)
        assert not np.array_equal(average, before[f"normed/{name}"]), name


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"dense_1/": "dense/"}, r"both normed/dense/bias and normed/dense_1/bias become"),
        ({"dense_9/": "dense/"}, r'rename: "dense_9/" is in none of .*normed/dense_1/bias'),
    ],
)
def test_a_rename_that_meets_another_name_or_none_is_refused(
    fit, tmp_path, trained, rename, message
):
    warm_start = {"checkpoint": str(trained[0]), "rename": rename}
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path / "run", model=still(warm_start=warm_start))


def test_variables_are_renamed_and_excluded_by_regular_expressions(
    fit, tmp_path, variables, trained
):
    directory, before = trained
    warm_start = {
        "checkpoint": str(directory),
        "rename": {"^normed/": "other/", "/dense/": "/first/", "/first/": "/dense/"},
        "exclude": ["dense_1/", "moving"],
    }
    fit(tmp_path / "run", last_step=1, model=still(name="other", warm_start=warm_start))
    after = variables(tmp_path / "run")
    for name in WEIGHTS[:2]:
        np.testing.assert_array_equal(after[f"other/{name}"], before[f"normed/{name}"])
    assert not np.array_equal(after["other/dense_1/kernel"], before["normed/dense_1/kernel"])


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ({"hidden": 8}, {}, r"normed/dense/bias is \[16\] there, \[8\] in the model"),
        ({"name": "n"}, {}, r"n/dense/kernel is not there, \[784, 16\] in the model"),
        ({}, {"exclude": ["logits"]}, 'exclude: "logits" is in none of normed/.*dense_1/bias'),
        (
            {},
            {"rename": {"normed/dense/bias$": "x", "^global_step$": "normed/dense/bias"}},
            r"normed/dense/bias is \[\] there, \[16\] in the model",
        ),
        ({}, {"checkpoint": "nowhere"}, "checkpoint=nowhere: found none; expected the directory"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_in_one_line_before_any_step(
    fit, tmp_path, trained, model, settings, message
):
    directory, _ = trained
    warm_start = {"checkpoint": str(directory), **settings}
    with pytest.raises(ConfigError, match=message) as caught:
        fit(tmp_path / "run", model=Normed(**{"hidden": 16, "warm_start": warm_start, **model}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_frozen_variables_stay_and_have_no_slots(fit, tmp_path, variables):
    for name, last_step in (("one", 1), ("ten", 10)):
        frozen = Normed(hidden=16, freeze=["dense/", "gamma$"], ema_decay=0.9)
        fit(tmp_path / name, last_step=last_step, model=frozen)
    one, ten = variables(tmp_path / "one"), variables(tmp_path / "ten")
    for name in ("dense/kernel", "dense/bias", "batch_normalization/gamma"):
        np.testing.assert_array_equal(one[f"normed/{name}"], ten[f"normed/{name}"])
        assert [key for key in ten if key.startswith(f"normed/{name}/")] == []
    for name in ("dense_1/kernel", "batch_normalization/beta", "batch_normalization/moving_mean"):
        assert not np.array_equal(one[f"normed/{name}"], ten[f"normed/{name}"]), name


def test_a_pattern_that_freezes_nothing_lists_the_variables(fit, tmp_path):
    with pytest.raises(ConfigError, match=r'freeze: "conv" is in none of normed/.*dense_1/bias'):
        fit(tmp_path / "run", model=Normed(hidden=16, freeze=["conv"]))


def test_a_completely_frozen_model_is_an_error(fit, tmp_path):
    with pytest.raises(ModelError, match=r"no variable to train; .* model\.freeze"):
        fit(tmp_path / "run", model=Normed(hidden=16, freeze=["normed"]))
