"""The train command: exit codes, and what signals do at awkward moments."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

PACKAGE = "my_project"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def wait_for(path, text):
    """Waits until a file holds the text; fails after a minute."""
    for _ in range(600):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.1)
    pytest.fail(path.read_text())


def test_a_finished_run_exits_with_0_and_says_where_it_is_and_what_it_reached(start, tmp_path):
    assert start("trainer.last_step=5").wait() == 0
    output = (tmp_path / "output").read_text()
    first = re.search(r"^\d\d:\d\d:\d\d (.*)$", output, re.MULTILINE)
    assert first.group(1) == f"run directory: {tmp_path}/run"
    assert output.endswith(f"\nrun directory: {tmp_path}/run\n")
    assert re.search(r"^test accuracy: 0\.\d{4}$", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_and_exits_with_its_code(start, tmp_path, number, code):
    process = start("trainer.last_step=10000000")
    wait_for(tmp_path / "output", "step 1 ")
    process.send_signal(number)
    assert process.wait() == code
    assert list((tmp_path / "run" / "checkpoints").glob("model.ckpt-*.index"))
    output = (tmp_path / "output").read_text()
    assert "Traceback" not in output
    assert output.endswith(f"\nrun directory: {tmp_path}/run\n")
    assert not (tmp_path / "run" / "lock").exists()


def test_a_failed_run_says_where_it_is_before_the_error(start, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "lock").write_text("{}")
    assert start().wait() == 1
    *_, where, error = (tmp_path / "output").read_text().splitlines()
    assert where == f"run directory: {tmp_path}/run"
    assert error.startswith(f"error: {tmp_path}/run: in use by process ?")


def test_a_second_signal_ends_the_process_in_the_middle_of_a_step(start, tmp_path):
    hook = tmp_path / "slow.py"
    hook.write_text(
        "import tensorflow.compat.v1 as tf, time\n"
        "class Slow(tf.train.SessionRunHook):\n"
        "    def after_run(self, run_context, run_values):\n"
        "        print('in the hook', flush=True)\n"
        "        end = time.time() + 60\n"
        "        while time.time() < end: time.sleep(0.1)\n"
    )
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        process = start("trainer.hooks=[{_target_: slow.Slow}]")
    finally:
        del os.environ["PYTHONPATH"]
    wait_for(tmp_path / "output", "in the hook")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert time.monotonic() - started < 30


def test_a_signal_while_tensorflow_loads_ends_the_process(tmp_path):
    # The module that TensorFlow 1.15 loads drops what a handler raises: here a stand-in does so.
    package = tmp_path / "tensorflow"
    (package / "compat").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "compat" / "__init__.py").write_text("")
    (package / "compat" / "v1.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(1)\n"
        "except BaseException:\n    pass\n"
        "print('survived')\n"
    )
    command = [sys.executable, "-m", f"{PACKAGE}.train", f"run_dir={tmp_path}/run"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT])}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM
    assert "survived" not in done.stdout


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="only Linux counts threads")
def test_a_process_has_the_threads_that_are_set(start, tmp_path):
    # TensorFlow listens to the first session of a process alone, and the data need some, too.
    def threads(number):
        settings = [f"trainer.{kind}_op_threads={number}" for kind in ("intra", "inter")]
        process = start("trainer.last_step=10000000", f"run_dir={tmp_path}/{number}", *settings)
        wait_for(tmp_path / "output", "step 100 ")
        found = len(os.listdir(f"/proc/{process.pid}/task"))
        process.kill()
        process.wait()
        return found

    assert threads(20) - threads(10) >= 20


def test_a_signal_before_training_leaves_no_run_directory(start, tmp_path):
    process = start("trainer.last_step=10000000", "trainer.log_every_n_steps=0")
    wait = time.monotonic() + 60
    while not (tmp_path / "run" / "lock").exists() and time.monotonic() < wait:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    run = tmp_path / "run"
    assert not run.exists() or list((run / "checkpoints").glob("*.index"))


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_a_run_that_was_killed_goes_on_to_the_weights_of_one_that_was_not(
    start, tmp_path, variables, share
):
    settings = ["trainer.checkpoint_every_n_steps=20", f"data.memory_fraction={share}"]
    settings.append("trainer.log_every_n_steps=1")
    assert start(*settings, "trainer.last_step=150").wait() == 0
    straight = variables(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "straight")
    process = start(*settings, "trainer.last_step=150")
    wait_for(tmp_path / "output", "step 70 ")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert start(*settings, "trainer.last_step=150").wait() == 0
    killed = variables(tmp_path / "run")
    assert all(np.array_equal(straight[name], killed[name]) for name in straight)
