"""The devices and threads of a session."""

from __future__ import annotations

import re

import tensorflow.compat.v1 as tf

from ..errors import ConfigError


def session_config(
    gpus: str = "all",
    allow_growth: bool = True,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    soft_placement: bool = True,
) -> tf.ConfigProto:
    """The session's devices and threads; for the arguments see `SessionTrainer`.

    Raises:
        ConfigError: `gpus` is neither "all", "none" nor numbers.
    """
    config = tf.ConfigProto(
        allow_soft_placement=soft_placement,
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=inter_op_threads,
    )
    config.gpu_options.allow_growth = allow_growth
    if gpus == "none":
        config.device_count["GPU"] = 0
    elif re.fullmatch(r"\d+(,\d+)*", gpus):
        config.gpu_options.visible_device_list = gpus
    elif gpus != "all":
        raise ConfigError(f'trainer.gpus: found "{gpus}"; expected all, none or numbers as 0,2')
    return config
