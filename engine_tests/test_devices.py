"""The GPUs of this machine: which are used, their memory, and why one is not."""

import logging
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.compat import RUNTIME
from my_project.engine.errors import ConfigError
from my_project.engine.run import devices, unused_gpu
from my_project.engine.run.devices import describe_device, session_config, set_up_gpus
from my_project.engine.run.gpus import share_gpus, visible_gpus
from my_project.evaluate import evaluate
from my_project.show import show
from my_project.train.__main__ import train
from tensorflow.python.eager import context

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
        unused_gpu.warn_of_unused_gpu()
        assert all(record.levelno == logging.WARNING for record in caplog.records)
        return caplog.messages

    return warning


def test_a_library_that_cannot_be_loaded_is_named(warning, monkeypatch):
    monkeypatch.setattr(unused_gpu, "LIBRARIES", ["libc.so.6", "libcudart.so.0.0", "libx.so"])
    for printed, old_driver in (("Tesla T4, 7.5", False), ("Tesla T4", True)):
        assert warning(printed, old_driver) == [
            "Tesla T4 is not used: libcudart.so.0.0 cannot be loaded; "
            "fix that, or set trainer.gpus=none"
        ]


def test_other_reasons_are_told_apart(warning, monkeypatch):
    monkeypatch.setattr(unused_gpu, "LIBRARIES", [])
    assert "TensorFlow does not list it" in warning("Tesla T4, 7.5")[0]
    assert ("EXTRAS=cuda make install" in warning("Tesla T4, 7.5")[0]) is (RUNTIME == "tf2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES hides it" in warning("Tesla T4, 7.5")[0]
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    assert "built without CUDA, tensorflow" in warning("Tesla T4, 7.5")[0]


def test_a_gpu_that_cuda_10_does_not_know_is_told_by_its_compute_capability(warning, monkeypatch):
    monkeypatch.setattr(tf.config.experimental, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(unused_gpu, "LIBRARIES", [])
    assert warning("Tesla T4, 7.5") == []
    messages = warning("NVIDIA A100-SXM4-40GB, 8.0")
    assert len(messages) == (1 if RUNTIME == "tf1" else 0)
    assert all("NVIDIA A100-SXM4-40GB is not used: its compute cap" in text for text in messages)
    monkeypatch.setattr(unused_gpu, "LIBRARIES", ["libx.so"])  # NVIDIA's build has another CUDA
    assert warning("NVIDIA A100-SXM4-40GB, 8.0") == []


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


@pytest.fixture
def another_context(monkeypatch):
    """another_context(n) -> TensorFlow's eager context as it is at first, with n GPUs."""

    def another_context(gpus):
        made = context.Context()
        made._initialize_physical_devices()
        for number in range(gpus):
            gpu = context.PhysicalDevice(f"/physical_device:GPU:{number}", "GPU")
            made._physical_devices.append(gpu)
            made._visible_device_list.append(gpu)
            made._memory_growth_map[gpu] = None
        monkeypatch.setattr(context, "context", lambda: made)
        return made

    return another_context


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"allow_growth": False},
        {"gpus": "1"},
        {"gpus": "2,0"},
        {"gpus": "none"},
        {"gpu_memory_mb": 500},
        {"gpus": "0,2", "gpu_memory_mb": 500},
    ],
)
def test_the_settings_of_gpus_hold_for_each_context_of_the_process(another_context, chosen):
    made = another_context(3)
    config = session_config(**chosen)
    set_up_gpus(config)
    ours, theirs = config.gpu_options, made.config.gpu_options
    growth = chosen.get("allow_growth", "gpu_memory_mb" not in chosen)
    assert ours.allow_growth == growth
    assert theirs.allow_growth == (growth and chosen.get("gpus") != "none")
    numbers = {"all": "0,1,2", "2,0": "0,2", "none": ""}
    gpus = chosen.get("gpus", "all")
    assert theirs.visible_device_list == numbers.get(gpus, gpus)
    assert ours.visible_device_list in ("", theirs.visible_device_list)
    assert config.device_count.get("GPU", 3) == (0 if gpus == "none" else 3)
    limits = [list(each.memory_limit_mb) for each in theirs.experimental.virtual_devices]
    assert limits == [list(each.memory_limit_mb) for each in ours.experimental.virtual_devices]
    if "gpu_memory_mb" in chosen:
        assert limits == [[500]] * len(theirs.visible_device_list.split(","))


def test_sessions_without_settings_have_those_of_the_trainer_too(another_context, fit, tmp_path):
    made = another_context(2)
    set_up_gpus(session_config("1"))
    with tf.Session() as session:
        assert session._config.gpu_options == made.config.gpu_options
        assert session._config.gpu_options.visible_device_list == "1"


@pytest.mark.parametrize("command", [train, evaluate, show])
def test_gpus_are_set_up_before_tensorflow_makes_a_context_for_its_functions(
    another_context, command, trained, digits_directory, tmp_path, monkeypatch
):
    words = {
        train: ["data=digits", f"data.directory={digits_directory}", "data.train_examples=640"],
        evaluate: [f"run_dir={trained()}"],
        show: [f"run_dir={trained()}", f"file={tmp_path}/show.png"],
    }
    words[train] += ["data.test_examples=130", "trainer.last_step=2", f"run_dir={tmp_path}/run"]
    made, found = another_context(0), []
    monkeypatch.setattr(devices, "set_up_gpus", lambda config: found.append(made._context_handle))
    assert command(words[command]) == 0
    assert found[0] is None
    assert RUNTIME == "tf1" or made._context_handle is not None


def test_the_device_that_trains_is_named(another_context, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    details = lambda gpu: {"device_name": "Tesla T4"}  # noqa: E731
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details, raising=False)
    another_context(2)
    for other in ("Tesla T4", "Tesla K80"):
        script = f"#!/bin/sh\necho Tesla T4\necho {other}\n"
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)
        known = other == "Tesla T4" or RUNTIME == "tf2"  # which asks TensorFlow
        name = " (Tesla T4)" if known else ""
        assert describe_device(session_config()) == f"the first of 2 GPUs{name}"
        assert describe_device(session_config(), 2) == f"2 GPUs{name}"
        assert describe_device(session_config("1")) == ("Tesla T4" if known else "a GPU")
    monkeypatch.setattr(devices, "cores", lambda: 4)
    assert describe_device(session_config("none")) == "the CPU (4 cores)"
    assert describe_device(session_config("none"), 2) == "the CPU (4 cores) as 2 devices"


def test_a_gpu_that_is_not_there_is_named(another_context):
    another_context(2)
    with pytest.raises(ConfigError, match=r"trainer\.gpus: found 2, expected numbers from 0 to 1"):
        set_up_gpus(session_config("0,2"))


def test_gpus_that_were_set_up_otherwise_are_told_of(another_context, caplog):
    made = another_context(2)
    set_up_gpus(session_config("1"))
    made._context_handle = object()  # from now on they are in use
    set_up_gpus(session_config("1"))
    set_up_gpus(session_config("none"))
    assert caplog.messages == []
    set_up_gpus(session_config("0"))
    made._context_handle = None
    assert len(caplog.messages) == 1
    assert "the GPUs of this process are set up already" in caplog.text


def test_gpus_are_named_as_cuda_knows_them(tmp_path, monkeypatch):
    for chosen, gpus in {"0,2": ["0", "2"], "": [], "-1": [], "1,-1,2": ["1"]}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert visible_gpus() == gpus
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    printed = "GPU 0: H200 (UUID: GPU-a1)\nGPU 1: H200 (UUID: GPU-b2)"
    for text, gpus in (
        (printed, ["GPU-a1", "GPU-b2"]),
        (f"{printed}\n  MIG 1g.18gb Device 0: (UUID: MIG-c3)", ["MIG-c3"]),
    ):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{text}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("gpus", "slots", "shares"),
    [
        ("01", 2, ["0", "1"]),
        ("0", 3, ["0"] * 3),
        ("01", 3, ["0", "1", "0"]),
        ("012", 2, ["0", "1"]),
        ("0123", 3, ["0", "1", "2"]),
        ("0123456", 2, ["0,1,2", "3,4,5"]),
    ],
)
def test_each_run_at_a_time_has_as_many_gpus(gpus, slots, shares):
    assert share_gpus(list(gpus), slots) == shares


@pytest.mark.skipif(RUNTIME == "tf1", reason="TensorFlow 1.15 has no Keras 3")
def test_keras_3_is_not_loaded_next_to_keras_2():
    code = "import my_project.train.trainer, sys; print('keras' in sys.modules)"
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert subprocess.check_output([sys.executable, "-c", code], cwd=root) == b"False\n"
