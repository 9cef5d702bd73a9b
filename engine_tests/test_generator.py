"""Generator functions: streamed as stated, and what they must not yield."""

import numpy as np
import pytest
from my_project.data.generator import Generated
from my_project.engine.errors import ConfigError, DataError, NotFiniteError
from my_project.engine.input.bad_records import find_bad_record
from my_project.engine.settings.config import instantiate, load_config
from my_project.model.mlp import MLP

SPIRALS = "my_project.data.generator.spirals"


def pairs(split):
    """Ten examples to train on and five to test, of float64 and Python's int."""
    for number in range(10 if split == "train" else 5):
        yield np.full([2, 3], number), -0.5 * number, number % 2


def odd(split):
    yield np.zeros([2, 3]), 0.0, 1
    yield np.zeros([3, 2]), 0.0, 1


def endless(split):
    while True:
        yield [1.0, 2.0], 1


def large(split):
    yield np.zeros([2, 3]), 0.0, 1
    yield np.zeros([2, 3]), 0.0, 2**32 + 1


def holes(split):
    for number in range(10):
        yield [np.nan if number == 2 else 1.0, 0.0], number % 2


def make(function, **arguments):
    types = {"dtypes": ["float32", "float64", "int32"], "shapes": [[2, 3], [], []]}
    others = {"classes": 2, "batch_size": 2, **types, **arguments}
    return Generated(f"{__name__}.{function}", **others)


def test_examples_come_in_order_and_in_the_stated_types(batches):
    found = batches(make("pairs"), "test")
    (first, second), labels = found[1]
    assert first[:, 0, 0].tolist() == [2, 3]
    assert second.tolist() == [-1, -1.5]
    assert labels.tolist() == [0, 1]
    assert [array.dtype for array in (first, second, labels)] == ["float32", "float64", "int32"]
    assert len(found) == 3


def test_a_training_epoch_holds_each_example_once(batches):
    found = batches(make("pairs"), count=10, training=True)
    for epoch in (found[:5], found[5:]):
        numbers = [number for (first, _), _ in epoch for number in first[:, 0, 0].tolist()]
        assert sorted(numbers) == [*range(10)]
        assert numbers != sorted(numbers)


def test_a_function_that_never_ends_is_streamed(batches):
    dataset = make("endless", dtypes=["float32", "int32"], shapes=[[2], []], shuffle_buffer=10)
    assert not dataset.in_memory("train")
    ((features, labels),) = batches(dataset, count=1, training=True)
    assert features.tolist() == [[1, 2], [1, 2]]
    assert labels.tolist() == [1, 1]


def test_a_model_learns_the_spirals_and_a_run_resumes(fit, tmp_path):
    arguments = {"dtypes": ["float32", "int32"], "shapes": [[2], []], "batch_size": 32}
    dataset = Generated(SPIRALS, classes=2, **arguments)
    fit(tmp_path / "run", 40, MLP(hidden=64, classes=2, dropout=0.0, learning_rate=0.02), dataset)
    model = MLP(hidden=64, classes=2, dropout=0.0, learning_rate=0.02)
    assert fit(tmp_path / "run", 80, model, dataset)["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("odd", {}, r"odd: yielded .*float64 \(3, 2\).* as example 2, expected float32 \(2, 3\)"),
        ("pairs", {"dtypes": ["int32"] * 3}, r"yielded .*float64 \(\).*expected .*int32 \(\)"),
        ("endless", {}, r"yielded float64 \(2,\), int64 \(\) as example 1, expected float32"),
        ("pairs", {"classes": 1}, r"record 2: expected labels from 0 to 0, found 1"),
        ("large", {}, r"yielded .*int64 \(\) as example 2, .*integers that these can hold"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(function, arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        find_bad_record(make(function, **arguments), "test")
    assert "\n" not in str(caught.value)


def test_types_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match=r"data\.dtypes=.*float33.*expected such as float32"):
        make("pairs", dtypes=["float33", "int32", "int32"])


def test_a_nan_is_found_though_no_batch_can_be_read_again(fit, tmp_path):
    dataset = make("holes", dtypes=["float32", "int32"], shapes=[[2], []])
    with pytest.raises(NotFiniteError, match="record 3: features hold NaN"):
        fit(tmp_path / "run", 5, MLP(classes=2), dataset)


@pytest.mark.parametrize(("function", "shapes"), [("absent", [[2, 3], [], []]), ("pairs", [[2]])])
def test_settings_that_contradict_each_other_are_refused(function, shapes):
    with pytest.raises(ConfigError, match="expected an existing function, and as many shapes"):
        make(function, shapes=shapes)


def test_its_settings_make_it():
    assert isinstance(instantiate(load_config(["data=generator"]).data), Generated)
