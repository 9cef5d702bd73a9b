"""A sweep: every combination of settings is a run, and a table compares them."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib.util
import itertools
import os
import re
from typing import Any, Sequence

from omegaconf import DictConfig

from ..errors import ConfigError, RunError, check_at_least
from ..run.files import new_directory
from ..run.lock import locked
from ..run.metrics import best_evaluation, read_metrics
from ..run.trackers import check_tracker
from ..settings.config import load_config
from ..settings.overrides import split_setting, sweep_values
from ..tools.table import table
from .jobs import STOPPED, Job, launch, slurm_executor


def sweep(arguments: Sequence[str]) -> int:
    """Runs all combinations of `["model=mlp,cnn", "seed=1,2"]`; returns the worst exit code.

    With `search.trials=n` it runs n, chosen by Optuna; returns 0 if one has a result.

    The settings of conf/sweep.yaml say how, and `run_dir=...` where: below one directory, which at
    the end holds `results.csv`. If it exists, its runs are resumed.

    Raises:
        ConfigError: a combination has an error, which is found before the first one runs.
        RunError: the directory cannot be written, or another sweep runs in it.
    """
    keys = r"((trainer\.)?run_dir|launcher|jobs|slurm|search)[.=]"
    own = [text for text in arguments if re.match(keys, text)]
    settings = load_config(own, "sweep")
    _check(settings)
    words = [text for text in arguments if text not in own]
    if settings.search.trials:
        from .search import Search, check_validation, reported  # which imports Optuna
        from .space import Space

        space = Space(words)
        jobs = list(space.extremes())  # to look for errors
    else:
        jobs = combinations(words)
    if not jobs:
        raise ConfigError("no run is left: a range is empty")
    configs = []
    for job in jobs:
        run_dir = os.path.join(settings.run_dir, job.name)
        resumed = bool(settings.run_dir and job.name) and os.path.exists(run_dir)
        configs.append(load_config([*job.arguments, *[f"run_dir={run_dir}"] * resumed]))
        check_tracker(configs[-1].trainer.get("tracker", "none"))
        if resumed:
            with locked(run_dir):  # else it would fail, and be a row of the table as such
                pass
        if settings.search.trials:
            check_validation(configs[-1])
    if settings.search.trials and space.size() <= settings.search.trials:
        raise ConfigError(
            f"search.trials={settings.search.trials}: there are {space.size():.0f} "
            "combinations, which a search may repeat; without search.trials each is tried once"
        )
    directory = settings.run_dir = settings.run_dir or new_directory("sweep")
    try:
        os.makedirs(os.path.join(directory, "jobs"), exist_ok=True)
    except OSError as error:
        raise RunError(f"{directory}: cannot be made ({error.strerror}); set run_dir") from None
    with locked(directory):
        if settings.search.trials:
            with reported(directory):
                search = Search(settings, space, configs[0])
                print(f"sweep directory: {directory} ({search.left} trials)", flush=True)
                _, stopped_by = launch(settings, search.jobs(), search.left, search.ended)
                jobs, codes = search.results()
                found = search.report()
            configs = configs[:1] * len(jobs)
        else:
            print(f"sweep directory: {directory} ({len(jobs)} runs)", flush=True)
            codes, stopped_by = launch(settings, jobs, len(jobs))
            found = ""
        rows = [_row(directory, *each) for each in zip(jobs, configs, codes)]
        path = os.path.join(directory, "results.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(f"{table(rows)}\n{found}{path}\nsweep directory: {directory}", flush=True)
    worst = 128 + stopped_by if stopped_by else max(1 if code is None else code for code in codes)
    if settings.search.trials and not stopped_by:
        return 0 if found else worst or 1  # trials that fail are part of a search
    return worst


def _check(settings: DictConfig) -> None:
    """Raises ConfigError for an error in the sweep's own settings."""
    check_at_least(1, "conf/sweep.yaml", jobs=settings.jobs)
    check_at_least(0, "search", trials=settings.search.trials, seed=settings.search.seed)
    if settings.search.sampler not in ("tpe", "random"):
        raise ConfigError(f"search.sampler={settings.search.sampler}: expected tpe or random")
    if settings.search.trials and not importlib.util.find_spec("optuna"):
        raise ConfigError(
            f"search.trials={settings.search.trials}: optuna is not installed; to install it, give "
            "the command python3 scripts/install.py --extras optuna"
        )
    if settings.search.trials and (settings.launcher, settings.search.sampler) == ("slurm", "tpe"):
        raise ConfigError(
            "launcher=slurm: its jobs start all at once, and tpe learns from those that ended; "
            "take search.sampler=random, or launcher=local"
        )
    if settings.launcher not in ("local", "slurm"):
        raise ConfigError(f"launcher={settings.launcher}: expected local or slurm")
    if settings.launcher == "slurm" and not importlib.util.find_spec("submitit"):
        raise ConfigError(
            "launcher=slurm: submitit is not installed; to install it, give the command "
            "python3 scripts/install.py --extras slurm"
        )
    if settings.launcher == "slurm":
        slurm_executor(settings)
    if os.path.exists(os.path.join(settings.run_dir, "record.json")):
        raise ConfigError(f"{settings.run_dir}: is a run; a sweep needs a directory of its own")


def combinations(arguments: Sequence[str]) -> list[Job]:
    """`["seed=1,2", "model=mlp"]` -> jobs of `["seed=1", "model=mlp"]`, `["seed=2", ...]`."""
    typed = dict(split_setting(argument) for argument in arguments)
    values = {key: sweep_values(key, text) for key, text in typed.items()}
    jobs = {}
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination))
        swept = {key: text for key, text in chosen.items() if len(values[key]) > 1}
        written = ",".join(f"{key}={text}" for key, text in swept.items()) or "run"
        name = re.sub(r"[^\w.,=+-]", "_", written)
        if name != written or len(name) > 150:  # not a name for a directory, or too long for one
            name = f"{name[:140]}_{hashlib.sha256(written.encode()).hexdigest()[:8]}"
        jobs[name] = Job(name, swept, [f"{key}={text}" for key, text in chosen.items()])
    return list(jobs.values())


def _row(directory: str, job: Job, config: DictConfig, code: int | None) -> dict[str, Any]:
    """Of one run: what was set, how it ended, its last step and evaluation, the best."""
    run_dir = os.path.join(directory, job.name)
    lines = read_metrics(os.path.join(run_dir, "metrics.jsonl"))
    evaluations = [line for line in lines if line["split"] != "train"]
    results: dict[Any, str] = {None: "not finished", 0: "done", **dict.fromkeys(STOPPED, "stopped")}
    row = {**job.swept, "result": results.get(code, f"failed ({code})")}
    row["step"] = lines[-1]["step"] if lines else ""
    metric, mode = config.trainer.metric, config.trainer.mode
    for name, value in (evaluations or [{}])[-1].items():
        if name not in ("step", "split"):
            row[f"{evaluations[-1]['split']} {name}" if name in row else name] = value
    best = best_evaluation(lines, metric, mode)
    row[f"best {metric}"] = "" if best is None else best
    return {**row, "run": run_dir}
