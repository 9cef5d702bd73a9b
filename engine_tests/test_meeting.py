"""Workers in step meet before the first step, and end when one of them is gone."""

import contextlib
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.cluster import in_step, watch
from my_project.engine.cluster.cluster import Cluster, Task
from my_project.engine.cluster.in_step import InStepTrainer
from my_project.engine.cluster.meeting import Meeting, check_alike
from my_project.engine.cluster.watch import Watch
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.loop import lifecycle
from my_project.engine.run.lock import locked
from my_project.model.mlp import MLP


def tasks_of(number):
    """As many, at addresses that are free."""
    with contextlib.ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        places = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    return tuple(Task("worker", index, place) for index, place in enumerate(places))


def test_all_get_the_facts_of_all_in_their_order(tmp_path):
    tasks = tasks_of(3)
    meetings = [Meeting(Cluster(tasks, task), str(tmp_path)) for task in tasks]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda each: each.meet(30.0), meetings))
        found = list(threads.map(lambda each: each.tell({"index": each.index}, 30.0), meetings))
    assert found == [[{"index": 0}, {"index": 1}, {"index": 2}]] * 3
    assert all(meeting.is_same(index) for meeting in meetings for index in range(3))
    again = Meeting(Cluster(tasks, tasks[1]), str(tmp_path))
    assert all(meetings[0].is_same(index) for index in range(3))  # it has no lock yet
    with pytest.raises(RunError, match=r"no sign of worker 0 .*, worker 2"):
        again.meet(0.0)
    assert [meetings[0].is_same(index) for index in range(3)] == [True, False, True]


def test_who_is_missing_is_named_though_a_file_of_an_earlier_start_is_there(tmp_path):
    tasks = tasks_of(3)
    before = {"start": "before", "facts": {"step": 1}, "seen": ["other", "before", "before"]}
    (tmp_path / "in_step").mkdir()
    (tmp_path / "in_step" / "1.json").write_text(json.dumps(before))
    meeting = Meeting(Cluster(tasks, tasks[0]), str(tmp_path))
    with pytest.raises(RunError, match=r"no sign of worker 1 \(.*\), worker 2 \(.*\) in 0.5 s"):
        meeting.meet(0.5)


def test_a_worker_that_differs_is_named_with_what_differs():
    tasks = tasks_of(3)
    facts = [{"seed": "1", "the step": 5}, {"seed": "1", "the step": 5}, {"seed": "2", "x": 1}]
    check_alike(tasks[:2], facts[:2])
    with pytest.raises(ConfigError, match=r"worker 2 \(.*\): seed is 2, but 1 for worker 0"):
        check_alike(tasks, facts)
    with pytest.raises(ConfigError, match=r"worker 1 \(.*\): x is 1, but None for worker 0"):
        check_alike(tasks, [{}, {"x": 1}])


class Peer:
    """Listens, and says something by itself, as a server of TensorFlow does."""

    def __init__(self, address):
        host, port = address.split(":")
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind((host, int(port)))
        self._server.listen(10)
        self._found = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self._found.append(self._server.accept()[0])
                self._found[-1].sendall(b"settings")

    def die(self):
        self._server.shutdown(socket.SHUT_RDWR)
        for each in [self._server, *self._found]:
            each.close()


@pytest.fixture
def watched(tmp_path, monkeypatch, exits):
    """watched() -> a watch over a peer, the peer, a list of exit codes and an event for them."""
    codes, ended = exits
    monkeypatch.setattr(watch, "GRACE_SECS", 0.3)
    monkeypatch.setattr(watch, "POLL_SECS", 0.05)
    tasks = tasks_of(2)
    meeting = Meeting(Cluster(tasks, tasks[0]), str(tmp_path))
    other = Meeting(Cluster(tasks, tasks[1]), str(tmp_path))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda each: each.meet(30.0), [meeting, other]))
    peer = Peer(tasks[1].address)
    watching = Watch(meeting, wait_secs=30.0)
    watching.start()
    time.sleep(0.3)
    yield watching, peer, codes, ended
    watching.leave()


def test_a_process_that_waits_for_one_that_is_gone_saves_and_ends_with_134(watched, caplog):
    watching, peer, codes, ended = watched
    saved = []
    watching.save = lambda: saved.append(True)
    with watching.waiting():
        assert not codes
        peer.die()
        assert ended.wait(20)
    assert (codes, saved) == ([134], [True])
    assert "worker 1 (127.0.0.1" in caplog.text


def test_nothing_is_saved_while_averages_are_in_the_place_of_weights(watched):
    watching, peer, codes, ended = watched
    watching.save = lambda: codes.append("saved")
    watching.whole = False
    with watching.waiting():
        peer.die()
        assert ended.wait(20)
    assert codes == [134]


def test_who_does_not_wait_goes_on_until_it_does_or_leaves(watched):
    watching, peer, codes, ended = watched
    peer.die()
    assert not ended.wait(1.5)
    watching.leave()
    watching.waits = True
    assert not ended.wait(0.5)
    assert codes == []


def test_an_error_of_tensorflows_about_a_lost_worker_waits_for_the_end(watched):
    watching, peer, codes, ended = watched
    peer.die()
    watching._left.wait(0.5)
    threading.Timer(2.0, watching.leave).start()  # here the process does not end
    with pytest.raises(tf.errors.UnavailableError), watching.waiting():
        raise tf.errors.UnavailableError(None, None, "a worker is gone")
    assert ended.is_set()
    assert codes == [134]


def test_an_error_of_the_step_itself_is_raised_at_once(watched):
    watching, _, codes, _ = watched
    start = time.monotonic()
    with pytest.raises(tf.errors.InvalidArgumentError), watching.waiting():
        raise tf.errors.InvalidArgumentError(None, None, "Tensor had NaN")
    assert time.monotonic() - start < 0.2
    assert not watching.waits
    assert codes == []


def trainer_of(tasks, index, run_dir, **others):
    return InStepTrainer(cluster=Cluster(tasks, tasks[index]), run_dir=run_dir, **others)


def test_settings_that_workers_in_step_cannot_have_are_named(digits, tmp_path):
    trainer = trainer_of(tasks_of(3), 0, str(tmp_path))
    with pytest.raises(ConfigError, match=r"data.batch_size=64: 3 workers .* set it to 63"):
        trainer.fit(MLP(hidden=4), digits)
    with pytest.raises(ConfigError, match="run_dir: found none"):
        trainer_of(tasks_of(2), 0, "").fit(MLP(hidden=4), digits)


@pytest.mark.parametrize("index", [0, 1])
def test_a_second_start_is_refused_and_the_first_one_is_left_alone(digits, tmp_path, index):
    run_dir = str(tmp_path / "run")
    own = os.path.join(run_dir, "worker-1") if index else run_dir
    os.makedirs(own)
    trainer = trainer_of(tasks_of(2), index, run_dir, last_step=10)
    with locked(own), pytest.raises(RunError, match=f"{own}: in use by another process"):
        trainer.fit(MLP(hidden=4), digits)
    assert not (tmp_path / "run" / "in_step").exists()


def test_a_cluster_that_does_not_form_names_who_is_missing(digits, tmp_path, monkeypatch):
    tasks = tasks_of(2)
    # Nobody looks for the newest checkpoint yet: the chief of the start before may save one more.
    monkeypatch.setattr(lifecycle, "resume", lambda *_: pytest.fail("before all are there"))
    trainer = trainer_of(tasks, 0, str(tmp_path / "run"), last_step=10, cluster_wait_secs=0.5)
    with pytest.raises(RunError, match=rf"no sign of worker 1 \({tasks[1].address}\) in 0.5 s"):
        trainer.fit(MLP(hidden=4), digits)
    assert in_step.take_rows(digits, 1, 2)  # a dataset is whole again, and may be divided again
    in_step.take_all_rows(digits)
    assert not (tmp_path / "run" / "checkpoints").exists()
