"""Several processes on one GPU: its memory, runs side by side, and sweeps."""

import csv
import subprocess

import pytest
from my_project.engine.run.gpus import visible_gpus

pytestmark = pytest.mark.gpu
RUNS = 8 if visible_gpus() else 2


def memory_mb(what):
    """memory.used or memory.total of the first GPU."""
    command = ["nvidia-smi", f"--query-gpu=memory.{what}", "--format=csv,noheader,nounits"]
    return int(subprocess.check_output(command).split()[0])


def test_runs_side_by_side_all_train(side_by_side, tmp_path):
    words = ["model=cnn", "trainer.last_step=50"]
    shown = side_by_side(*([*words, f"run_dir={tmp_path}/{number}"] for number in range(RUNS)))
    assert all("step 50" in text for text in shown)


# As in a run: a function of tf.data is traced first, and a session without settings opened.
MEMORY = """
import tensorflow.compat.v1 as tf
from my_project.engine.run.devices import session_config, set_up_devices
from my_project.engine.run.gpus import visible_gpus
config = session_config({settings})
set_up_devices(config)
with tf.Graph().as_default(), tf.Session() as session:
    values = tf.data.make_one_shot_iterator(tf.data.Dataset.range(3).map(lambda x: x + 1))
    session.run(values.get_next())
with tf.Graph().as_default(), tf.Session(config=config) as session:
    session.run(tf.reduce_sum(tf.random.uniform([1000, 1000]) @ tf.random.uniform([1000, 1000])))
    print([each.memory_limit_bytes for each in session.list_devices() if each.device_type == "GPU"])
    print(len(visible_gpus()))
    if visible_gpus():
        import subprocess
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        print(subprocess.check_output(query).split()[0].decode())
"""


@pytest.mark.parametrize("settings", ["", "gpu_memory_mb=1500"])
def test_a_process_takes_the_memory_that_is_set(side_by_side, settings):
    before = memory_mb("used") if visible_gpus() else 0
    (shown,) = side_by_side([MEMORY.format(settings=settings)])
    limits, *numbers = [line for line in shown.splitlines() if line.strip("[], 0123456789") == ""]
    if not visible_gpus():
        assert limits == "[]", shown
    elif settings:
        assert set(limits.strip("[]").split(", ")) == {str(1500 * 2**20)}
    if visible_gpus():
        taken = int(numbers[-1]) - before
        assert taken < 4000, shown  # with what CUDA itself takes
        assert taken < memory_mb("total") / 2


def test_a_sweep_divides_the_gpus_among_its_runs(start, tmp_path):
    words = ["-m", "seed=1,2", "jobs=2", "model=cnn", "trainer.last_step=20"]
    assert start(*words).wait() == 0, (tmp_path / "output").read_text()
    with open(str(tmp_path / "run" / "results.csv"), newline="") as file:
        assert [row["result"] for row in csv.DictReader(file)] == ["done", "done"]
