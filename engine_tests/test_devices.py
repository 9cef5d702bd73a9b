"""A GPU that is there and not used is named with the reason."""

import logging
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.compat import RUNTIME
from my_project.engine.run import devices

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a shell script")


@pytest.fixture
def warning(tmp_path, monkeypatch, caplog):
    """warning(gpu) -> what is logged where nvidia-smi prints that and TensorFlow lists no GPU."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config.experimental, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)

    def warning(gpu, old_driver=False):
        refused = '[ "$1" = "--query-gpu=name" ] || exit 2\n' if old_driver else ""
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{refused}echo '{gpu}'\necho 'another'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        caplog.clear()
        devices.warn_of_unused_gpu()
        assert all(record.levelno == logging.WARNING for record in caplog.records)
        return caplog.messages

    return warning


def test_a_library_that_cannot_be_loaded_is_named(warning, monkeypatch):
    monkeypatch.setattr(devices, "LIBRARIES", ["libc.so.6", "libcudart.so.0.0", "libx.so"])
    for printed, old_driver in (("Tesla T4, 7.5", False), ("Tesla T4", True)):
        assert warning(printed, old_driver) == [
            "Tesla T4 is not used: libcudart.so.0.0 cannot be loaded; "
            "fix that, or set trainer.gpus=none"
        ]


def test_other_reasons_are_told_apart(warning, monkeypatch):
    monkeypatch.setattr(devices, "LIBRARIES", [])
    assert "TensorFlow does not list it" in warning("Tesla T4, 7.5")[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES hides it" in warning("Tesla T4, 7.5")[0]
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    assert "built without CUDA, tensorflow" in warning("Tesla T4, 7.5")[0]


def test_a_gpu_that_cuda_10_does_not_know_is_told_by_its_compute_capability(warning, monkeypatch):
    monkeypatch.setattr(tf.config.experimental, "list_physical_devices", lambda kind: ["GPU:0"])
    assert warning("Tesla T4, 7.5") == []
    messages = warning("NVIDIA A100-SXM4-40GB, 8.0")
    assert len(messages) == (1 if RUNTIME == "tf1" else 0)
    assert all("NVIDIA A100-SXM4-40GB is not used: its compute cap" in text for text in messages)


def test_training_warns_before_its_first_step_unless_no_gpu_is_wanted(
    warning, fit, tmp_path, caplog
):
    warning("Tesla T4, 7.5")
    caplog.clear()
    fit(tmp_path / "run", last_step=2)
    told = [text.split(" ")[0] for text in caplog.messages]
    assert told.index("Tesla") < told.index("step")
    assert "Tesla T4 is not used" in (tmp_path / "run" / "train.log").read_text()
    caplog.clear()
    fit(tmp_path / "other", last_step=2, gpus="none")
    assert "Tesla" not in caplog.text


@pytest.mark.skipif(RUNTIME == "tf1", reason="TensorFlow 1.15 has no Keras 3")
def test_keras_3_is_not_loaded_next_to_keras_2():
    code = "import my_project.train.trainer, sys; print('keras' in sys.modules)"
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert subprocess.check_output([sys.executable, "-c", code], cwd=root) == b"False\n"
