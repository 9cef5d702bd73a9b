"""Searches: what is tried, that a search is resumed as if never stopped, and what is refused."""

import csv
import json
import math
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import time

import psutil
import pytest
from my_project.data.dataset import Dataset
from my_project.engine.errors import ConfigError, RunError
from my_project.engine.run.lock import locked
from my_project.engine.settings.config import load_config
from my_project.engine.sweep import jobs
from my_project.engine.sweep.sweep import sweep

optuna = pytest.importorskip("optuna")

from my_project.engine.sweep.search import Search, check_validation  # noqa: E402
from my_project.engine.sweep.space import Space  # noqa: E402

RATE = "model.learning_rate"
LOG = f"{RATE}=tag(log,interval(1e-5,1e-1))"
VALIDATION = ["data=digits", "data.validation_share=0.1"]

# Stands in for my_project.train: its loss is least where the rate is 0.01, and above 0.05 it fails.
FAKE_TRAIN = """
import json, math, os, sys
settings = dict(word.split("=", 1) for word in sys.argv[1:])
rate = float(settings["model.learning_rate"])
with open("said", "a") as file:
    file.write(os.path.basename(settings["run_dir"]) + "\\n")
os.makedirs(settings["run_dir"], exist_ok=True)
if rate > 0.05:
    sys.exit(1)
with open(settings["run_dir"] + "/metrics.jsonl", "a") as file:
    for split, loss in ("train", -9), ("validation", (math.log10(rate) + 2) ** 2), ("train", -9):
        file.write(json.dumps({"step": 1, "split": split, "loss": loss}) + "\\n")
"""


@pytest.fixture
def search(tmp_path, monkeypatch):
    """search(directory, *words) -> (the exit code, the rows of the table); trains nothing."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "train.py").write_text(FAKE_TRAIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "PACKAGE", "fake")

    def search(directory, *words):
        code = sweep([*VALIDATION, f"run_dir={tmp_path}/{directory}", *words])
        return code, rows(tmp_path / directory)

    return search


def rows(directory):
    with open(str(directory / "results.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_a_trial_that_fails_is_marked_and_the_search_goes_on(search, tmp_path, capsys):
    code, found = search("é (1)", LOG, "search.trials=8", "search.seed=2", "jobs=2")
    assert code == 0
    rates = [float(row[RATE]) for row in found]
    assert [row["result"] == "failed (1)" for row in found] == [rate > 0.05 for rate in rates]
    assert {row["result"] for row in found} == {"failed (1)", "done"}
    assert sorted(line for line in (tmp_path / "said").read_text().split()) == [
        f"trial-00{number}" for number in range(8)
    ]
    best = min((row for row in found if row["best loss"]), key=lambda row: float(row["best loss"]))
    loss = float(best["best loss"])
    assert loss == pytest.approx(min((math.log10(rate) + 2) ** 2 for rate in rates if rate <= 0.05))
    shown = capsys.readouterr().out
    assert f"best loss: {loss:.4g} of {best['run']}\n" in shown
    picture = (tmp_path / "é (1)" / "search.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000


def test_of_a_search_without_any_result_the_exit_code_is_that_of_its_trials(search):
    code, found = search("run", f"{RATE}=interval(0.06,0.1)", "search.trials=2")
    assert code == 1
    assert [row["result"] for row in found] == ["failed (1)"] * 2


def test_trials_that_failed_run_again_with_the_same_command(search, tmp_path, monkeypatch):
    words = [f"{RATE}=interval(0.01,0.09)", "search.trials=4", "search.seed=2"]
    _, before = search("run", *words)
    failed = [row["result"] for row in before].count("failed (1)")
    assert 0 < failed < 4
    fake = tmp_path / "fake" / "train.py"
    fake.write_text(fake.read_text().replace("rate > 0.05", "rate > 1"))  # such as a full disk
    _, after = search("run", *words)
    assert [row["result"] for row in after] == ["done"] * 4
    assert [row[RATE] for row in after] == [row[RATE] for row in before]
    assert len((tmp_path / "said").read_text().split()) == 4 + failed


def test_an_error_in_the_settings_ends_the_search_with_its_first_trial(search, tmp_path):
    fake = tmp_path / "fake" / "train.py"
    fake.write_text(fake.read_text().replace("sys.exit(1)", "sys.exit(2)"))
    with pytest.raises(ConfigError, match="trial-000: an error in its settings"):
        search("run", f"{RATE}=interval(0.06,0.1)", "search.trials=9")
    assert (tmp_path / "said").read_text().split() == ["trial-000"]


def test_tpe_comes_nearer_to_the_best_than_the_random_trials_it_begins_with(search):
    _, found = search("run", f"{RATE}=tag(log,interval(1e-5,4e-2))", "search.trials=22")
    losses = [float(row["best loss"]) for row in found]
    assert statistics.mean(losses[10:]) < 0.5 * statistics.mean(losses[:10])


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 12), ("random", 4)])
def test_a_search_in_two_parts_tries_what_one_in_one_part_tries(search, sampler, trials, tmp_path):
    words = [LOG, "optimizer=adam,sgd", f"search.sampler={sampler}"]
    _, whole = search("whole", *words, f"search.trials={trials}")
    (tmp_path / "said").unlink()
    _, part = search("parts", *words, f"search.trials={trials - 1}")
    _, parts = search("parts", *words, f"search.trials={trials}")
    chosen = [[(row[RATE], row["optimizer"]) for row in each] for each in (whole, part, parts)]
    assert chosen[0] == chosen[2]
    assert chosen[0][:-1] == chosen[1]
    assert len(set(chosen[0])) == trials
    said = (tmp_path / "said").read_text().split()
    repeated = [name for name in set(said) if said.count(name) > 1]
    failed = [row["run"] for row in part if row["result"] != "done"]
    assert sorted(repeated) == sorted(os.path.basename(run) for run in failed)
    _, other = search("other", *words, "search.trials=1", "search.seed=9")
    assert other[0][RATE] != whole[0][RATE]


def test_intervals_are_kept_and_of_the_type_of_their_setting(tmp_path):
    words = [LOG, "model.hidden=interval(8,11)", "trainer.last_step=range(10,41,10)"]
    words += ["model.clip.global_norm=tag(log, interval(1, 100))", "optimizer=adam,sgd"]
    space = Space([*VALIDATION, *words])
    settings = [f"run_dir={tmp_path}", "search.trials=40", "search.sampler=random"]
    configs = []
    search = Search(load_config(settings, "sweep"), space, load_config(VALIDATION))
    for job in search.jobs():
        configs.append(load_config(job.arguments))
    rates = [config.model.learning_rate for config in configs]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert 12 <= sum(rate < 1e-3 for rate in rates) <= 28  # the middle, by the logarithm
    assert {config.model.hidden for config in configs} == {8, 9, 10, 11}
    assert {config.trainer.last_step for config in configs} == {10, 20, 30, 40}
    assert all(1 <= config.model.clip.global_norm <= 100 for config in configs)
    assert len({config.model.optimizer["_target_"] for config in configs}) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([LOG, "search.trials=0"], "an interval is for a search alone; add search.trials=20"),
        ([LOG, "search.sampler=grid"], "search.sampler=grid: expected tpe or random"),
        ([LOG, "search.trial=3"], r"did you mean search\.trials"),
        ([LOG, "data.validation_share=0.0"], "there is no validation split.*validation_share=0.1"),
        (["seed=1"], "nothing is searched; expected"),
        (["seed=1,2", "model.hidden=range(8,9)"], "there are 2 combinations, .* tried once"),
        (["seed=range(1,1)", LOG], "the range is empty"),
        ([f"{RATE}=interval(1,0)"], r"low < high"),
        ([f"{RATE}=tag(log,interval(0,1))"], "low above 0"),
        ([f"{RATE}=tag(lgo,interval(1,2))"], "expected interval"),
        ([f"{RATE}=interval(1,inf)"], "low < high"),
        (["model.hidden=interval(8.5,16)"], "expected integers"),
        (["data.directory=interval(1,2)"], "needs a setting that is a number"),
        (["model.hidden=tag(log,range(8,64,8))"], "is for interval"),
        ([LOG, "data.validation_share=0.1,0.0"], "there is no validation split"),
        (["model.hiden=interval(8,16)"], r"did you mean model\.hidden"),
        (["model=mlp,mpl"], "did you mean mlp"),
        (["model=cnn,mlp", "model.filters=[8],[16]"], r"model\.filters: there is no such"),
        ([LOG, "launcher=slurm"], "search.sampler=random, or launcher=local"),
    ],
)
def test_what_cannot_be_searched_is_one_line_before_anything_is_made(
    words, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        sweep([*VALIDATION, "search.trials=3", *words])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_class_with_a_validation_split_of_its_own_needs_no_share(monkeypatch):
    config = load_config(["data=digits"])
    with pytest.raises(ConfigError, match="no validation split"):
        check_validation(config)
    monkeypatch.setattr(Dataset, "evaluation_split", "validation")
    check_validation(config)


def test_optuna_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"install\.py --extras optuna"):
        sweep([*VALIDATION, "search.trials=3", LOG])


def test_a_directory_of_another_search_and_a_trial_that_still_runs_are_refused(search, tmp_path):
    name = "50%41 {a}?b"  # which mean something in an address and in Optuna's
    search(name, f"{RATE}=1e-3,1e-2,3e-2", "search.trials=1")
    assert (tmp_path / name / "study.db").exists()
    for others, message in (
        ([LOG], "expected 1e-3,1e-2,3e-2, found .*interval"),
        ([f"{RATE}=1e-3,1e-2,3e-2", "model.hidden=9"], r"model\.hidden: expected 256, found 9"),
        ([f"{RATE}=1e-3,1e-2,3e-2", "search.seed=7"], r"search\.seed: expected 1, found 7"),
        (
            [f"{RATE}=1e-3,1e-2,3e-2", "trainer.mode=max"],
            r"trainer\.mode: expected none, found max",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            search(name, *others, "search.trials=2")
    database = tmp_path / name / "study.db"
    holder = sqlite3.connect(str(database), isolation_level="EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunError, match=r"study\.db: .*locked.*the same command resumes"):
        search(name, f"{RATE}=1e-3,1e-2,3e-2", "search.trials=2")
    holder.close()
    database.write_text("mine")
    with pytest.raises(RunError, match=r"study\.db: is not an Optuna study"):
        search(name, f"{RATE}=1e-3,1e-2,3e-2", "search.trials=2")
    assert database.read_text() == "mine"


def test_an_error_between_two_trials_leaves_no_run_behind(tmp_path, monkeypatch):
    started = []

    def start(settings, job, *shares):
        seconds = 0.1 if not started else 60
        code = f"import time; time.sleep({seconds})"
        started.append(subprocess.Popen([sys.executable, "-c", code]))
        return started[-1]

    def ended(job, code):
        raise RunError("the disk is full")

    monkeypatch.setattr(jobs, "_start", start)
    settings = load_config([f"run_dir={tmp_path}", "jobs=2"], "sweep")
    with pytest.raises(RunError, match="the disk is full"):
        jobs.launch(settings, [jobs.Job(name, {}, []) for name in "ab"], 2, ended)
    assert [process.poll() for process in started] == [0, -signal.SIGTERM]


def test_on_slurm_random_trials_start_at_once(search, tmp_path, monkeypatch):
    def run(settings, trials, received):
        run_dirs = [os.path.join(settings.run_dir, job.name) for job in trials]
        for number, run_dir in enumerate(run_dirs):
            os.makedirs(run_dir)
            line = {"step": 1, "split": "validation", "loss": 5 - number}
            with open(os.path.join(run_dir, "metrics.jsonl"), "w") as file:
                file.write(json.dumps(line) + "\n")
        return [0, 1, 0, None]

    monkeypatch.setattr(jobs, "_run_on_slurm", run)
    words = [LOG, "search.trials=4", "search.sampler=random", "launcher=slurm"]
    code, found = search("run", *words, "slurm.cluster=local")
    assert code == 0
    assert [row["result"] for row in found] == ["done", "failed (1)", "done", "not finished"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere runs outlive their sweep")
def test_a_search_that_is_killed_resumes_the_trial_that_ran(start, tmp_path):
    words = ["-m", "search.trials=2", LOG, "model.hidden=interval(4,16)", VALIDATION[1]]
    words += ["trainer.last_step=4000", "trainer.log_every_n_steps=1000"]
    words += ["trainer.checkpoint_every_n_steps=250", "trainer.evaluate_every_n_steps=2000"]
    process = start(*words)
    second = tmp_path / "run" / "trial-001"
    end = time.monotonic() + 120
    while not [*second.glob("checkpoints/*.index")]:
        assert time.monotonic() < end, (tmp_path / "output").read_text()
        time.sleep(0.05)
    runs = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(runs, timeout=60)[1] == []
    with locked(str(second)), pytest.raises(RunError, match="trial-001: in use"):
        sweep([word for word in process.words if word != "-m"])
    assert start(*words).wait() == 0, (tmp_path / "output").read_text()
    starts = [
        len(json.loads((tmp_path / "run" / f"trial-00{n}" / "record.json").read_text())["starts"])
        for n in range(2)
    ]
    assert starts == [1, 2]
    assert (second / "train.log").read_text().count(" step 1 ") == 1
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == ["4000"] * 2
    shown = (tmp_path / "output").read_text()
    assert re.search(r"best loss: \S+ of \S+/trial-00\d\n", shown)
