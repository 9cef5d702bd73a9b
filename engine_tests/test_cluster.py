"""Which part of a cluster a process is, by its environment, and what follows for it."""

import itertools
import json
import os
import socket
import subprocess
import sys

import pytest
from my_project.engine.cluster.cluster import Task, looks, read_cluster
from my_project.engine.errors import ConfigError, RunError

PLACES = {"ps": ["a:1", "b:1"], "worker": ["c:1", "d:1", "e:1"]}


def tf_config(cluster, job, index=0):
    task = {"type": job, "index": index}
    return read_cluster({"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})})


@pytest.fixture
def scontrol(monkeypatch, tmp_path):
    """scontrol(script) -> stands for Slurm's own; it first has the one that knows three nodes."""

    def scontrol(script):
        path = tmp_path / "scontrol"
        path.write_text(f'#!/bin/sh\n[ "$1 $2" = "show hostnames" ] || exit 2\n{script}\n')
        path.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    scontrol(r"[ $3 = 'gpu[08-09],login' ] && printf 'gpu08\ngpu09\nlogin\n'")
    return scontrol


def slurm(rank, **others):
    """Five tasks on three nodes."""
    variables = {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "5", "PS_TASKS": "1"}
    variables.update(SLURM_JOB_ID="7", SLURM_STEP_NODELIST="gpu[08-09],login")
    variables.update(SLURM_STEP_TASKS_PER_NODE="2(x2),1")
    return read_cluster({**variables, **others})


def test_reading_the_environment_needs_no_tensorflow():
    module = "my_project.engine.cluster.cluster"
    code = f"import sys, {module}; print('tensorflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.parametrize("text", [None, "", "{}", '{"cluster": {}, "environment": "cloud"}'])
def test_without_settings_a_process_trains_alone(text):
    assert read_cluster({} if text is None else {"TF_CONFIG": text}) is None


@pytest.mark.parametrize("job", ["worker", "chief", "master"])
def test_a_cluster_of_one_is_no_cluster(job):
    assert tf_config({job: ["a:1"]}, job) is None
    assert tf_config({job: ["a:1"], "evaluator": ["b:1"]}, job) is None


def test_worker_0_is_the_chief_where_no_job_says_so():
    roles = [tf_config(PLACES, "worker", index).role for index in range(3)]
    assert roles == ["chief", "worker", "worker"]
    assert tf_config(PLACES, "ps", 1).role == "ps"
    assert tf_config(PLACES, "ps", 1).trainers[0] == Task("worker", 0, "c:1")


@pytest.mark.parametrize("name", ["chief", "master"])
def test_the_job_of_that_name_is_the_chief_and_takes_a_share_of_the_data(name):
    places = {name: ["f:1"], **PLACES}
    assert tf_config(places, name).role == "chief"
    assert tf_config(places, name).shard == (0, 4)
    assert tf_config(places, "worker", 0).role == "worker"
    assert tf_config(places, "worker", 0).shard == (1, 4)
    assert tf_config(places, "worker", 0).addresses() == {
        "ps": {0: "a:1", 1: "b:1"},
        "chief": {0: "f:1"},
        "worker": {0: "c:1", 1: "d:1", 2: "e:1"},
    }


def test_an_evaluator_is_no_part_of_the_cluster_whether_it_is_named_there_or_not():
    for places in (PLACES, {**PLACES, "evaluator": ["x:1"]}):
        cluster = tf_config(places, "evaluator")
        assert (cluster.role, cluster.shard, len(cluster.tasks)) == ("evaluator", (0, 1), 5)


def test_a_sparse_map_of_workers_keeps_their_numbers():
    cluster = tf_config({"ps": ["a:1"], "worker": {"0": "c:1", "3": "d:1"}}, "worker", 3)
    assert cluster.addresses()["worker"] == {0: "c:1", 3: "d:1"}
    assert (cluster.role, cluster.shard) == ("worker", (1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG is not a JSON"),
        ('{"task": {"type": "ps"}}', r"TF_CONFIG\.cluster: found {}"),
        ('{"cluster": {"ps": ["a:1"]}}', r"TF_CONFIG\.task: found {}"),
        ('{"cluster": ["a:1"], "task": {"type": "ps"}}', r'TF_CONFIG\.cluster: found \["a:1"\]'),
        ('{"sparseCluster": {"ps": ["a:1"]}}', "enableDynamicWorker"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker"}}',
            r"TF_CONFIG\.task\.index: found null",
        ),
        (
            '{"cluster": {"ps": 5}, "task": {"type": "ps", "index": 0}}',
            r"TF_CONFIG\.cluster\.ps: found 5",
        ),
    ],
)
def test_half_a_tf_config_is_refused_by_field(text, message):
    with pytest.raises(ConfigError, match=message):
        read_cluster({"TF_CONFIG": text})


@pytest.mark.parametrize(
    ("cluster", "job", "index", "message"),
    [
        (PLACES, "boss", 0, r"TF_CONFIG\.task\.type: found \"boss\", expected one of chief"),
        (
            PLACES,
            "worker",
            3,
            r"TF_CONFIG\.task: found .* 3}, expected one of TF_CONFIG\.cluster: ps 0",
        ),
        (PLACES, "chief", 0, r"TF_CONFIG\.task: found .*chief.*, expected one of"),
        (
            {**PLACES, "boss": ["f:1"]},
            "ps",
            0,
            r"TF_CONFIG\.cluster: found \"boss\", expected one of",
        ),
        ({**PLACES, "ps": ["a"]}, "ps", 0, r'cluster\.ps: found {"0": "a"}, expected host:port'),
        (
            {"worker": ["a:1", "b:1"], "evaluator": ["c:1"]},
            "evaluator",
            0,
            "expected no evaluator: workers without a ps evaluate by themselves",
        ),
        (PLACES, "evaluator", 1, "expected one evaluator, of index 0"),
        ({"ps": ["a:1", "b:1"]}, "ps", 0, 'found {"chief": 0, "worker": 0, "ps": 2}, expected at'),
        (
            {**PLACES, "chief": ["f:1"], "master": ["g:1"]},
            "ps",
            0,
            'found {"chief": 2, "worker": 3, "ps": 2}, expected at',
        ),
        (
            {**PLACES, "chief": ["a:1"]},
            "ps",
            0,
            r"ps 0 \(a:1\).*chief 0 \(a:1\).*, expected an address for each",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_by_field(cluster, job, index, message):
    with pytest.raises(ConfigError, match=message):
        tf_config(cluster, job, index)


def test_of_slurms_tasks_the_first_is_the_chief_and_the_next_hold_the_variables(scontrol):
    clusters = [slurm(rank, PS_TASKS="2") for rank in range(5)]
    assert [cluster.role for cluster in clusters] == ["chief", "ps", "ps", "worker", "worker"]
    assert [cluster.own.index for cluster in clusters] == [0, 0, 1, 1, 2]
    assert len({cluster.tasks for cluster in clusters}) == 1
    hosts = [cluster.own.address.split(":")[0] for cluster in clusters]
    assert hosts == ["gpu08", "gpu08", "gpu09", "gpu09", "login"]
    assert {cluster.shard for cluster in clusters if cluster.role != "ps"} == {
        *((0, 3), (1, 3), (2, 3)),
    }


def test_slurms_tasks_train_in_step_with_no_ps(scontrol):
    clusters = [slurm(rank, PS_TASKS="0") for rank in range(5)]
    assert [cluster.role for cluster in clusters] == ["chief"] + ["worker"] * 4
    assert all(cluster.in_step for cluster in clusters)
    alone = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NODELIST": "gpu[08-09],login"}
    scontrol("echo gpu08")
    assert slurm(0, PS_TASKS="0", **alone, SLURM_STEP_TASKS_PER_NODE="1") is None


def test_workers_without_a_ps_are_in_step_and_tensorflow_knows_a_chief_as_worker_0():
    places = {"chief": ["f:1"], "worker": ["c:1", "d:1"]}
    chief, second = tf_config(places, "chief"), tf_config(places, "worker", 1)
    assert chief.in_step
    assert second.in_step
    assert (chief.role, chief.place) == ("chief", ("worker", 0))
    assert (second.role, second.place) == ("worker", ("worker", 2))
    assert chief.addresses() == {"worker": {0: "f:1", 1: "c:1", 2: "d:1"}}
    assert not tf_config(PLACES, "worker", 1).in_step
    assert tf_config(PLACES, "worker", 1).place == ("worker", 1)


def test_what_scontrol_says_is_one_line_of_the_error(scontrol):
    scontrol("echo 'scontrol: error: Invalid hostlist: gpu[08-09' >&2; exit 1")
    with pytest.raises(ConfigError, match=r"NODELIST=gpu\[08-09: .* failed \(scontrol: error: Inv"):
        slurm(0, SLURM_STEP_NODELIST="gpu[08-09")


def test_without_scontrol_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"`scontrol show hostnames`, .* No such file .*; fix"):
        slurm(0)


def test_an_index_may_be_given_as_text():
    assert tf_config(PLACES, "worker", "1") == tf_config(PLACES, "worker", 1)


def test_tasks_of_slurm_train_alone_unless_a_number_of_ps_is_set():
    assert read_cluster({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}) is None


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"SLURM_JOB_ID": ""}, "PS_TASKS is set, but SLURM_JOB_ID is not; start with srun"),
        ({"PS_TASKS": "some"}, "PS_TASKS=some, .*: expected an integer"),
        ({"PS_TASKS": "5"}, "PS_TASKS=5, .* SLURM_STEP_NUM_TASKS=5, .*: expected at least 1 task"),
        ({"PS_TASKS": "-1"}, "PS_TASKS=-1, .*: expected at least 1 task"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2"}, "SLURM_STEP_TASKS_PER_NODE=2, .*: expected at least"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2),2"}, "PER_NODE=2.x2.,2, SLURM_STEP_NUM_TASKS=5, "),
        ({"SLURM_STEP_TASKS_PER_NODE": "some"}, r"PER_NODE=some: .* and counts as 2\(x3\),1"),
        ({"SLURMD_NODENAME": "login"}, "SLURMD_NODENAME=login, but task SLURM_PROCID=0 belongs"),
        ({"TF_CONFIG": "{}"}, "TF_CONFIG and PS_TASKS are both set"),
    ],
)
def test_slurms_variables_that_do_not_agree_are_refused_by_name(scontrol, others, message):
    with pytest.raises(ConfigError, match=message):
        slurm(0, **others)


def test_who_is_needed_is_named_after_the_time_to_wait():
    gone = Task("ps", 0, "no-such-host.invalid:1")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        there = Task("ps", 1, f"127.0.0.1:{listening.getsockname()[1]}")
        assert list(itertools.islice(looks([there], 0.0), 2)) == [True, True]
        with pytest.raises(RunError, match=r"no answer from ps 0 \(no-such-host.*:1\) in 0\.1 s;"):
            assert not any(looks([there, gone], 0.1))


def test_a_task_answers_while_something_listens():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        task = Task("ps", 0, f"127.0.0.1:{listening.getsockname()[1]}")
        assert task.answers()
    assert not task.answers()
    assert not Task("ps", 0, "no-such-host.invalid:1").answers()


@pytest.mark.parametrize("jobs", [{"worker": 2}, {"chief": 1, "worker": 1}])
@pytest.mark.parametrize("memory_fraction", [0.25, 0.0])
def test_the_shares_of_those_who_train_hold_each_record_once(
    digits, batches, jobs, memory_fraction
):
    places = {job: [f"{job}{i}:1" for i in range(jobs[job])] for job in jobs}
    places["ps"] = ["ps:1"]
    digits.prepare()
    digits.memory_fraction = memory_fraction
    records, shares = images(batches(digits)), []
    for job in jobs:
        for index in range(jobs[job]):
            digits.shard = tf_config(places, job, index).shard
            shares.append(images(batches(digits, count=5, training=True)))
    assert len(records) == 640
    assert [len(share) for share in shares] == [320, 320]
    assert shares[0] | shares[1] == records
    for job, role in (("ps", "ps"), ("evaluator", "evaluator")):
        cluster = tf_config(places, job)
        assert (cluster.role, cluster.shard) == (role, (0, 1))


def images(batches):
    return {image.tobytes() for features, _ in batches for image in features}
