"""What the launcher does with its processes, which here are small and have no TensorFlow."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

import pytest
from my_project.engine.errors import ConfigError
from my_project.engine.settings.config import load_config
from my_project.launch import Process, complete, free_addresses, launch, outcome, wait
from omegaconf import OmegaConf

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.mark.parametrize(
    "arguments",
    [["--ps", "-1"], ["--workers", "0"], ["--evaluator"], ["model.hiden=1"], ["trainer=keras"]],
)
def test_a_mistake_on_the_command_line_starts_nobody(capfd, arguments):
    with pytest.raises(ConfigError):
        launch(arguments)
    assert "is process" not in capfd.readouterr().err


def test_all_take_the_same_settings_with_the_trainer_of_clusters_typed_or_not(tmp_path):
    run_dir = f"run_dir={tmp_path}/run"
    for typed in ([], ["trainer=cluster"]):
        settings = complete([*typed, "model.hidden=16", run_dir])
        assert settings == ["trainer=cluster", "model.hidden=16", run_dir]


def test_a_run_that_is_resumed_keeps_the_settings_of_its_trainer(tmp_path):
    run_dir = f"run_dir={tmp_path}/run"
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "model.ckpt-1.index").write_text("")
    config = load_config(["trainer=cluster", "trainer.last_step=7"])
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    settings = complete(["trainer=cluster", run_dir])
    assert settings == [run_dir]
    assert load_config(settings).trainer.last_step == 7


@pytest.fixture
def role():
    """role(name, code, restarts) -> a process that runs code; none stays after the test."""
    with contextlib.ExitStack() as ends:

        def role(name, code, restarts=0):
            command = [sys.executable, "-c", f"import os, sys, time; {code}"]
            process = Process(name, command, {}, restarts)
            ends.callback(process.kill)
            return process

        yield role


def test_a_role_that_does_not_leave_is_ended_and_makes_it_a_failure(role, caplog):
    stays = role("worker 1", "time.sleep(60)")
    deaf = role("worker 2", "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)")
    processes = [role("worker 0", "time.sleep(1)"), stays, deaf, role("ps 0", "")]
    assert outcome(processes, [], end_secs=1.0) == 1
    assert (stays.code, deaf.code) == (128 + signal.SIGTERM, None)
    assert "worker 1, worker 2 did not leave in 1 s" in caplog.text


def test_an_evaluator_may_take_its_time(role, capfd):
    evaluator = role("evaluator 0", "time.sleep(1.5); print('done')")
    assert outcome([role("worker 0", ""), role("ps 0", ""), evaluator], [], end_secs=0.5) == 0
    assert "[evaluator 0] done" in capfd.readouterr().out


def test_a_chief_that_fails_ends_the_others_at_once(role):
    start = time.monotonic()
    others = [role("ps 0", "time.sleep(60)"), role("evaluator 0", "time.sleep(60)")]
    assert outcome([role("worker 0", "sys.exit(3)"), *others], []) == 3
    assert time.monotonic() - start < 20


def test_the_first_signal_is_passed_on_and_a_second_one_ends_all_at_once(role):
    received, start = [signal.SIGINT], time.monotonic()
    told = "signal.signal(2, lambda *_: sys.exit(7)); print(1, flush=True); time.sleep(60)"
    processes = [role(f"worker {i}", f"import signal; {told}") for i in range(2)]
    time.sleep(1)
    assert outcome(processes, received) == 130
    assert [process.code for process in processes] == [7, 7]
    deaf = role("worker 0", "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)")
    received[:] = [signal.SIGTERM]
    threading.Timer(2.0, received.append, [signal.SIGTERM]).start()
    time.sleep(1)
    assert outcome([deaf], received) == 143
    assert deaf.code is None  # the launcher kills it
    assert time.monotonic() - start < 30


def test_the_worst_code_of_those_that_ended_by_themselves_is_returned(role):
    others = [role("worker 1", "sys.exit(5)"), role("ps 0", "sys.exit(1)")]
    assert outcome([role("worker 0", "time.sleep(1)"), *others], []) == 5


def test_only_who_is_killed_starts_again_and_so_many_times(role, capfd):
    killed = role("worker 1", "print('here', flush=True); os.kill(os.getpid(), 9)", restarts=2)
    failed = role("worker 2", "print('there'); sys.exit(1)", restarts=2)
    assert outcome([role("worker 0", ""), killed, failed], []) == 137
    shown = capfd.readouterr().out
    assert (shown.count("[worker 1] here"), shown.count("[worker 2] there")) == (3, 1)


def test_all_lines_are_shown_to_the_last(role, capfd):
    assert outcome([role("worker 0", "print('line\\n' * 20000 + 'the last')")], []) == 0
    lines = capfd.readouterr().out.splitlines()
    assert (len(lines), lines[-1]) == (20001, "[worker 0] the last")


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_a_reader_that_takes_no_more_holds_up_nobody(role, monkeypatch, error):
    class Closed:
        def write(self, text):
            raise error

    monkeypatch.setattr(sys, "stdout", Closed())
    process = role("worker 0", "print('line\\n' * 100000)")  # more than a pipe holds
    wait([process], until=lambda: False, secs=20.0)
    assert process.code == 0


def test_addresses_are_free_and_differ():
    addresses = free_addresses(5)
    assert len(set(addresses)) == 5
    with socket.socket() as one:
        one.bind(("127.0.0.1", int(addresses[0].split(":")[1])))
