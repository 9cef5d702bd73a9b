"""The lock of a run directory, and the moment at which a dead run's lock is taken over."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest
from my_project.engine.errors import RunError
from my_project.engine.run import lock
from my_project.engine.run.lock import locked

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEAD = {"host": platform.node(), "process": 2**22 + 1}  # above the largest number of a process
WORKERS, ROUNDS = 6, 20

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
"""


def test_of_many_processes_that_take_a_dead_runs_lock_at_once_one_has_it(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )
        for _ in range(WORKERS)
    ]

    def tell_all():
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()

    try:
        for number in range(ROUNDS):
            (tmp_path / "lock").write_text(json.dumps({**DEAD, "id": str(number)}))
            tell_all()
            said = sorted(worker.stdout.readline() for worker in workers)
            assert said == ["has\n"] + ["not\n"] * (WORKERS - 1)
            assert os.listdir(str(tmp_path)) == ["lock"]
            tell_all()
            while os.listdir(str(tmp_path)):  # until who had it has given it up
                time.sleep(0.001)
    finally:
        for worker in workers:
            worker.communicate()


def test_who_comes_too_late_to_a_dead_runs_lock_leaves_the_new_one_alone(tmp_path, monkeypatch):
    quicker = {"host": platform.node(), "process": os.getppid(), "id": "new"}
    (tmp_path / "lock").write_text(json.dumps({**DEAD, "id": "old"}))
    is_dead, read = lock._is_dead, lock._read
    there = []  # at each look: a third process could take a lock that is away for a moment

    def slowly(holder, path):
        dead = is_dead(holder, path)
        if dead:
            (tmp_path / "lock").write_text(json.dumps(quicker))
        return dead

    def seen(path):
        there.append((tmp_path / "lock").exists())
        return read(path)

    monkeypatch.setattr(lock, "_is_dead", slowly)
    monkeypatch.setattr(lock, "_read", seen)
    message = f"in use by process {os.getppid()} on"
    with pytest.raises(RunError, match=message), locked(str(tmp_path)):
        pass
    assert json.loads((tmp_path / "lock").read_text()) == quicker
    assert os.listdir(str(tmp_path)) == ["lock"]
    assert all(there)
