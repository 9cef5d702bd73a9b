"""The settings of a trainer, as conf/trainer/session.yaml explains them, checked."""

from __future__ import annotations

import dataclasses
import numbers
import os
from typing import Any, Sequence

import tensorflow.compat.v1 as tf

from ..errors import ConfigError
from ..run.devices import replica_devices, session_config

# The least value of each integer.
LEAST = {
    "seed": 0,
    "last_step": 1,
    "last_epoch": 0,
    "max_to_keep": 0,
    "keep_checkpoint_every_n_hours": 0,
    "patience": 0,
    "limit_batches": 0,
    "steps_per_loop": 1,
    "gpu_memory_mb": 0,
    "replicas": 0,
    "intra_op_threads": 0,
    "inter_op_threads": -1,
}


@dataclasses.dataclass(eq=False)
class TrainerSettings:
    """Everything that happens every so often does so on exact multiples of the global step
    (`..._every_n_steps`), or by the clock (`..._every_n_secs`); 0 switches either off.

    Raises:
        ConfigError: a number is out of its range, or `hooks` holds something else.
    """

    run_dir: str = ""  # or a Path; an existing run is resumed; default: a new one below runs/
    seed: int = 1  # of the initial weights and of dropout
    last_step: int = 2000  # the global step to end at
    last_epoch: int = 0  # the epoch to end at; sets last_step if above 0
    log_every_n_steps: int = 100  # a line on the console, in train.log and metrics.jsonl
    log_every_n_secs: float = 0.0
    summary_every_n_steps: int = 100  # TensorBoard's curves
    summary_every_n_secs: float = 0.0
    histograms: bool = False  # there, of weights and gradients; 0.1 s for a million weights
    checkpoint_every_n_steps: int = 1000  # the last step has one, too
    checkpoint_every_n_secs: float = 0.0
    evaluate_every_n_steps: int = 500  # the last step has one, too
    evaluate_every_n_secs: float = 0.0
    max_to_keep: int = 5  # newest checkpoints; 0 keeps all
    keep_checkpoint_every_n_hours: float = 10000.0  # in addition, one for each n hours is kept
    metric: str = "loss"  # the number of an evaluation by which best/ is kept
    mode: str = ""  # "min" or "max", whichever is best; "" for a loss: the least
    patience: int = 0  # evaluations without improvement, after which training ends; 0 is never
    min_delta: float = 0.0  # the least change that counts as an improvement
    profile_steps: Sequence[int] = ()  # first and last step to trace, see ProfileHook
    limit_batches: int = 0  # train on the first n batches over and over, evaluate n; 0 is all
    steps_per_loop: int = 1000  # the most steps inside the graph between hook events; 1: none
    allow_changes: Sequence[str] = ()  # to a run that resumes: settings; data.files: its files
    on_sigusr1: str = "save"  # and go on; or "leave", as on SIGTERM
    tracker: str = "none"  # or wandb, mlflow, hparams: where numbers and settings are shown, too
    # Your tf.train.SessionRunHook objects. One that has no `next_step` (see EveryHook) is called
    # at every step, so there is one session.run per step.
    hooks: Sequence[tf.train.SessionRunHook] = ()
    gpus: str = "all"  # or "none", or the numbers of those to use: "0,2"
    replicas: int = 0  # that share each batch; 0: all of these GPUs that divide it, or the CPU
    allow_growth: bool = True  # take a GPU's memory as it is needed
    gpu_memory_mb: int = 0  # to take of each GPU instead, at once; 0: as allow_growth says
    deterministic: bool = False  # equal results on a GPU, too, at a lower speed
    intra_op_threads: int = 0  # within one operation; 0 lets TensorFlow choose
    inter_op_threads: int = 0  # operations at a time; -1: in the thread that calls it
    soft_placement: bool = True  # run on the CPU what has no GPU kernel
    xla: bool = False  # compile the graph for the GPU; the last bits of results then differ

    #: Whether no other process trains the same variables.
    alone = True
    #: Whether it knows what to do where the environment describes a cluster.
    in_cluster = False

    def __post_init__(self) -> None:
        self.run_dir = os.fspath(self.run_dir)
        for name, least in LEAST.items():
            value: Any = getattr(self, name)
            whole = name != "keep_checkpoint_every_n_hours"
            kind: Any = numbers.Integral if whole else numbers.Real
            if not isinstance(value, kind) or not least <= value < 2**31:
                text = "an integer from " * whole
                raise ConfigError(
                    f"trainer.{name}: found {value!r}, expected {text}{least} to 2**31 - 1"
                )
        hooks = self.hooks if isinstance(self.hooks, (list, tuple)) else [None]
        if not all(isinstance(hook, tf.train.SessionRunHook) for hook in hooks):
            raise ConfigError(
                "trainer.hooks: found something that is not a hook; expected "
                "[{_target_: module.Class}] of tf.train.SessionRunHook"
            )
        if self.on_sigusr1 not in ("save", "leave"):
            raise ConfigError(
                f"trainer.on_sigusr1: found {self.on_sigusr1}, expected save or leave"
            )
        #: As `replicas`, but for GPUs that are left out since they would not divide a batch.
        self.shared_by = self.replicas
        self.session_config = session_config(
            gpus=self.gpus,
            allow_growth=self.allow_growth,
            gpu_memory_mb=self.gpu_memory_mb,
            intra_op_threads=self.intra_op_threads,
            inter_op_threads=self.inter_op_threads,
            soft_placement=self.soft_placement,
            xla=self.xla,
        )

    def replica_devices(self) -> list[str]:
        """The devices that share each batch; raises ConfigError if there are fewer."""
        return replica_devices(self.session_config, self.shared_by if self.alone else 1)

    def every(self, what: str) -> dict[str, Any]:
        """The interval of log, summary, checkpoint or evaluate, as arguments of an `EveryHook`."""
        return {
            "every_n_steps": getattr(self, f"{what}_every_n_steps"),
            "every_n_secs": getattr(self, f"{what}_every_n_secs"),
        }
