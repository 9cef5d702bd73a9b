"""A search: trials whose settings Optuna chooses by what those before have reached."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pydoc
import sqlite3
from typing import Any, Iterator

import numpy as np
import optuna  # installed by install.py --extras optuna
from matplotlib.figure import Figure
from omegaconf import DictConfig
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from ..errors import ConfigError, RunError
from ..run.files import atomic_write
from ..run.lock import locked
from ..run.metrics import best_evaluation, read_metrics
from ..settings.overrides import values_in
from .jobs import STOPPED, Job
from .space import Space

COLUMNS = 4  # of the picture


def check_validation(config: DictConfig) -> None:
    """Raises ConfigError where runs are evaluated on the test split, by which nothing is chosen."""
    dataset = None if config.data.get("validation_share") else pydoc.locate(config.data._target_)
    if dataset and getattr(dataset, "evaluation_split", "test") == "test":
        raise ConfigError(
            "search.trials: there is no validation split, and what is chosen by the test split is "
            "no longer tested by it; set data.validation_share=0.1"
        )


@contextlib.contextmanager
def reported(directory: str) -> Iterator[None]:
    """Raises RunError for an error of Optuna or its database, which another process may lock."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise RunError(
            f"{directory}/study.db: {reason}; the trials are saved, and the same command resumes "
            "them once it can be written"
        ) from None


class Search:
    """The trials of a search, kept in study.db of its directory, by which it is resumed.

    Args:
        settings: those of conf/sweep.yaml; the directory exists.
        space: what is searched.
        config: the settings of some trial, which say what is best.

    Raises:
        ConfigError: the directory holds another search.
        RunError: study.db is something else, or a trial runs that has outlived its sweep.
    """

    def __init__(self, settings: DictConfig, space: Space, config: DictConfig) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._settings = settings
        self._space = space
        self._metric, self._mode = config.trainer.metric, config.trainer.mode
        self._codes: dict[str, int] = {}
        path = os.path.abspath(os.path.join(settings.run_dir, "study.db"))
        connect = functools.partial(sqlite3.connect, path)  # in an address some letters mean more
        try:
            self._study = optuna.create_study(
                storage=RDBStorage("sqlite://", engine_kwargs={"creator": connect}),
                study_name="search",
                direction="maximize" if self._mode == "max" else "minimize",
                load_if_exists=True,
            )
        except DatabaseError as error:
            if "not a database" not in str(error):
                raise
            raise RunError(f"{path}: is not an Optuna study; set another run_dir") from None
        facts = {key: str(value) for key, value in values_in(config).items()}
        facts = {key: text for key, text in facts.items() if not key.endswith("run_dir")}
        facts.update({f"search.{key}": str(settings.search[key]) for key in ("sampler", "seed")})
        facts.update(space.typed)
        before = self._study.user_attrs.get("settings", facts)
        for key in sorted({*before, *facts}, key=lambda key: (-key.count("."), key)):
            if before.get(key) != facts.get(key):
                raise ConfigError(
                    f"{settings.run_dir}: this search was started with other settings: {key}: "
                    f"expected {before.get(key) or 'none'}, found {facts.get(key) or 'none'}; "
                    "give the same, or another run_dir"
                )
        self._study.set_user_attr("settings", facts)
        new = os.path.join(settings.run_dir, f"trial-{len(self._trials()):03d}")
        if os.path.exists(new):
            raise ConfigError(f"{new}: is not of the search in study.db; set another run_dir")
        for trial in self._trials(TrialState.RUNNING):
            if os.path.isdir(self._run_dir(trial)):
                with locked(self._run_dir(trial)):
                    pass

    def _trials(self, *states: TrialState) -> list[Any]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _name(self, trial: Any) -> str:
        return f"trial-{trial.number:03d}"

    def _run_dir(self, trial: Any) -> str:
        return os.path.join(self._settings.run_dir, self._name(trial))

    @property
    def left(self) -> int:
        """The number of trials that have no result yet, those that failed among them."""
        done = self._trials(TrialState.COMPLETE, TrialState.FAIL)
        return max(self._settings.search.trials - len(done), 0)

    def jobs(self) -> Iterator[Job]:
        """Trials that were interrupted or failed, then new ones, each chosen when asked for."""
        for trial in self._trials(TrialState.RUNNING):
            if trial.params.keys() == self._space.searched.keys():
                yield self._job(trial)
            else:  # killed while it was chosen
                self._study.tell(trial.number, state=TrialState.FAIL)
        while len(self._trials()) < self._settings.search.trials:
            # What is chosen follows from the number, not from how often the search was resumed.
            key = [len(self._trials()), self._settings.search.seed]
            seed = int(np.random.SeedSequence(key).generate_state(1)[0])
            kind: dict[str, Any] = {"tpe": TPESampler, "random": RandomSampler}
            options: dict[str, Any] = {"seed": seed}
            if self._settings.search.sampler == "tpe" and self._settings.jobs > 1:
                options["constant_liar"] = True  # so that trials at work are not tried again
            self._study.sampler = kind[self._settings.search.sampler](**options)
            yield self._job(self._study.ask(self._space.searched))

    def _job(self, trial: Any) -> Job:
        return self._space.job(self._name(trial), dict(trial.params))

    def ended(self, job: Job, code: int) -> None:
        """Tells the result of a trial; without one the next start runs it again, as a sweep does.

        Raises:
            ConfigError: its settings have an error, before any trial has had a result.
        """
        self._codes[job.name] = code
        if code in STOPPED:
            return
        number = int(job.name.rpartition("-")[2])
        run_dir = os.path.join(self._settings.run_dir, job.name)
        lines = read_metrics(os.path.join(run_dir, "metrics.jsonl"))
        value = best_evaluation(lines, self._metric, self._mode)
        if not code and value is not None:
            self._study.tell(number, value)
        elif not _is_locked(run_dir):  # else an earlier job of Slurm runs it
            self._study.set_user_attr(f"exit code {number}", code or 1)
            if code == 2 and not self._trials(TrialState.COMPLETE):
                raise ConfigError(
                    f"{job.name}: an error in its settings, which the trials after it would have, "
                    f"too: see above, or {self._settings.run_dir}/jobs; give others, in another "
                    "run_dir"
                )

    def results(self) -> tuple[list[Job], list[int | None]]:
        """All trials, and their exit codes; None: not ended."""
        jobs = [self._job(trial) for trial in self._trials()]
        codes: dict[str, Any] = {self._name(t): 0 for t in self._trials(TrialState.COMPLETE)}
        for trial in self._trials(TrialState.RUNNING, TrialState.FAIL):
            stored = self._study.user_attrs.get(f"exit code {trial.number}")
            codes[self._name(trial)] = self._codes.get(self._name(trial), stored)
        return jobs, [codes[job.name] for job in jobs]

    def report(self) -> str:
        """Draws search.png; returns what there is to say; empty if no trial has a result."""
        if not self._trials(TrialState.COMPLETE):
            return ""
        path = os.path.join(self._settings.run_dir, "search.png")
        with atomic_write(path) as file:
            self._picture().savefig(file, format="png", bbox_inches="tight")
        best = self._study.best_trial
        return f"best {self._metric}: {best.value:.4g} of {self._run_dir(best)}\n{path}\n"

    def _picture(self) -> Figure:
        """The metric over the trials, with the best so far, and over each setting."""
        done = self._trials(TrialState.COMPLETE)
        values = [trial.value for trial in done]
        panels = 1 + len(self._space.searched)
        columns, rows = min(panels, COLUMNS), math.ceil(panels / COLUMNS)
        figure = Figure(figsize=(4 * columns, 3.5 * rows))
        axes = [figure.add_subplot(rows, columns, n + 1) for n in range(panels)]
        numbers = [trial.number for trial in done]
        best = (np.maximum if self._mode == "max" else np.minimum).accumulate(values)
        axes[0].plot(numbers, values, "o")
        axes[0].step(numbers, best, where="post", label="best so far")
        failed = sorted({trial.number for trial in self._trials()} - set(numbers))
        if failed:
            axes[0].plot(failed, [max(values)] * len(failed), "rx", label="no result")
        axes[0].legend(fontsize=7)
        axes[0].set(xlabel="trial", ylabel=self._metric)
        for panel, (key, kind) in zip(axes[1:], self._space.searched.items()):
            panel.scatter([trial.params[key] for trial in done], values, c=numbers)
            panel.set_xlabel(key)
            if getattr(kind, "log", False):
                panel.set_xscale("log")
        figure.tight_layout()
        return figure


def _is_locked(run_dir: str) -> bool:
    """Whether a process trains in a run directory."""
    try:
        if os.path.isdir(run_dir):
            with locked(run_dir):
                pass
        return False
    except RunError:
        return True
