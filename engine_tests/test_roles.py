"""What each role of a cluster does, and what it says when others are late, gone or done."""

import contextlib
import json
import logging
import socket

import pytest
import tensorflow.compat.v1 as tf
from my_project.engine.cluster import role as role_module
from my_project.engine.cluster.cluster import Cluster, Task
from my_project.engine.cluster.leaving import SavedLastStepHook
from my_project.engine.cluster.role import FewestBytes, Role
from my_project.engine.cluster.session import ClusterSessionCreator
from my_project.engine.cluster.trainer import ClusterTrainer
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.keras.trainer import KerasTrainer
from my_project.engine.loop.stop import SignalHook
from my_project.engine.run.metrics import read_metrics
from my_project.model.mlp import MLP
from toy import free_address


@pytest.fixture
def fit(digits):
    """As the fixture of all tests, by a ClusterTrainer."""

    def fit(run_dir, last_step=30, model=None, **arguments):
        run_dir = str(run_dir) if run_dir else ""
        trainer = ClusterTrainer(run_dir=run_dir, last_step=last_step, **arguments)
        return trainer.fit(model or MLP(hidden=16, dropout=0.5), digits)

    return fit


@pytest.fixture
def part(monkeypatch):
    """part(job, index, ps=1, workers=2) -> makes this process one of a cluster; the addresses."""

    def part(job, index=0, ps=1, workers=2):
        places = {"ps": [free_address() for _ in range(ps)]}
        places["worker"] = [free_address() for _ in range(workers)]
        task = {"type": job, "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": places, "task": task}))
        monkeypatch.setattr(role_module, "WATCH_SECS", 600.0)  # it would end the tests
        return places

    return part


@contextlib.contextmanager
def listening(address):
    """Somebody answers there."""
    host, port = address.split(":")
    with socket.socket() as one:
        one.bind((host, int(port)))
        one.listen(100)
        yield


def test_variables_go_where_the_fewest_bytes_are():
    with tf.Graph().as_default():
        spec = tf.train.ClusterSpec({"ps": ["a:1", "b:1"], "worker": ["c:1"]})
        setter = tf.train.replica_device_setter(cluster=spec, ps_strategy=FewestBytes(2))
        with tf.device(setter):
            shapes = [[1000, 10], [10], [400, 10], [400, 10], [300, 10]]
            made = [tf.get_variable(f"v{i}", shape) for i, shape in enumerate(shapes)]
            added = made[0] + 1
    assert [int(variable.device[-1]) for variable in made] == [0, 1, 1, 1, 1]
    assert added.device == "/job:worker"


def test_a_parameter_server_has_no_gpu_and_sees_nobody_else(tmp_path):
    config = tf.ConfigProto(intra_op_parallelism_threads=3, inter_op_parallelism_threads=-1)
    tasks = [Task("ps", 0, free_address()), Task("worker", 0, free_address())]
    clusters = (Cluster(tuple(tasks), task) for task in tasks)
    ps, worker = (Role(each, config, str(tmp_path), 1.0).filtered(config) for each in clusters)
    assert ps.device_count["GPU"] == 0
    assert "GPU" not in worker.device_count
    assert list(ps.device_filters) == ["/job:ps/task:0"]
    assert list(worker.device_filters) == ["/job:ps", "/job:worker/task:0"]
    assert ps.intra_op_parallelism_threads == 3
    # With -1 TensorFlow's server aborts the process.
    assert ps.inter_op_parallelism_threads == worker.inter_op_parallelism_threads == 0
    assert not config.device_filters


def test_variables_of_a_model_go_to_all_parameter_servers(
    fit, part, tmp_path, variables, checkpoint_steps
):
    class See(tf.train.SessionRunHook):
        def begin(self):
            self.places = {variable.op.name: variable.device for variable in tf.global_variables()}

    see, places = See(), part("worker", ps=2, workers=1)
    servers = [tf.train.Server(places, "ps", index) for index in range(2)]
    fit(tmp_path / "run", cluster_wait_secs=60.0, hooks=[see])
    assert len(servers) == 2
    assert checkpoint_steps(tmp_path / "run") == [30]
    assert set(see.places) == set(variables(tmp_path / "run"))
    held = [name for name in see.places.values() if name.startswith("/job:ps/task:")]
    assert len(held) == len(see.places)
    assert {name[:14] for name in held} == {"/job:ps/task:0", "/job:ps/task:1"}


@pytest.mark.parametrize("end", [{"last_step": 20}, {"last_epoch": 2}])
def test_who_comes_after_the_end_leaves_at_once(fit, part, tmp_path, checkpoint_steps, end):
    fit(tmp_path / "run", last_step=20)
    for job, index in (("ps", 0), ("worker", 1), ("worker", 0)):
        part(job, index)
        results = fit(tmp_path / "run", cluster_wait_secs=10.0, **end)
        assert ("loss" in results) == ((job, index) == ("worker", 0))
    assert checkpoint_steps(tmp_path / "run") == [20]


def test_who_misses_a_parameter_server_ends_in_one_line(fit, part, tmp_path):
    places = part("worker", workers=1)
    message = rf"no answer from ps 0 \({places['ps'][0]}\) in 0.5 s"
    with pytest.raises(RunError, match=message):
        fit(tmp_path / "run", cluster_wait_secs=0.5)
    with pytest.raises(RunError, match="cannot listen there"):
        fit(tmp_path / "again", cluster_wait_secs=0.5)


def test_who_misses_the_chief_ends_in_one_line(fit, part, tmp_path):
    wait = {"cluster_wait_secs": 1.0}
    for job in ("ps", "evaluator"):
        places = part(job)
        with pytest.raises(
            RunError, match=rf"no answer from worker 0 \({places['worker'][0]}\) in"
        ):
            fit(tmp_path / "run", **wait)
    places = part("worker", 1)
    server = tf.train.Server(places, "ps", 0)
    with pytest.raises(RunError, match=r"worker 0 .* has not initialized the variables"):
        fit(tmp_path / "run", **wait)
    assert server.target


def test_an_evaluator_that_is_started_again_evaluates_nothing_twice(fit, part, tmp_path):
    fit(tmp_path / "run", last_step=20)
    part("evaluator")
    found = [fit(tmp_path / "run", last_step=20, cluster_wait_secs=10.0) for _ in range(2)]
    assert found[0] == found[1]
    own = tmp_path / "run" / "evaluator-0"
    assert [line["step"] for line in read_metrics(str(own / "metrics.jsonl"))] == [20]
    assert len(list((own / "eval").iterdir())) == 1


def test_a_checkpoint_of_a_later_step_than_its_name_is_evaluated_once(fit, part, tmp_path):
    fit(tmp_path / "run", last_step=20)
    for path in (tmp_path / "run" / "checkpoints").glob("model.ckpt-20.*"):
        path.rename(str(path).replace("-20", "-19"))  # another worker was quick
    tf.io.gfile.rmtree(str(tmp_path / "run" / "best"))
    part("evaluator")
    fit(tmp_path / "run", last_step=19, cluster_wait_secs=10.0, evaluate_every_n_steps=10)
    found = read_metrics(str(tmp_path / "run" / "evaluator-0" / "metrics.jsonl"))
    assert [line["step"] for line in found] == [19]
    best = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    assert best["step"] == 19


def test_a_corrupt_last_checkpoint_is_not_the_end(fit, part, tmp_path):
    fit(tmp_path / "run", last_step=20, checkpoint_every_n_steps=10)
    (data,) = (tmp_path / "run" / "checkpoints").glob("*-20.data*")
    data.write_bytes(data.read_bytes()[:100])
    part("ps")
    with pytest.raises(RunError, match=r"no answer from worker 0"):  # it waits for the chief
        fit(tmp_path / "run", last_step=20, cluster_wait_secs=0.5)


def test_an_evaluator_does_not_try_forever_to_read_a_checkpoint(fit, part, tmp_path, caplog):
    fit(tmp_path / "run", last_step=20)
    (data,) = (tmp_path / "run" / "checkpoints").glob("*-20.data*")
    data.write_bytes(data.read_bytes()[:100])
    places = part("evaluator")
    unreadable = pytest.raises(RunError, match=r"model\.ckpt-20: unreadable for 1 s: ")
    with listening(places["worker"][0]), unreadable:
        fit(tmp_path / "run", last_step=20, cluster_wait_secs=1.0)
    assert caplog.text.count("model.ckpt-20 cannot be read yet") == 1


@pytest.mark.parametrize(("last_step", "code"), [(100, 1), (20, 0)])
def test_a_worker_whose_chief_stays_away_ends_unless_all_is_done(
    fit, tmp_path, monkeypatch, exits, caplog, last_step, code
):
    fit(tmp_path / "run", last_step=20)
    caplog.set_level(logging.INFO)
    ps, chief, own = (free_address() for _ in range(3))
    tasks = (Task("ps", 0, ps), Task("worker", 0, chief), Task("worker", 1, own))
    role = Role(Cluster(tasks, tasks[2]), tf.ConfigProto(), str(tmp_path / "run"), 0.5)
    role.last_step = last_step
    codes, ended = exits
    monkeypatch.setattr(role_module, "WATCH_SECS", 0.1)
    with listening(ps), role.watched():
        assert ended.wait(30)
    assert codes == [code]
    assert (f"error: no answer from worker 0 ({chief}) in 0.6 s" in caplog.text) == bool(code)


def test_who_waits_for_a_parameter_server_heeds_signals(tmp_path):
    signals = SignalHook()
    tasks = (Task("ps", 0, free_address()), Task("worker", 0, free_address()))
    role = Role(Cluster(tasks, tasks[1]), tf.ConfigProto(), str(tmp_path / "run"), 60.0)
    with tf.Graph().as_default():
        tf.train.get_or_create_global_step()
        signals.received = 15  # before a session was lost, which now is to be made again
        creator = ClusterSessionCreator(role, tf.train.Scaffold(), tf.ConfigProto(), signals)
        with pytest.raises(SystemExit) as told:
            tf.train.MonitoredSession(creator, [signals])
    assert told.value.code == 143


@pytest.mark.parametrize("number", [None, 15])
def test_a_worker_waits_for_the_last_checkpoint_or_for_a_signal(number):
    signals, looks = SignalHook(), []

    class Looks:
        last_step = 5

        def is_over(self):
            looks.append(len(looks))
            signals.received = number if len(looks) == 3 else None
            return len(looks) == 3 and not number

    with tf.Graph().as_default():
        train_op = tf.train.get_or_create_global_step().assign_add(1)
        hook = SavedLastStepHook(Looks(), signals)
        with tf.train.MonitoredSession(hooks=[hook]) as session:
            while not session.should_stop():
                session.run(train_op)
    assert (hook.step, len(looks)) == (5, 3)


@pytest.mark.parametrize(
    ("model", "trainer", "message"),
    [
        ({"accumulate": 2}, {}, r"model\.accumulate=2: .* set it to 1"),
        ({}, {"patience": 3}, r"trainer\.patience: nobody evaluates"),
        ({}, {"run_dir": ""}, "run_dir: found none"),
        ({}, {"replicas": 2}, r"trainer\.replicas=2: with parameter servers"),
    ],
)
def test_settings_that_make_no_sense_in_a_cluster_are_errors(
    fit, part, tmp_path, model, trainer, message
):
    part("worker")
    with pytest.raises(ConfigError, match=message):
        fit(**{"run_dir": tmp_path / "run", "model": MLP(hidden=16, **model), **trainer})


@pytest.mark.parametrize(("job", "index"), [("worker", 1), ("evaluator", 0)])
def test_a_run_directory_that_cannot_be_made_is_one_line(fit, part, tmp_path, job, index):
    part(job, index)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunError, match=rf"file/run/{job}-{index}: cannot be created \(Not a directory\)"
    ):
        fit(tmp_path / "file" / "run")


def test_methods_of_a_trainer_that_workers_in_step_would_not_call_are_refused(digits, part):
    class Own(ClusterTrainer):
        pass

    part("worker", ps=0)
    with pytest.raises(ConfigError, match=r"Own: workers in step take no subclass"):
        Own(run_dir="run").fit(MLP(hidden=16), digits)


def test_a_cluster_of_one_trains_alone_and_evaluates(fit, monkeypatch, tmp_path):
    cluster = {"chief": ["a:1"], "evaluator": ["b:1"]}
    task = {"type": "chief", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert fit(tmp_path / "run", last_step=5)["loss"] > 0
    assert not (tmp_path / "run" / "evaluator-0").exists()


def test_a_trainer_that_knows_no_cluster_refuses_to_be_part_of_one(digits, part, tmp_path):
    part("worker")
    with pytest.raises(ConfigError, match=r"part of a cluster, .*; take trainer=cluster"):
        KerasTrainer(run_dir=str(tmp_path / "run")).fit(MLP(hidden=16), digits)
