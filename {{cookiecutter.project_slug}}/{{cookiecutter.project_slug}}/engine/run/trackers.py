"""Trackers: W&B, MLflow and TensorBoard's HParams, each imported only by a run that asks for it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import re
from glob import escape, glob
from typing import Any

from filelock import FileLock

from ..errors import ConfigError
from ..settings.overrides import nearest_to
from ..settings.targets import PACKAGE

STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}  # MLflow's words


class Wandb:
    """Weights & Biases. Its variables say where: WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY.

    Each tracker has these three methods. Names of numbers are such as train/loss.
    """

    def start(self, directory: str, known: str | None, settings: dict[str, Any]) -> str:
        """Begins to track the run in a directory, or resumes; returns the tracker's name for it.

        Args:
            directory: absolute.
            known: what an earlier start returned, if there was one.
            settings: those of the run, "model.hidden": 64.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # would be sent offline, too
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PACKAGE),
            id=known,
            resume="allow",
            name=os.path.basename(directory),
            dir=directory,
            config={**settings, "run_dir": directory},
            allow_val_change=True,
            # train.log has the console; a server that does not answer must not delay training.
            settings={"console": "off", "init_timeout": 20},
        )
        # Its own steps may not go back, as those of a run that was killed do.
        self._run.define_metric("*", step_metric="step")
        return str(self._run.id)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Tells the numbers of a step; those of a step may come twice after a restart."""
        self._run.log({"step": step, **numbers})

    def end(self, status: str, best: dict[str, float]) -> None:
        """Ends it: finished, failed or interrupted, with the best evaluation and its step."""
        self._run.summary.update({"status": status, **best})
        self._run.finish(exit_code=0 if status == "finished" else 1)


class MLflow:
    """MLflow, in runs/mlruns unless MLFLOW_TRACKING_URI says where; MLFLOW_EXPERIMENT_NAME."""

    def start(self, directory: str, known: str | None, settings: dict[str, Any]) -> str:
        # A server that does not answer would else stop training for minutes, of retries.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds
        import mlflow

        self._mlflow = mlflow
        if "MLFLOW_TRACKING_URI" not in os.environ:
            # Read by each version; a database is not, and takes ten seconds to be made.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            mlflow.set_tracking_uri(pathlib.Path("runs", "mlruns").absolute().as_uri())
            os.makedirs("runs", exist_ok=True)
            lock: Any = FileLock(os.path.join("runs", ".mlruns.lock"))
        else:
            lock = contextlib.nullcontext()
        with lock:  # else two runs would both create it
            mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PACKAGE))
        run = mlflow.start_run(run_id=known, run_name=os.path.basename(directory))
        texts = {_mlflow_name(key): str(value)[:250] for key, value in settings.items()}
        new = [key for key in texts if key not in run.data.params]  # which can never be changed
        for first in range(0, len(new), 100):
            mlflow.log_params({key: texts[key] for key in new[first : first + 100]})
        before = {**texts, **run.data.params}
        changed = {key: text for key, text in texts.items() if text != before[key]}
        mlflow.set_tags({**changed, "run_dir": directory})
        return str(run.info.run_id)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        named = {_mlflow_name(name): value for name, value in numbers.items()}
        self._mlflow.log_metrics(named, step=step)

    def end(self, status: str, best: dict[str, float]) -> None:
        self.log(0, best)
        self._mlflow.set_tag("status", status)
        self._mlflow.end_run(STATUS[status])


def _mlflow_name(name: str) -> str:
    """The name in the letters that MLflow takes, as a path that it would not write otherwise."""
    parts = re.sub(r"[^\w./ -]", "_", name).split("/")
    return "/".join(part for part in parts if part.strip("."))


class HParams:
    """TensorBoard's table of runs: their settings and end; its numbers are those of the curves."""

    def start(self, directory: str, known: str | None, settings: dict[str, Any]) -> str:
        import tensorflow.compat.v1 as tf
        from tensorboard.plugins.hparams import summary

        self._summary = summary
        for path in glob(os.path.join(escape(directory), "events.*.hparams")):
            os.remove(path)  # TensorBoard reads the first that it finds
        self._writer = tf.summary.FileWriter(directory, filename_suffix=".hparams")
        values = {
            key: value if isinstance(value, (bool, int, float)) else str(value)
            for key, value in settings.items()
        }
        self._write(summary.session_start_pb(values))
        return os.path.basename(directory)

    def _write(self, part: Any) -> None:
        self._writer.add_summary(part.SerializeToString())
        self._writer.flush()

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Does nothing: other hooks write the curves."""

    def end(self, status: str, best: dict[str, float]) -> None:
        from tensorboard.plugins.hparams import api_pb2

        success = status == "finished"
        code = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
        self._write(self._summary.session_end_pb(code))
        self._writer.close()


# Name -> (class, what it imports)
TRACKERS: dict[str, Any] = {
    "wandb": (Wandb, "wandb"),
    "mlflow": (MLflow, "mlflow"),
    "hparams": (HParams, "tensorboard"),
}


def check_tracker(name: str) -> None:
    """Raises ConfigError unless there is such a tracker, or none is asked for, and its library."""
    names = ["none", *TRACKERS]
    if name not in names:
        nearest = nearest_to(name, names)
        raise ConfigError(f"trainer.tracker={name}: expected one of {', '.join(names)}{nearest}")
    if name == "none":
        return
    spec = importlib.util.find_spec(TRACKERS[name][1])
    if spec is None or not spec.origin:  # not a folder that wandb has made
        raise ConfigError(
            f"trainer.tracker={name}: {TRACKERS[name][1]} is not installed; to install it, give "
            f"the command python3 scripts/install.py --extras {name}; or set trainer.tracker=none"
        )
