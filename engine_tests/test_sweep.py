"""Sweeps: what is run, what an error, a failure and a signal do, and the table at the end."""

import contextlib
import csv
import os
import signal
import sys
import threading
import time

import hydra
import psutil
import pytest
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.run.lock import locked
from my_project.engine.settings import config
from my_project.engine.settings.config import load_config
from my_project.engine.sweep import jobs
from my_project.engine.sweep.jobs import Job, launch
from my_project.engine.sweep.sweep import combinations, sweep
from omegaconf import OmegaConf

with contextlib.suppress(ImportError):  # on Windows
    pass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Stands in for my_project.train: sleeps for secs, or ends by SIGTERM; says when.
FAKE_TRAIN = """
import os, signal, sys, time
settings = dict(word.split("=") for word in sys.argv[1:])
def say(what):
    with open("said", "a") as file:
        file.write(what + " " + settings["run_dir"].split("/")[-1] + "\\n")
def leave(number, frame):
    say("saves")
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
say("begins")
with open("gpus", "a") as file:
    file.write(os.environ.get("CUDA_VISIBLE_DEVICES", "all") + "\\n")
with open("runs", "a") as file:
    file.write(os.environ["RUNS_ON_MACHINE"] + "\\n")
time.sleep(float(settings.get("secs", 0)))
say("ends")
os.kill(os.getpid(), int(settings.get("killed", 0)))
sys.exit(int(settings.get("code", 0)))
"""

# Stands in for sbatch, srun, scancel and sacct: an array's jobs run one after another.
FAKE_SLURM = """#!{python}
import os, re, subprocess, sys
import psutil
name, arguments, here = os.path.basename(sys.argv[0]), sys.argv[1:], os.path.dirname(sys.argv[0])
def note(job, what=None):
    path = os.path.join(here, job)
    if what:
        with open(path, "w") as file:
            file.write(what)
    return open(path).read() if os.path.exists(path) else "PENDING"
if name == "sbatch":
    script = open(arguments[0]).read()
    last = int(re.search(r"--array=0-(\\d+)", script).group(1))
    print("Submitted batch job 7", flush=True)
    if os.fork():
        sys.exit()
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)  # whoever called sbatch reads both to their ends
    for task in range(last + 1):
        if note("7_%d" % task) == "PENDING":
            env = dict(os.environ, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID=str(task))
            child = subprocess.Popen(["bash", "-c", script], env=dict(env, SLURM_JOB_ID="7"))
            note("7_%d" % task, "RUNNING %d" % child.pid)
            child.wait()
            note("7_%d" % task, "COMPLETED")
elif name == "srun":
    log, *command = arguments[arguments.index("--error") + 1 :]
    log = log.replace("%A_%a", "7_" + os.environ["SLURM_ARRAY_TASK_ID"])
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    os.execv(command[0], command)
elif name == "scancel":
    state, *pid = note(arguments[0]).split()
    if state == "PENDING":
        note(arguments[0], "CANCELLED")
    elif state == "RUNNING":
        for process in psutil.Process(int(pid[0])).children(recursive=True):
            process.terminate()
elif name == "sacct":
    print("JobID|State|NodeList")
    for task in range(10):
        print("7_%d|%s|here" % (task, note("7_%d" % task).split()[0]))
"""


@pytest.fixture
def fake_train(tmp_path, monkeypatch):
    """fake_train(runs, **settings of the sweep) -> what launch returns; tmp_path/said: what ran."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "train.py").write_text(FAKE_TRAIN)
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "PACKAGE", "fake")

    def fake_train(runs, **settings):
        words = [f"{key}={value}" for key, value in settings.items()]
        config = load_config([f"run_dir={tmp_path}", *words], "sweep")
        jobs = [Job(name, {}, arguments) for name, arguments in runs.items()]
        return launch(config, jobs, len(jobs))

    return fake_train


def said(tmp_path):
    return (tmp_path / "said").read_text().splitlines()


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """Commands of Slurm, first in PATH."""
    pytest.importorskip("submitit")
    (tmp_path / "slurm").mkdir()
    for name in ("sbatch", "srun", "scancel", "sacct"):
        (tmp_path / "slurm" / name).write_text(FAKE_SLURM.replace("{python}", sys.executable))
        (tmp_path / "slurm" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "slurm"), prepend=os.pathsep)


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
        (["model.learning_rate=interval(0,1)"], "an interval is for a search alone"),
        (["seed=range(1,1)"], "no run is left"),
        (["seed=1,2", "trainer.run_dir=x"], r"trainer\.run_dir: there is no such"),
        (["seed=1,2", "launcher=joblib"], "launcher=joblib: expected local or slurm"),
        (["seed=1,2", "jobs=0"], "jobs=0; expected 1 or more"),
        (["seed=1,2", "jobs=x"], "jobs=x: expected"),
        (["seed=1,2", "slurm.timeout_mins=3"], r"did you mean slurm\.timeout_min"),
    ],
)
def test_an_error_in_any_combination_is_found_before_anything_is_made(
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


def test_submitit_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"install\.py --extras slurm"):
        sweep(["seed=1,2", "launcher=slurm"])


def test_a_machine_without_slurm_and_an_unknown_cluster_are_named(tmp_path):
    pytest.importorskip("submitit")
    words = ["data=digits", "seed=1,2", "launcher=slurm", f"run_dir={tmp_path}/new"]
    with pytest.raises(RunError, match=r"srun.*; see slurm in conf"):
        sweep(words)
    with pytest.raises(RunError, match="any executor named ray"):
        sweep([*words, "slurm.cluster=ray"])
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_runs_is_not_started_a_second_time(tmp_path):
    with locked(str(tmp_path)), pytest.raises(RunError, match="in use"):
        sweep(["data=digits", "seed=1,2", f"run_dir={tmp_path}"])


def test_settings_are_composed_once_for_each_choice_of_groups(monkeypatch, tmp_path):
    composed = []

    def compose(name, overrides):
        composed.append((name, *overrides))
        return hydra.compose(name, overrides)

    monkeypatch.setattr(config, "compose", compose)
    config._composed.cache_clear()
    seeds = f"seed={','.join(map(str, range(100)))},x"
    for run_dir in ("", f"run_dir={tmp_path}"):  # a new sweep; one that resumes
        with pytest.raises(ConfigError, match="seed=x: expected an integer"):
            sweep(["data=digits", "model=mlp,cnn", seeds, *[run_dir] * bool(run_dir)])
        for seed in range(100 if run_dir == "" else 0):
            settings = load_config(["data=digits", "model=mlp", f"seed={seed}"])
            (tmp_path / f"model=mlp,seed={seed}").mkdir()
            (tmp_path / f"model=mlp,seed={seed}" / "config.yaml").write_text(
                OmegaConf.to_yaml(settings, resolve=True)
            )
    assert composed == [("sweep",), ("train", "data='digits'", "model='mlp'"), ("debug/none",)]


def test_a_run_that_outlived_its_sweep_is_named_before_anything_starts(tmp_path):
    (tmp_path / "seed=2").mkdir()
    with locked(str(tmp_path / "seed=2")), pytest.raises(RunError, match=r"seed=2: in use"):
        sweep(["data=digits", "seed=1,2", f"run_dir={tmp_path}"])
    assert not (tmp_path / "seed=1").exists()


def test_processes_run_one_by_one_and_their_exit_codes_are_told(fake_train, tmp_path):
    codes = fake_train({"a": ["code=3"], "b": [], "c": ["killed=9"]})
    assert codes == ([3, 0, 137], 0)
    assert said(tmp_path) == ["begins a", "ends a", "begins b", "ends b", "begins c", "ends c"]


def test_as_many_processes_run_at_a_time_as_jobs_says(fake_train, tmp_path, capfd):
    runs = {"a": ["secs=3"], "b": ["secs=1"], "c": ["no_setting"]}
    assert fake_train(runs, jobs=2) == ([0, 0, 1], 0)
    assert sorted(said(tmp_path)[:2]) == ["begins a", "begins b"]
    assert said(tmp_path)[2:] == ["ends b", "ends a"]
    assert "ValueError" in (tmp_path / "jobs" / "c.log").read_text()
    assert "ValueError" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("visible", "jobs", "expected"),
    [
        ("0,1", 2, ["0", "0", "1", "1"]),  # the third takes what the first one has left
        ("0", 2, ["0"] * 4),
        ("4,5,6,7", 2, ["4,5", "4,5", "6,7", "6,7"]),
        ("0,1", 1, ["0,1"] * 4),
    ],
)
def test_runs_at_a_time_take_turns_over_the_gpus(
    fake_train, tmp_path, monkeypatch, visible, jobs, expected
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    runs = {name: ["secs=0.3"] for name in "abcd"}
    assert fake_train(runs, jobs=jobs) == ([0] * 4, 0)
    assert sorted((tmp_path / "gpus").read_text().split()) == expected


def test_a_run_whose_gpus_are_typed_sees_all_of_them(fake_train, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert fake_train({"a": ["trainer.gpus=1"], "b": []}, jobs=2) == ([0, 0], 0)
    assert sorted((tmp_path / "gpus").read_text().split()) == ["0,1", "1"]


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (2, 2), (4, 3)])
def test_runs_at_a_time_share_the_memory(fake_train, tmp_path, jobs, expected):
    fake_train({name: [] for name in "abc"}, jobs=jobs)
    assert (tmp_path / "runs").read_text().split() == [str(expected)] * 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", 0)])
def test_a_signal_stops_those_that_run_and_no_other_starts(fake_train, tmp_path, number):
    def send():
        while not (tmp_path / "said").exists() or len(said(tmp_path)) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=send, daemon=True).start()
    runs = {name: ["secs=60"] for name in "abc"}
    assert fake_train(runs, jobs=2) == ([143, 143, None], number)
    assert sorted(said(tmp_path)) == ["begins a", "begins b", "saves a", "saves b"]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_jobs_of_slurm_run_to_their_own_exit_codes(tmp_path, cluster, monkeypatch, fake_slurm):
    monkeypatch.chdir(ROOT)
    words = ["launcher=slurm", f"slurm.cluster={cluster}", f"run_dir={tmp_path}"]
    settings = load_config(words, "sweep")
    (tmp_path / "jobs").mkdir()
    runs = [Job("a", {}, ["no_such_setting=1"]), Job("b", {}, ["--help"])]
    assert launch(settings, runs, len(runs)) == ([2, 0], 0)
    assert "no_such_setting: there is no such" in (tmp_path / "jobs" / "a.log").read_text()
    if cluster == "slurm":
        (script,) = tmp_path.glob("jobs/7*/7*_submission.sh")
        lines = script.read_text().splitlines()
        assert "#SBATCH --signal=TERM@90" in lines
        assert "#SBATCH --time=1440" in lines
        assert "#SBATCH --mem=8GB" in lines


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
    """Waits until n runs train."""
    end = time.monotonic() + 120
    while sum("step 1 " in log.read_text() for log in tmp_path.glob("run/*/train.log")) < running:
        assert time.monotonic() < end, (tmp_path / "output").read_text()
        time.sleep(0.1)


def signal_all(number, *processes):
    """Signals all processes, as Slurm and systemd do, which know no difference."""
    for process in processes:
        process.send_signal(number)


def test_sigterm_ends_a_sweep_with_its_runs_saved_and_the_same_command_resumes(start, tmp_path):
    process = start("-m", "seed=1,2,3", "jobs=2", "trainer.last_step=10000000")
    wait_for(2, tmp_path)
    signal_all(signal.SIGTERM, process, *psutil.Process(process.pid).children(recursive=True))
    assert process.wait() == 143
    assert [row["result"] for row in results(tmp_path)] == ["stopped", "stopped", "not finished"]
    saved = [*tmp_path.glob("run/seed=*/checkpoints/*.index")]
    assert len({path.parent for path in saved}) == 2
    step = max(int(path.name.split("-")[1].split(".")[0]) for path in saved)
    assert start("-m", "seed=1,2", f"trainer.last_step={step + 3}").wait() == 0
    assert [row["step"] for row in results(tmp_path)] == [str(step + 3)] * 2
    log = (tmp_path / "run" / "seed=1" / "train.log").read_text()
    assert log.count("step 1 ") == 1  # it resumed from what was saved


def test_sigusr1_is_for_the_runs_and_does_not_end_a_sweep(start, tmp_path):
    process = start("-m", "seed=1,2", "trainer.last_step=10000000")
    wait_for(1, tmp_path)
    signal_all(signal.SIGUSR1, process, *psutil.Process(process.pid).children(recursive=True))
    for _ in range(300):
        if [*tmp_path.glob("run/seed=1/checkpoints/*.index")]:
            break
        time.sleep(0.1)
    assert [*tmp_path.glob("run/seed=1/checkpoints/*.index")]
    assert process.poll() is None
    process.terminate()
    assert process.wait() == 143


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they outlive it")
def test_a_sweep_that_is_killed_takes_its_runs_with_it(start, tmp_path):
    process = start("-m", "seed=1,2", "trainer.last_step=10000000")
    wait_for(1, tmp_path)
    (run,) = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    run.wait(30)
    (log,) = tmp_path.glob("run/*/train.log")
    assert "SIGTERM: saving, then leaving" in log.read_text()
    assert list(tmp_path.glob("run/seed=1/checkpoints/*.index"))
    assert not (tmp_path / "run" / "seed=2").exists()


def test_ctrl_c_in_a_terminal_reaches_the_runs_once(start, tmp_path):
    process = start("-m", "seed=1,2", "trainer.last_step=10000000")
    wait_for(1, tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait() == 130
    assert [row["result"] for row in results(tmp_path)] == ["stopped", "not finished"]
    assert list(tmp_path.glob("run/seed=1/checkpoints/*.index"))
    assert "Traceback" not in (tmp_path / "output").read_text()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such terminals")
def test_a_terminal_that_is_closed_stops_a_sweep_with_its_runs_saved(in_terminal, tmp_path):
    words = ["data=digits", "data.train_examples=640", "data.test_examples=130", "seed=1,2"]
    words += [f"data.directory={tmp_path}/digits", f"run_dir={tmp_path}/run", "jobs=2"]
    process, terminal = in_terminal("-m", *words, "trainer.last_step=10000000")
    (tmp_path / "output").write_text("")
    wait_for(2, tmp_path)
    os.close(terminal)
    assert process.wait() == 129
    assert [row["result"] for row in results(tmp_path)] == ["stopped", "stopped"]


def test_sigterm_cancels_the_jobs_of_slurm_which_save(start, tmp_path, fake_slurm):
    process = start("-m", "seed=1,2,3", "launcher=slurm", "trainer.last_step=10000000")
    wait_for(1, tmp_path)
    process.terminate()
    assert process.wait() == 143
    expected = ["stopped", "not finished", "not finished"]
    assert [row["result"] for row in results(tmp_path)] == expected, (
        tmp_path / "output"
    ).read_text()
    assert list(tmp_path.glob("run/seed=1/checkpoints/*.index"))


def test_ctrl_c_saves_the_runs_that_rehearse_slurm(start, tmp_path):
    pytest.importorskip("submitit")
    words = ["seed=1,2", "launcher=slurm", "slurm.cluster=local", "trainer.last_step=10000000"]
    process = start("-m", *words)
    wait_for(2, tmp_path)
    runs = [x for x in psutil.Process(process.pid).children(recursive=True)]
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    psutil.wait_procs(runs, timeout=30)
    saved = {path.parent for path in tmp_path.glob("run/seed=*/checkpoints/*.index")}
    assert len(saved) == 2
