"""Signals before training: none is lost, none comes in the middle of what must be whole."""

import os
import signal
import subprocess
import sys

import pytest
from my_project.engine import interrupts
from my_project.evaluate import evaluate
from my_project.export import export
from my_project.model import MLP
from my_project.predict import predict

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = "my_project"

# Python drops what is raised while a finaliser runs, as TensorFlow's are while a graph is built.
DROPPED = """
class Dropped:
    def __del__(self):
        tell()

def body():
    Dropped()
"""
BODIES = {
    "raised": "def body():\n    tell()\n    print('went on')\n",
    "made another error": (
        "def body():\n"
        "    try:\n        tell()\n"
        "    except BaseException:\n        raise RuntimeError('of TensorFlow')\n"
    ),
    "held": "def body():\n    with interrupts.held():\n        tell()\n        print('whole')\n",
    "twice at once": (
        "def body():\n"
        "    try:\n        tell()\n"
        "    finally:\n        tell()\n        print('whole')\n"
    ),
    "dropped": DROPPED + "    interrupts.leave_if_told()\n",
}


def run(package, body, number="SIGTERM"):
    code = (
        "import os, signal, sys\n"
        f"from {package} import interrupts\n"
        f"from {package}.command import run_command\n"
        f"def tell():\n    os.kill(os.getpid(), signal.{number})\n"
        f"{body}\n"
        "sys.exit(run_command(lambda arguments: body(), ''))\n"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize("way", list(BODIES))
def test_a_signal_ends_a_command_whatever_becomes_of_what_is_raised(way, number):
    done = run(PACKAGE, BODIES[way], number)
    assert done.returncode == {"SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129}[number]
    assert done.stdout == ("whole\n" if way in ("held", "twice at once") else "")
    assert "Traceback" not in done.stderr or way == "dropped"


def test_a_second_signal_ends_at_once_what_holds_the_first_back():
    body = (
        "def body():\n    with interrupts.held():\n        tell()\n"
        "        time.sleep(1.5 * interrupts.ECHO_SECS)\n        tell()\n        print('went on')\n"
    )
    done = run(PACKAGE, "import time\n" + body)
    assert (done.returncode, done.stdout) == (143, "")


def test_a_signal_that_was_dropped_while_the_graph_was_built_ends_the_run_before_its_first_step(
    tmp_path,
):
    # In place of a finaliser, one of the trainer's hooks.
    body = (
        f"from {PACKAGE} import compat\n"
        "import tensorflow.compat.v1 as tf\n"
        f"from {PACKAGE}.data import Digits\n"
        f"from {PACKAGE}.model import MLP\n"
        f"from {PACKAGE}.train.trainer import SessionTrainer\n"
        "class Drops(tf.train.SessionRunHook):\n"
        "    def begin(self):\n"
        "        try:\n            tell()\n"
        "        except BaseException:\n            print('dropped')\n"
        "    def before_run(self, context):\n        print('a step')\n"
        "def body():\n"
        f"    trainer = SessionTrainer(run_dir={str(tmp_path / 'run')!r}, hooks=[Drops()])\n"
        f"    trainer.fit(MLP(classes=10), Digits({str(tmp_path)!r}))\n"
    )
    done = run(PACKAGE, body)
    assert (done.returncode, done.stdout) == (143, "dropped\n"), done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [evaluate, predict, export])
def test_a_signal_waits_until_the_graph_of_a_trained_model_is_built(command, trained, monkeypatch):
    built, call = [], MLP.call

    def interrupted(model, *inputs, **others):
        os.kill(os.getpid(), signal.SIGTERM)
        built.append(call(model, *inputs, **others))
        return built[0]

    arguments = [f"run_dir={trained()}", *([__file__] if command is predict else [])]
    monkeypatch.setattr(MLP, "call", interrupted)
    monkeypatch.setattr(interrupts, "_received", [])
    numbers = [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)]
    before = {number: signal.getsignal(number) for number in numbers}
    interrupts.handle_signals()
    try:
        with pytest.raises(SystemExit) as left:
            command(arguments)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert left.value.code == 143
    assert len(built) == 1
