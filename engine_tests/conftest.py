"""Small data and short runs that the tests share."""

import contextlib
import gc
import glob
import io
import logging
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest
import tensorflow.compat.v1 as tf
from my_project.data.digits import Digits
from my_project.model.mlp import MLP
from my_project.train.__main__ import train
from my_project.train.trainer import SessionTrainer
from tensorflow.python.util import deprecation

logging.getLogger("my_project").setLevel(logging.INFO)

# A thousand graphs of a thousand operations are made here. A tenth of the time went to looking for
# garbage among them, and on 1.15 as much to asking at each operation if its arguments are outdated.
gc.freeze()
gc.set_threshold(20000, 10, 5)
deprecation._PRINT_DEPRECATION_WARNINGS = False

# A child that is forked here would wait for ever for the threads of a session that is garbage.
if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(before=gc.disable, after_in_parent=gc.enable)


@pytest.fixture(scope="session")
def digits_directory(tmp_path_factory):
    """Where the drawn digits are, so that they are drawn once."""
    return str(tmp_path_factory.mktemp("digits"))


@pytest.fixture
def digits(digits_directory):
    """640 digits to train on (10 batches) and 130 to test (the last batch has 2)."""
    return Digits(digits_directory, train_examples=640, test_examples=130, batch_size=64)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, digits_directory):
    """trained(*settings) -> a run with settings, of 20 steps on the digits, trained once."""
    runs = {}

    def trained(*settings):
        if settings not in runs:
            runs[settings] = str(tmp_path_factory.mktemp("runs") / "run")
            data = ["data=digits", f"data.directory={digits_directory}", "data.batch_size=64"]
            data += ["data.train_examples=640", "data.test_examples=130", "model.hidden=16"]
            every = [f"trainer.{what}_every_n_steps=10" for what in ("checkpoint", "evaluate")]
            run_dir = f"run_dir={runs[settings]}"
            with contextlib.redirect_stdout(io.StringIO()):  # tests look at what they print
                assert train([*data, *every, "trainer.last_step=20", run_dir, *settings]) == 0
        return runs[settings]

    return trained


@pytest.fixture
def exits(monkeypatch):
    """The codes that os._exit was called with, which ends its thread alone, and an event for it."""
    codes, ended = [], threading.Event()

    def leave(code):
        codes.append(code)
        ended.set()
        raise SystemExit  # of the thread that watches

    monkeypatch.setattr(os, "_exit", leave)
    return codes, ended


@pytest.fixture
def fit(digits):
    """Trains a small MLP: fit(run_dir, last_step=30, model=None, **trainer arguments)."""

    def fit(run_dir, last_step=30, model=None, dataset=None, **arguments):
        trainer = SessionTrainer(run_dir=str(run_dir), last_step=last_step, **arguments)
        return trainer.fit(model or MLP(hidden=16, dropout=0.5), dataset or digits)

    return fit


@pytest.fixture
def variables():
    """All variables of a run's newest checkpoint: variables(run_dir) -> {name: array}."""

    def variables(run_dir):
        path = tf.train.latest_checkpoint(f"{run_dir}/checkpoints")
        reader = tf.train.load_checkpoint(path)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}

    return variables


@pytest.fixture
def checkpoint_steps():
    """The steps of a run's checkpoints: checkpoint_steps(run_dir) -> [10, 20]."""

    def checkpoint_steps(run_dir):
        found = glob.glob(f"{run_dir}/checkpoints/model.ckpt-*.index")
        return sorted(int(path.split("-")[-1].split(".")[0]) for path in found)

    return checkpoint_steps


@pytest.fixture(scope="session", autouse=True)
def heeded_signals():
    """Under nohup, or in the background of a shell, some are ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path, digits_directory):
    """start(*words) -> `train <words>`, a `Forked` process, printing to tmp_path/output.

    It trains on the digits, in tmp_path/run; it is killed, with all that it
    started, after the test, or after five minutes.
    """
    from forked import Forked  # which Windows has none of

    with contextlib.ExitStack() as ends:

        def start(*words):
            data = ["data=digits", f"data.directory={digits_directory}", "data.train_examples=640"]
            data += ["data.test_examples=130", f"run_dir={tmp_path}/run"]
            process = Forked("my_project.train", [*data, *words], str(tmp_path / "output"))

            def kill() -> None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    tree = psutil.Process(process.pid)
                    for each in [*tree.children(recursive=True), tree]:
                        each.kill()

            timer = threading.Timer(300, kill)
            timer.start()
            ends.callback(process.wait)
            ends.callback(kill)
            ends.callback(timer.cancel)
            return process

        yield start


@pytest.fixture
def batches(tmp_path):
    """The first batches of a dataset, or all: batches(dataset, split, count, saved_after=0).

    With saved_after the iterator is saved after n batches, and the batches are those that
    follow where it is restored, in another graph, of another dataset if `restores` is one.
    """

    def batches(dataset, split="train", count=None, saved_after=0, restores=None, **arguments):
        def read(dataset, count, restored_from="", saved_to=""):
            with tf.Graph().as_default(), tf.Session() as session:
                iterator = tf.data.make_initializable_iterator(dataset.batches(split, **arguments))
                following = iterator.get_next()
                session.run(iterator.initializer)
                found = []
                if restored_from or saved_to:
                    saveable = tf.data.experimental.make_saveable_from_iterator(iterator)
                    saver = tf.train.Saver([saveable])
                if restored_from:
                    saver.restore(session, restored_from)
                try:
                    while count is None or len(found) < count:
                        found.append(session.run(following))
                except tf.errors.OutOfRangeError:
                    pass
                if saved_to:
                    saver.save(session, saved_to, write_meta_graph=False)
                return found

        path = str(tmp_path / "iterator") if saved_after else ""
        if saved_after:
            read(dataset, saved_after, saved_to=path)
        return read(restores or dataset, count, restored_from=path)

    return batches


@pytest.fixture
def same():
    """Whether two nests hold the same arrays: same(one, other)."""

    def same(one, other):
        one, other = tf.nest.flatten(one), tf.nest.flatten(other)
        return len(one) == len(other) and all(map(np.array_equal, one, other))

    return same


@pytest.fixture
def in_terminal():
    """in_terminal(*words) -> (`train <words>` in a terminal of its own, the other end of that)."""
    ends = contextlib.ExitStack()

    def in_terminal(*words):
        import fcntl
        import termios

        terminal, inside = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "my_project.train", *words],
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inside)
        timer = threading.Timer(300, process.kill)
        timer.start()
        ends.callback(process.wait)
        ends.callback(process.kill)
        ends.callback(timer.cancel)
        return process, terminal

    with ends:
        yield in_terminal
