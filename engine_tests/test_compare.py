"""Numbers that were computed twice: what is rounding, and what is another result."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.compat import RUNTIME
from my_project.engine.run.devices import session_config
from my_project.engine.tools.compare import difference, tolerance

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ([1.0, 0.0], [1.0, 0.0], 0.0),
        ([4.0, 0.5], [4.0, 0.0], 0.125),
        ([0.25], [0.0], 0.25),
        ([-INF, 2.0], [-INF, 4.0], 0.5),
        ([NAN], [NAN], INF),
        ([1.0], [NAN], INF),
        ([INF], [1.0], INF),
        ([1.0, 1.0], [1.0], INF),
        ([], [], 0.0),
        ([3, 1, 2, 2], [3, 1, 2, 1], 0.25),
        ([1], [1.0], INF),
        (["a", "b"], ["a", "c"], 0.5),
    ],
)
def test_the_difference_is_a_share_of_the_largest_number(one, other, share):
    assert difference(np.array(one), np.array(other)) == share


def test_float16_differs_in_its_own_last_digit_and_is_not_compared_in_float16():
    one = np.array([60000, 1], np.float16)
    assert difference(one, -one) == pytest.approx(2.0)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_tolerance_follows_from_type_and_device(monkeypatch, gpu):
    found = [object()] if gpu else []
    monkeypatch.setattr(tf.config.experimental, "list_physical_devices", lambda kind: found)
    config = session_config()
    exact, float32 = (tolerance(config, np.dtype(name)) for name in ("int64", "float32"))
    assert exact == (0.02 if gpu else 0.0)
    assert float32 == ((1e-3 if RUNTIME == "tf1" else 1e-2) if gpu else 1e-4)
    assert tolerance(config, np.dtype("float64")) == float32  # models compute in float32
    assert tolerance(config, np.dtype("float16")) == max(float32, 4e-3)
    assert tolerance(config, tf.bfloat16.as_numpy_dtype(0).dtype) == 3e-2
    assert tolerance(session_config("none"), np.dtype("float32")) == 1e-4
    if RUNTIME == "tf2":
        enabled = lambda: False  # noqa: E731
        monkeypatch.setattr(tf.config.experimental, "tensor_float_32_execution_enabled", enabled)
        assert tolerance(config, np.dtype("float32")) == (1e-3 if gpu else 1e-4)
