"""The lock of a run directory: one process has it, and it ends with that process."""

import os
import shutil
import signal
import subprocess
import sys

import filelock
import pytest
from my_project.engine.errors import RunError
from my_project.engine.run.lock import locked

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORKERS, ROUNDS = 6, 10

# Tries the lock at each line that it reads, says "has" or "not", and holds it until the next.
WORKER = """
import contextlib, sys
from my_project.engine.errors import RunError
from my_project.engine.run.lock import locked

for line in sys.stdin:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(sys.argv[1]))
            print("has", flush=True)
        except RunError:
            print("not", flush=True)
        sys.stdin.readline()
        print("gave up", flush=True)
"""


@pytest.fixture
def worker(tmp_path):
    """worker(*words) -> a process that runs WORKER; killed after the test."""
    started = []

    def worker(*words):
        process = subprocess.Popen(
            [*words, sys.executable, "-c", WORKER, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )
        started.append(process)
        return process

    yield worker
    for process in started:
        process.kill()
        process.communicate()


def tell(*workers):
    for one in workers:
        one.stdin.write("\n")
        one.stdin.flush()


def test_of_many_processes_one_has_the_lock_also_after_its_holder_was_killed(worker, tmp_path):
    workers = [worker() for _ in range(WORKERS)]
    for _ in range(ROUNDS):
        holder = worker()
        tell(holder)
        assert holder.stdout.readline() == "has\n"
        message = "in use by another process; wait until it ends, or"
        with pytest.raises(RunError, match=message), locked(str(tmp_path)):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        tell(*workers)
        said = sorted(one.stdout.readline() for one in workers)
        assert said == ["has\n"] + ["not\n"] * (WORKERS - 1)
        tell(*workers)
        for one in workers:
            assert one.stdout.readline() == "gave up\n"
    assert os.listdir(str(tmp_path)) in (["lock"], [])


def test_two_containers_with_one_host_name_and_process_id_1_are_two(worker, tmp_path):
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.call([*unshare, "true"], stderr=-3):
        pytest.skip("no process may have an id of its own here")
    holder, other = worker(*unshare), worker(*unshare)
    tell(holder)
    assert holder.stdout.readline() == "has\n"
    tell(other)
    assert other.stdout.readline() == "not\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_lock_that_was_left_by_hand_or_by_an_old_version_means_nothing(tmp_path):
    for text in ('{"host": "elsewhere", "process": 1}', ""):
        (tmp_path / "lock").write_text(text)
        with locked(str(tmp_path)):
            pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(lock):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    message = r"lock: cannot be locked \(FileSystem .*\); set run_dir to a directory on a file"
    with pytest.raises(RunError, match=message), locked(str(tmp_path)):
        pass
