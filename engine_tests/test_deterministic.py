"""trainer.deterministic: what it sets, what it keeps, and what cannot be had with it."""

import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.compat import RUNTIME
from my_project.engine.errors import ModelError
from my_project.engine.run import deterministic
from my_project.engine.run.deterministic import VARIABLES, is_deterministic
from tensorflow.python.framework import config


@pytest.fixture
def as_before(monkeypatch):
    """Takes back afterwards what holds for a process."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    if RUNTIME == "tf2":
        config.disable_op_determinism()
        tf.config.experimental.enable_tensor_float_32_execution(True)


def test_all_that_makes_results_equal_is_set_and_recorded(as_before, fit, tmp_path, variables):
    fit(tmp_path / "usual", last_step=4)
    assert not is_deterministic()
    fit(tmp_path / "equal", last_step=4, deterministic=True)
    assert is_deterministic()
    assert {name: os.environ[name] for name in VARIABLES} == {
        "TF_CUDNN_DETERMINISTIC": "1",
        "TF_DETERMINISTIC_OPS": "1",
        "NVIDIA_TF32_OVERRIDE": "0",
    }
    if RUNTIME == "tf2":
        assert config.is_op_determinism_enabled()
        assert not tf.config.experimental.tensor_float_32_execution_enabled()
    for run, expected in ("usual", False), ("equal", True):
        (start,) = json.loads((tmp_path / run / "record.json").read_text())["starts"]
        assert start["deterministic"] is expected
    usual, equal = variables(tmp_path / "usual"), variables(tmp_path / "equal")
    for name in usual:  # 2.x then computes the cross entropy by another formula
        np.testing.assert_allclose(usual[name], equal[name], rtol=1e-3, atol=1e-5)


class Refused(tf.train.SessionRunHook):
    """Fails as a GPU does."""

    def __init__(self, message, operation):
        self._message, self._operation = message, operation

    def after_run(self, run_context, run_values):
        graph = run_context.session.graph
        operation = self._operation and graph.get_operation_by_name(self._operation)
        raise tf.errors.UnimplementedError(None, operation, self._message)


MESSAGE = "A deterministic GPU implementation of BiasAddGrad is not currently available."
ON_2 = f"Graph execution error:\n\nNode: 'cnn/BiasAddGrad'\n{MESSAGE}\n\t [[{{{{node cnn/x}}}}]]"


@pytest.mark.parametrize(
    ("message", "operation", "named"),
    [(MESSAGE, "global_step", r"global_step \(VarHandleOp\)"), (ON_2, None, "cnn/BiasAddGrad")],
)
def test_an_operation_without_a_deterministic_kernel_is_named(
    monkeypatch, fit, tmp_path, message, operation, named
):
    monkeypatch.setattr(deterministic, "is_deterministic", lambda: True)
    hooks = [Refused(message, operation)]
    expected = f"deterministic=true: {named} cannot: A deterministic GPU implementation of BiasAdd"
    with pytest.raises(ModelError, match=expected) as caught:
        fit(tmp_path / "run", hooks=hooks)
    assert "\n" not in str(caught.value)


def test_other_errors_keep_their_stack_trace(monkeypatch, fit, tmp_path):
    for text, chosen in (MESSAGE, False), ("Not implemented.", True):
        monkeypatch.setattr(deterministic, "is_deterministic", lambda chosen=chosen: chosen)
        with pytest.raises(tf.errors.UnimplementedError):
            fit(tmp_path / f"run-{chosen}", hooks=[Refused(text, None)])
