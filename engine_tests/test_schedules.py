"""Learning-rate schedules: their values, and that a restart resumes them."""

import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.errors import ConfigError
from my_project.engine.run.metrics import read_metrics
from my_project.engine.settings.config import instantiate, load_config
from my_project.model import schedules
from my_project.model.mlp import MLP
from my_project.train.__main__ import train


def factors(schedule, steps):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run([schedule(tf.constant(step, tf.int64)) for step in steps])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(), lambda step: 1.0),
        (schedules.step([10, 30], 0.1), lambda step: 0.1 ** ((step >= 10) + (step >= 30))),
        (schedules.exponential(10, 0.5), lambda step: 0.5 ** (step / 10)),
        (
            schedules.cosine(40, end=0.2),
            lambda step: 0.6 + 0.4 * math.cos(math.pi * min(step / 40, 1)),
        ),
        (
            schedules.polynomial(40, end=0.2, power=2),
            lambda step: 0.2 + 0.8 * max(1 - step / 40, 0) ** 2,
        ),
    ],
)
def test_each_schedule_gives_the_values_of_its_formula(schedule, expected):
    steps = [0, 1, 9, 10, 11, 29, 30, 39, 40, 41, 1000]
    found = factors(schedule, steps)
    np.testing.assert_allclose(found, [expected(step) for step in steps], rtol=1e-5, atol=1e-7)
    assert all(value.dtype == np.float32 and value.shape == () for value in found)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(4), [0.25, 0.5, 0.75, 1, 1, 1]),
        (schedules.step([5], 0.1, warmup_steps=4), [0.25, 0.5, 0.75, 1, 1, 0.1]),
        (schedules.exponential(1, 0.5, warmup_steps=4), [0.25, 0.5, 0.75, 1, 1, 0.5]),
        (schedules.polynomial(6, warmup_steps=4), [0.25, 0.5, 0.75, 1, 1, 0.5, 0]),
        (schedules.cosine(6, warmup_steps=4), [0.25, 0.5, 0.75, 1, 1, 0.5, 0]),
    ],
)
def test_a_linear_warm_up_comes_before_the_schedule(schedule, expected):
    found = factors(schedule, range(len(expected)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.constant(-1),
        lambda: schedules.exponential(0),
        lambda: schedules.cosine(10, warmup_steps=10),
        lambda: schedules.polynomial(0),
        lambda: schedules.step([2], warmup_steps=4),
    ],
)
def test_invalid_numbers_of_steps_are_an_error(make):
    with pytest.raises(ConfigError, match=r"model\.schedule: found \w+=.*; expected \d+ or more"):
        make()


@pytest.mark.parametrize("factor", [-0.5, 0.0, 1.5])
def test_a_factor_that_negates_or_raises_the_rate_is_an_error(factor):
    for make in (schedules.exponential, lambda *of: schedules.step([10], *of[1:])):
        with pytest.raises(ConfigError, match=f"found factor={factor}"):
            make(10, factor)


@pytest.mark.parametrize("name", ["constant", "step", "exponential", "cosine", "polynomial"])
def test_each_schedule_is_chosen_by_its_name_on_the_command_line(name):
    chosen = [f"schedule={name}", "model.schedule.warmup_steps=2", "model.learning_rate=1e-2"]
    model = instantiate(load_config(chosen).model)
    rates = factors(model.optimization.rate, [0, 1, 1999])
    assert rates[:2] == pytest.approx([0.005, 0.01])
    assert rates[2] <= 0.01


def test_a_schedule_ends_with_the_last_epoch(tmp_path, digits_directory):
    words = ["data=digits", f"data.directory={digits_directory}", "data.batch_size=64"]
    words += ["data.train_examples=640", "data.test_examples=130"]
    words += ["schedule=cosine", "model.learning_rate=0.001", "trainer.log_every_n_steps=1"]
    words += [f"run_dir={tmp_path}"]
    assert train([*words, "trainer.last_epoch=2"]) == 0
    lines = read_metrics(str(tmp_path / "metrics.jsonl"))
    rates = [line["learning_rate"] for line in lines if line["split"] == "train"]
    steps = len(rates)
    expected = [0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    assert steps == 2 * (640 // 64)
    assert rates == pytest.approx([1e-3 * factor for factor in expected], rel=1e-4)
    assert train([*words, "trainer.last_epoch=2"]) == 0  # typed again, as a job that is requeued


def test_your_own_schedule_is_a_function_of_the_step():
    model = MLP(learning_rate=0.5, schedule=lambda step: 1 / (1 + step))
    assert factors(model.optimization.rate, [0, 3]) == pytest.approx([0.5, 0.125])


def test_the_rate_is_logged_summarized_and_resumes_after_a_restart(fit, tmp_path):
    for stop in (30, 50):
        schedule = schedules.cosine(50, warmup_steps=5)
        model = MLP(hidden=16, schedule=schedule, learning_rate=1e-3)
        intervals = {"log_every_n_steps": 10, "summary_every_n_steps": 25}
        fit(tmp_path / "run", last_step=stop, model=model, **intervals)
    lines = read_metrics(str(tmp_path / "run" / "metrics.jsonl"))
    logged = {line["step"]: line["learning_rate"] for line in lines if line["split"] == "train"}
    expected = {1: 2e-4, **{step: _cosine(step - 1) for step in (10, 20, 30, 40, 50)}}
    assert logged == pytest.approx(expected, rel=1e-4)
    summarized = {
        event.step: value.simple_value
        for path in (tmp_path / "run").glob("events*")
        for event in tf.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "learning_rate"
    }
    expected = {1: 2e-4, 25: _cosine(24), 30: _cosine(29), 50: _cosine(49)}
    assert summarized == pytest.approx(expected, rel=1e-4)


def _cosine(step):
    return 1e-3 * 0.5 * (1 + math.cos(math.pi * (step - 5) / 45))
