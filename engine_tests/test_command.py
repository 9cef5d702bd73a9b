"""The train command: exit codes, and what signals do at awkward moments."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from my_project.engine.loop import stop
from my_project.engine.run.lock import locked

PACKAGE = "my_project"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def wait_until(condition):
    """Waits until it holds; fails after a minute."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("a minute is over")


def wait_for(path, text):
    """Waits until a file holds the text."""
    wait_until(lambda: path.exists() and text in path.read_text())


def test_a_finished_run_exits_with_0_and_says_where_it_is_and_what_it_reached(start, tmp_path):
    assert start("trainer.last_step=5").wait() == 0
    output = (tmp_path / "output").read_text()
    logged = re.findall(r"^\d\d:\d\d:\d\d (.*)$", output, re.MULTILINE)
    assert f"run directory: {tmp_path}/run" in logged[:2]
    assert "cpu_feature_guard" not in output  # TensorFlow's note on the processor
    assert output.endswith(f"\nrun directory: {tmp_path}/run\n")
    assert re.search(r"^test accuracy: 0\.\d{4}$", output, re.MULTILINE)
    assert re.search(r"^best loss: \d\.\d{4} at step 5$", output, re.MULTILINE)
    commands = dict(re.findall(r"^to (\w+) it: (.*)$", output, re.MULTILINE))
    assert commands["evaluate"].endswith(f".evaluate run_dir={tmp_path}/run checkpoint=best")
    shown = subprocess.check_output([*shlex.split(commands["train"]), "--show"], cwd=ROOT)
    assert "  last_step: 10  # [default: 2000] " in shown.decode()


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


@pytest.mark.parametrize("inner", [1, 1000])
def test_sigusr1_saves_and_training_goes_on(start, tmp_path, inner):
    words = ["trainer.last_step=10000000", "trainer.checkpoint_every_n_steps=0"]
    process = start(*words, f"trainer.steps_per_loop={inner}")
    wait_for(tmp_path / "output", "step 1 ")
    checkpoints = tmp_path / "run" / "checkpoints"
    for number in (1, 2):
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda number=number: len(list(checkpoints.glob("*.index"))) == number)
    assert process.poll() is None
    process.terminate()
    assert process.wait() == 143
    assert len(list(checkpoints.glob("*.index"))) >= 2  # the second may be of the last step


def test_sigusr1_saves_and_leaves_if_that_is_set(start, tmp_path):
    process = start("trainer.last_step=10000000", "trainer.on_sigusr1=leave")
    wait_for(tmp_path / "output", "step 1 ")
    process.send_signal(signal.SIGUSR1)
    assert process.wait() == 128 + signal.SIGUSR1
    assert list((tmp_path / "run" / "checkpoints").glob("*.index"))


def test_a_failed_run_says_where_it_is_before_the_error(start, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with locked(str(tmp_path / "run")):
        assert start().wait() == 1
    *_, where, error = (tmp_path / "output").read_text().splitlines()
    assert where == f"run directory: {tmp_path}/run"
    assert error.startswith(f"error: {tmp_path}/run: in use by another process")


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
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)  # what comes within ECHO_SECS is the same signal
    assert process.wait() == 130
    assert time.monotonic() - started < 30


PRINTS = """
import sys
from my_project.engine.tools.command import run_command

def command(arguments):
    try:
        print("result")
        {decides}
    finally:
        print("run directory", flush=True)

sys.exit(run_command(command, "", needs_reader={needs_reader}))
"""


@pytest.mark.parametrize(
    ("decides", "output", "code", "message"),
    [
        ("return 143", "| true", 143, ""),
        ("return 143", "> /dev/full", 143, ""),
        ("return 143", ">&- 2>&-", 143, ""),
        ("return 143", ">&- 2>/dev/full", 143, ""),
        (
            "from my_project.engine.errors import ConfigError; raise ConfigError('x')",
            "| true",
            2,
            "x",
        ),
        ("raise BrokenPipeError('of a hook')", "| true", 1, "BrokenPipeError: of a hook"),
    ],
)
def test_the_exit_code_is_that_of_the_training_whoever_reads(decides, output, code, message):
    script = PRINTS.format(decides=decides, needs_reader=False)
    shell = [
        "bash",
        "-c",
        f'"$0" -c "$1" {output}; exit ${{PIPESTATUS[0]}}',
        sys.executable,
        script,
    ]
    found = subprocess.run(shell, cwd=ROOT, stderr=subprocess.PIPE)
    assert (found.returncode, found.stderr.decode().strip()[-len(message) :]) == (code, message)
    assert (b"Traceback" in found.stderr) == ("of a hook" in message)


def test_a_command_whose_reader_has_read_enough_ends_and_a_full_disk_is_one_line():
    forever = "while True: print(1); sys.stdout.buffer.write(b'2'); sys.stdout.buffer.flush()"
    script = PRINTS.format(decides=forever, needs_reader=True)
    for output, code, error in (("| head -1", 0, b""), ("> /dev/full", 1, b"No space left on")):
        line = f'"$0" -c "$1" {output}; exit ${{PIPESTATUS[0]}}'
        shell = ["bash", "-c", line, sys.executable, script]
        found = subprocess.run(shell, cwd=ROOT, capture_output=True)
        assert (found.returncode, len(found.stderr.splitlines())) == (code, bool(error))
        assert error in found.stderr


def test_what_an_encoding_lacks_is_printed_escaped_and_the_exit_code_stays():
    fails = "print('ü'); from my_project.engine.errors import RunError; raise RunError('ü')"
    script = PRINTS.format(decides=fails, needs_reader=True)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    printed = b"result\n\\xfc\nrun directory\n"
    assert (found.returncode, found.stdout, found.stderr) == (1, printed, b"error: \\xfc\n")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems close terminals differently")
def test_a_terminal_that_is_closed_ends_with_its_code_and_a_checkpoint(
    in_terminal, tmp_path, digits_directory
):
    import termios

    words = ["data=digits", f"data.directory={digits_directory}", "data.train_examples=640"]
    words += [f"run_dir={tmp_path}/run", "trainer.last_step=10000000", "data.test_examples=130"]
    process, terminal = in_terminal(*words)
    shown = threading.Thread(target=lambda: [os.read(terminal, 1) for _ in range(10**6)])
    shown.daemon = True
    shown.start()
    wait_for(tmp_path / "run" / "train.log", "step 1 ")
    process.send_signal(signal.SIGSTOP)  # so that it finds the terminal closed
    # Its session hears of that from the kernel, as when a window is closed.
    termios.tcflush(terminal, termios.TCIOFLUSH)
    os.close(terminal)
    process.send_signal(signal.SIGCONT)
    assert process.wait() == 129
    assert list((tmp_path / "run" / "checkpoints").glob("model.ckpt-*.index"))


@pytest.fixture
def hook():
    """A SignalHook at work, with which SIGINT is otherwise raised, as in a notebook."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    hook = stop.SignalHook()
    hook.after_create_session(None, None)
    yield hook
    hook.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_signals_at_once_are_one_and_where_python_handles_it_a_later_one_is_raised(
    hook, monkeypatch
):
    monkeypatch.setattr(stop, "ECHO_SECS", 0.5)
    # Whatever holds up the thread that listens, as a step does on a busy core.
    monkeypatch.setattr(hook, "_stop", lambda session: time.sleep(2))
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
    assert hook.received == signal.SIGINT

    def repeat():
        for _ in range(100):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        repeat()


def test_a_signal_to_a_forked_child_is_not_the_parents(hook):
    codes = []

    def fork():  # as a pool does, in a thread that reads the data
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), number)
                os._exit(0)  # what terminals send to all is ignored
            codes.append(os.waitpid(child, 0)[1])

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert codes == [0, 0, 0, signal.SIGTERM]
    assert hook.received is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_ends_the_process_at_once(start, tmp_path, number):
    # In a finalizer Python drops what a handler raises, as TensorFlow does while it loads.
    (tmp_path / "early.py").write_text(
        "import os, time\n"
        "import tensorflow.compat.v1 as tf\n"
        "class Dropped:\n"
        "    def __del__(self):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        time.sleep(1)\n"
        "class Early(tf.train.SessionRunHook):\n"
        "    def begin(self):\n"
        "        Dropped()\n"
        "        print('survived', flush=True)\n"
    )
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        process = start("trainer.hooks=[{_target_: early.Early}]")
    finally:
        del os.environ["PYTHONPATH"]
    assert process.wait() == -number
    output = (tmp_path / "output").read_text()
    assert "survived" not in output
    assert "Traceback" not in output
    assert start("trainer.last_step=5", "trainer.hooks=[]").wait() == 0  # no obstacle is left


COMMANDS = ["train", "reproduce", "evaluate", "predict", "export", "show", "benchmark"]


@pytest.mark.parametrize("name", COMMANDS)
def test_control_c_while_a_command_loads_ends_it_without_a_stack_trace(tmp_path, name):
    (tmp_path / "omegaconf.py").write_text(f"import os\nos.kill(os.getpid(), {signal.SIGINT:d})")
    found = subprocess.run(
        [sys.executable, "-m", f"{PACKAGE}.{name}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
    )
    assert (found.returncode, found.stderr) == (-signal.SIGINT, b"")


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


@pytest.mark.parametrize("share", [0.25, 0.0])
def test_a_run_that_was_killed_goes_on_to_the_weights_of_one_that_was_not(
    start, tmp_path, variables, share
):
    settings = ["trainer.checkpoint_every_n_steps=20", f"data.memory_fraction={share}"]
    settings += ["trainer.log_every_n_steps=1", "trainer.last_step=150"]
    process = start(*settings)
    wait_for(tmp_path / "output", "step 70 ")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert start(*settings).wait() == 0
    killed = variables(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "killed")
    assert start(*settings).wait() == 0  # a process, for TensorFlow keeps a process' first threads
    straight = variables(tmp_path / "run")
    assert all(np.array_equal(straight[name], killed[name]) for name in straight)
