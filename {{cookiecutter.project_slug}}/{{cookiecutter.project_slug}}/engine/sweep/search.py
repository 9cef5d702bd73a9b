"""A search: trials whose settings Optuna chooses by what those before have reached."""

from __future__ import annotations

import math
import os
import pydoc
from typing import Any, Iterator

import numpy as np
import optuna  # installed by install.py --extras optuna
from matplotlib.figure import Figure
from omegaconf import DictConfig
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from ..errors import ConfigError, RunError
from ..run.files import atomic_write
from ..run.lock import locked
from ..run.metrics import best_evaluation, read_metrics
from .jobs import SIGNALS, Job
from .space import Space

STOPPED = {138, *(128 + number for number in SIGNALS)}  # exit codes: saved, to be resumed
COLUMNS = 4  # of the picture


def check_validation(config: DictConfig) -> None:
    """Raises ConfigError where runs are evaluated on the test split, by which nothing is chosen."""
    dataset = None if config.data.get("validation_share") else pydoc.locate(config.data._target_)
    if dataset and getattr(dataset, "evaluation_split", "test") == "test":
        raise ConfigError(
            "search.trials: there is no validation split, and what is chosen by the test split is "
            "no longer tested by it; set data.validation_share=0.1"
        )


class Search:
    """The trials of a search, kept in study.db of its directory, by which it is resumed.

    Args:
        settings: those of conf/sweep.yaml; the directory exists.
        space: what is searched.
        config: the settings of some trial, which say what is best.

    Raises:
        ConfigError: the directory holds another search.
        RunError: study.db cannot be read, or a trial runs, as one may that has outlived its sweep.
    """

    def __init__(self, settings: DictConfig, space: Space, config: DictConfig) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._settings = settings
        self._space = space
        self._metric, self._mode = config.trainer.metric, config.trainer.mode
        self._codes: dict[str, int] = {}
        path = os.path.abspath(os.path.join(settings.run_dir, "study.db"))
        try:
            self._study = optuna.create_study(
                storage=f"sqlite:///{path}",
                study_name="search",
                direction="maximize" if self._mode == "max" else "minimize",
                load_if_exists=True,
            )
        except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"{path}: is no study of a search ({reason}); remove it") from None
        before = self._study.user_attrs.get("arguments", space.arguments)
        if before != space.arguments:
            raise ConfigError(
                f"{settings.run_dir}: this search was started with {' '.join(before)}; found "
                f"{' '.join(space.arguments)}; repeat its words, or set another run_dir"
            )
        self._study.set_user_attr("arguments", space.arguments)
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
        """The number of trials that are not done."""
        done = self._trials(TrialState.COMPLETE, TrialState.FAIL)
        return max(self._settings.search.trials - len(done), 0)

    def jobs(self) -> Iterator[Job]:
        """Trials that were interrupted, then new ones, each chosen when it is asked for."""
        for trial in self._trials(TrialState.RUNNING):
            if trial.params.keys() == self._space.searched.keys():
                yield self._job(trial)
            else:  # killed while it was chosen
                self._study.tell(trial.number, state=TrialState.FAIL)
        while len(self._trials()) < self._settings.search.trials:
            # What is chosen follows from the number, not from how often the search was resumed.
            key = [len(self._trials()), self._settings.search.seed]
            seed = int(np.random.SeedSequence(key).generate_state(1)[0])
            samplers = optuna.samplers
            kind = {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}
            self._study.sampler = kind[self._settings.search.sampler](seed=seed)
            yield self._job(self._study.ask(self._space.searched))

    def _job(self, trial: Any) -> Job:
        return self._space.job(self._name(trial), dict(trial.params))

    def ended(self, job: Job, code: int) -> None:
        """Tells how a trial ended; one that was stopped is resumed by the next start."""
        self._codes[job.name] = code
        if code in STOPPED:
            return
        number = int(job.name.rpartition("-")[2])
        lines = read_metrics(os.path.join(self._settings.run_dir, job.name, "metrics.jsonl"))
        value = best_evaluation(lines, self._metric, self._mode)
        if code or value is None:
            self._study.set_user_attr(job.name, code)
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def results(self) -> tuple[list[Job], list[int | None]]:
        """All trials, and their exit codes; None: not ended."""
        jobs = [self._job(trial) for trial in self._trials()]
        codes: dict[str, Any] = {self._name(t): 0 for t in self._trials(TrialState.COMPLETE)}
        codes.update(self._study.user_attrs)
        codes.update(self._codes)
        return jobs, [codes.get(job.name) for job in jobs]

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
        failed = [trial.number for trial in self._trials(TrialState.FAIL)]
        if failed:
            axes[0].plot(failed, [max(values)] * len(failed), "rx", label="failed")
        axes[0].legend(fontsize=7)
        axes[0].set(xlabel="trial", ylabel=self._metric)
        for panel, (key, kind) in zip(axes[1:], self._space.searched.items()):
            panel.scatter([trial.params[key] for trial in done], values, c=numbers)
            panel.set_xlabel(key)
            if getattr(kind, "log", False):
                panel.set_xscale("log")
        figure.tight_layout()
        return figure
