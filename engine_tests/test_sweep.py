"""Sweeps: what is run, what a mistake, a failure and a signal do, and the table at the end."""

import csv
import os
import signal
import sys
import time

import psutil
import pytest
from my_project.engine.errors import ConfigError
from my_project.engine.settings.config import load_config
from my_project.engine.sweep.jobs import Job, launch
from my_project.engine.sweep.sweep import combinations, sweep

PACKAGE = "my_project"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def test_every_combination_is_a_run_with_a_name_that_says_what_differs():
    jobs = combinations(["model=mlp,cnn", "data=digits", "seed=range(1,3)"])
    assert [job.name for job in jobs] == [
        "model=mlp,seed=1",
        "model=mlp,seed=2",
        "model=cnn,seed=1",
        "model=cnn,seed=2",
    ]
    assert jobs[1].swept == {"model": "mlp", "seed": "2"}
    assert jobs[1].arguments == ["model=mlp", "data=digits", "seed=2"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("model.learning_rate=1e-2,1e-3", ["0.01", "0.001"]),
        ("trainer.profile_steps=[1,2],[3,4]", ["[1,2]", "[3,4]"]),
        ("trainer.profile_steps=[1,2]", ["[1,2]"]),
        ("trainer.gpus=0,1", ["0", "1"]),
        ("trainer.gpus='0,1'", ["0,1"]),
        ("data.directory='','/a b'", ["", "/a b"]),
        ("data.directory=été (1)", ["été (1)"]),
        ("seed=1,1", ["1"]),
    ],
)
def test_values_are_read_as_hydra_reads_them(typed, expected):
    key, _, _ = typed.partition("=")
    assert [job.arguments for job in combinations([typed])] == [[f"{key}={x}"] for x in expected]


def test_a_name_is_one_directory_and_no_two_are_the_same():
    values = f"/a/b,/a_b,{'x' * 300},{'x' * 301}"
    names = [job.name for job in combinations([f"data.directory={values}"])]
    assert len(set(names)) == 4
    assert not [name for name in names if "/" in name or len(name) > 200]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1,2", "model.hiden=3,4"], r"model\.hiden: .* did you mean model\.hidden\?"),
        (["seed=1,2,x"], "seed=x: expected an integer"),
        (["model=mlp,mpl"], "did you mean mlp"),
        (["model.learning_rate=interval(0,1)"], "expected a number"),
        (["seed=range(1,1)"], "no run is left"),
        (["seed=1,2", "trainer.run_dir=x"], r"trainer\.run_dir: there is no such"),
        (["seed=1,2", "launcher=jobli"], "did you mean joblib"),
        (["seed=1,2", "launcher=joblib", "launcher.n_jobs=x"], r"launcher\.n_jobs=x: expected"),
    ],
)
def test_a_mistake_in_any_combination_is_found_before_anything_is_made(
    arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        sweep(arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_directory_of_a_run_is_refused(tmp_path):
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.ckpt-3.index").write_text("")
    with pytest.raises(ConfigError, match="is a run; a sweep needs a directory of its own"):
        sweep(["seed=1,2", f"run_dir={tmp_path}"])


def test_a_launcher_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    plugin = "hydra_plugins.hydra_joblib_launcher.joblib_launcher"
    monkeypatch.setitem(sys.modules, plugin, None)
    with pytest.raises(ConfigError, match=r"install\.py --extras launchers"):
        sweep(["seed=1,2", "launcher=joblib"])
    with pytest.raises(ConfigError, match="with -m"):
        load_config(["launcher=joblib"])


@pytest.mark.parametrize("launcher", ["local", "joblib", "submitit_local"])
def test_each_launcher_runs_all_jobs_to_their_own_exit_codes(tmp_path, launcher, monkeypatch):
    if launcher != "local":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher")
    monkeypatch.chdir(ROOT)
    settings = load_config([f"run_dir={tmp_path}", f"launcher={launcher}"], "sweep")
    jobs = [Job("a", {}, ["no_such_setting=1"]), Job("b", {}, ["--help"])]
    assert launch(settings, jobs) == ([2, 0], 0)
    if launcher != "local":
        assert "no_such_setting: there is no such" in (tmp_path / "jobs" / "a.log").read_text()
    assert len(list(tmp_path.glob("jobs/*/*_log.out"))) == (2 if "submitit" in launcher else 0)


def results(tmp_path):
    with open(str(tmp_path / "run" / "results.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_that_fails_does_not_end_the_others_and_is_a_row_of_the_table(start, tmp_path):
    settings = ["model.warm_start.checkpoint=/none,''", "trainer.last_step=7"]
    assert start("-m", *settings, "trainer.evaluate_every_n_steps=5").wait() == 2
    failed, done = results(tmp_path)
    assert failed["result"] == "failed (2)"
    assert failed["model.warm_start.checkpoint"] == "/none"
    assert failed["step"] == failed["loss"] == ""
    assert done["result"] == "done"
    assert done["step"] == "7"
    assert float(done["best loss"]) <= float(done["loss"]) < 2.5
    assert 0 <= float(done["accuracy"]) <= 1
    assert os.path.exists(os.path.join(done["run"], "record.json"))
    output = (tmp_path / "output").read_text()
    assert output.startswith(f"sweep directory: {tmp_path}/run")
    assert output.endswith(f"sweep directory: {tmp_path}/run\n")
    assert "failed (2)" in output


def wait_for(running, tmp_path):
    """Waits until so many runs train."""
    end = time.monotonic() + 120
    while sum("step 1 " in log.read_text() for log in tmp_path.glob("run/*/train.log")) < running:
        assert time.monotonic() < end, (tmp_path / "output").read_text()
        time.sleep(0.1)


def signal_all(number, *processes):
    """Signals all processes, as Slurm and systemd do, which know no difference."""
    for process in processes:
        process.send_signal(number)


def test_sigterm_ends_a_sweep_with_its_runs_saved_and_the_same_command_goes_on(start, tmp_path):
    process = start("-m", "seed=1,2,3", "trainer.last_step=10000000")
    children = psutil.Process(process.pid).children
    wait_for(1, tmp_path)
    signal_all(signal.SIGUSR2, *children(recursive=True))  # the time of a job is almost up
    wait_for(2, tmp_path)
    signal_all(signal.SIGTERM, process, *children(recursive=True))
    assert process.wait() == 143
    assert [row["result"] for row in results(tmp_path)] == ["stopped", "stopped", "not finished"]
    saved = [checkpoint.name for checkpoint in tmp_path.glob("run/seed=*/checkpoints/*.index")]
    assert len(saved) == 2
    step = max(int(name.split("-")[1].split(".")[0]) for name in saved)
    assert start("-m", "seed=1,2", f"trainer.last_step={step + 3}").wait() == 0
    assert [row["step"] for row in results(tmp_path)] == [str(step + 3)] * 2
    log = (tmp_path / "run" / "seed=1" / "train.log").read_text()
    assert log.count("step 1 ") == 1  # it went on from what was saved


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no parents")
def test_a_sweep_that_is_killed_takes_its_runs_with_it(start, tmp_path):
    process = start("-m", "seed=1,2", "trainer.last_step=10000000")
    wait_for(1, tmp_path)
    process.kill()
    process.wait()
    (log,) = tmp_path.glob("run/*/train.log")
    deadline = time.monotonic() + 30
    while (log.parent / "lock").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "SIGTERM: saving, then leaving" in log.read_text()
    assert not (log.parent / "lock").exists()
    assert not (tmp_path / "run" / "seed=2").exists()


def test_ctrl_c_saves_all_runs_that_joblib_has_started(start, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    settings = ["seed=1,2,3", "launcher=joblib", "launcher.n_jobs=2"]
    process = start("-m", *settings, "trainer.last_step=10000000")
    wait_for(2, tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait() == 130
    assert [row["result"] for row in results(tmp_path)] == ["stopped", "stopped", "not finished"]
    assert len(list(tmp_path.glob("run/seed=*/checkpoints/*.index"))) == 2
    assert "Traceback" not in (tmp_path / "output").read_text()
