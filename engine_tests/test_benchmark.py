"""The benchmark: real numbers, and the right culprit."""

import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from my_project.benchmark import benchmark
from my_project.data.digits import Digits
from my_project.engine.errors import ConfigError
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.tools import speed
from my_project.engine.tools.device_figures import device_figures
from my_project.engine.tools.speed import advise
from my_project.model.mlp import MLP
from my_project.train.trainer import SessionTrainer


class SlowDigits(Digits):
    """Takes 20 ms for each batch."""

    def convert(self, images, labels):
        def wait(labels):
            time.sleep(0.02)
            return labels

        features, classes = super().convert(images, labels)
        waited = tf.reshape(tf.py_func(wait, [classes], tf.int32, stateful=False), [-1])
        return features, waited


def rates(dataset, hidden):
    """Examples per second of input, model and both, measured for a quarter of a second each."""
    dataset.prepare()
    kinds = {"input alone": (None, False), "model alone": (MLP, True), "training": (MLP, False)}
    found = {
        name: speed.measure(SessionTrainer(), dataset, model and model(hidden), 0.25, constant)
        for name, (model, constant) in kinds.items()
    }
    return {name: numbers["examples_per_sec"] for name, numbers in found.items()}


def test_the_table_and_the_file_have_the_same_numbers_and_no_run_is_made(
    digits_directory, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(2), raising=False)
    numbers = ["data.train_examples=640", "data.test_examples=130", "data.batch_size=64"]
    settings = ["data=digits", f"data.directory={digits_directory}", *numbers, "model.hidden=16"]
    assert benchmark([*settings, "seconds=0.1", "data.memory_fraction=0", "file=speed.json"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["speed.json"]
    result = json.loads((tmp_path / "speed.json").read_text())
    printed = capsys.readouterr().out
    shown = re.findall(r"^(\w+ alone|training(?:, \S+)?) +([\d,]+) +([\d.]+) s$", printed, re.M)
    assert [name for name, *_ in shown] == list(result["speeds"])
    assert [name.partition(", ")[2] for name in result["speeds"]][3:] == [
        "data.parallel_calls=1",
        "data.parallel_calls=4",
        "data.batch_size=128",
        "data.memory_fraction=0.5",
    ]
    for name, rate, secs in shown:
        numbers = result["speeds"][name]
        assert numbers["examples_per_sec"] > 100
        assert f"{numbers['examples_per_sec']:,.0f}" == rate
        assert f"{numbers['first_batch_secs']:.2f}" == secs
    assert printed.splitlines()[-1].startswith(f"The {result['bottleneck']} is the bottleneck: ")
    assert "streamed (data.memory_fraction: 0% of" in printed.splitlines()[0]


def test_the_file_replaces_none_of_another_kind(digits_directory, tmp_path):
    file = tmp_path / "conf.yaml"
    file.write_text("a: 1")
    with pytest.raises(ConfigError, match=r"conf.yaml: exists, and its name does not end in .json"):
        benchmark(["data=digits", f"data.directory={digits_directory}", f"file={file}"])
    assert file.read_text() == "a: 1"


def test_a_gpus_memory_and_copies_are_read_from_a_trace():
    trace = tf.RunMetadata().step_stats

    def add(device, name, start, duration, in_use=0):
        node = trace.dev_stats.add(device=device).node_stats.add(node_name=name)
        node.all_start_micros, node.all_end_rel_micros = start, duration
        node.memory.add(allocator_name="GPU_0_bfc", allocator_bytes_in_use=in_use)

    add("/job:localhost/device:CPU:0", "IteratorGetNext", 100, 20)
    assert device_figures(trace) == {}
    add("/job:localhost/replica:0/task:0/device:GPU:0", "mlp/MatMul", 110, 50, in_use=3000000)
    add("/job:localhost/replica:0/task:0/device:GPU:0", "mlp/Relu", 160, 140, in_use=2000000)
    assert device_figures(trace) == {"memory_mb": 3.0, "copy_share": 0.0}
    add("/device:GPU:0/stream:1", "MemcpyH2D", 120, 20)
    add("/device:GPU:0/memcpy", "edge_7", 120, 20)  # the same once more
    add("/device:GPU:0/stream:2", "MEMCPYDtoH", 130, 30)
    assert device_figures(trace) == {"memory_mb": 3.0, "copy_share": 0.2}


def test_slow_data_are_the_bottleneck_and_the_model_alone_is_not_slowed(digits_directory):
    dataset = SlowDigits(digits_directory, 640, 130, batch_size=64, parallel_calls=1)
    found = rates(dataset, hidden=16)
    assert advise(found)["bottleneck"] == "input"
    assert 100 < found["training"] < 64 / 0.02
    assert found["model alone"] > 3 * found["training"]


def test_a_heavy_model_is_the_bottleneck(digits):
    found = rates(digits, hidden=4096)
    assert advise(found)["bottleneck"] == "model"
    assert found["input alone"] > 3 * found["training"]


def test_the_change_that_was_measured_to_help_most_is_advised():
    found = {"input alone": 50.0, "model alone": 100.0, "training": 40.0}
    text = "training reaches 80% of its speed alone; "
    slower = {**found, "training, data.parallel_calls=1": 41.0}
    none = f"{text}none of the settings tried makes it faster"
    assert advise(slower) == {"bottleneck": "input", "advice": none}
    faster = {**slower, "training, data.parallel_calls=8": 60.0, "training, trainer.x=1": 50.0}
    assert advise(faster)["advice"] == f"{text}with data.parallel_calls=8 it is 1.50 times as fast"


def test_the_numbers_are_those_of_training_steps_that_really_happened(digits, monkeypatch):
    digits.prepare()
    times = np.cumsum([0, 0.5, 1, 1, 1, 1, 1])  # the first step, then five intervals
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=iter(times).__next__))
    found = speed.measure(SessionTrainer(steps_per_loop=1), digits, None, 1e-6, False)
    assert found == {"examples_per_sec": 64.0, "first_batch_secs": 0.5}


def test_a_time_of_zero_is_refused():
    with pytest.raises(ConfigError, match=r"seconds=0\.0: expected more than 0"):
        benchmark(["data=digits", "seconds=0.0"])


def test_a_trainer_with_another_loop_is_not_measured_by_this_one(digits):
    with pytest.raises(ConfigError, match="found KerasTrainer; expected trainer=session"):
        speed.measure(KerasTrainer(), digits, None, 0.1, False)
