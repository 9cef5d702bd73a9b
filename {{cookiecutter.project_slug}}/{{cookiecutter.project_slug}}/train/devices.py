"""The devices and threads of a session."""

from __future__ import annotations

import re

import tensorflow.compat.v1 as tf

from ..errors import ConfigError


def session_config(
    gpus: str | int = "all",
    allow_growth: bool = True,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    soft_placement: bool = True,
    xla: bool = False,
) -> tf.ConfigProto:
    """The session's devices and threads.

    Args:
        gpus: "all", "none", or the numbers of those to use, such as "0,2".
        allow_growth: take a GPU's memory as it is needed, not all at once.
        intra_op_threads: threads within one operation; 0 lets TensorFlow choose.
        inter_op_threads: operations at a time; 0 lets TensorFlow choose.
        soft_placement: run on the CPU what has no GPU kernel.
        xla: compile the graph for the GPU; results then differ in their last bits.

    Raises:
        ConfigError: `gpus` is neither "all", "none" nor numbers.
    """
    config = tf.ConfigProto(
        allow_soft_placement=soft_placement,
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=inter_op_threads,
    )
    config.gpu_options.allow_growth = allow_growth
    if xla:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    gpus = str(gpus)
    if gpus == "none":
        config.device_count["GPU"] = 0
    elif re.fullmatch(r"\d+(,\d+)*", gpus):
        config.gpu_options.visible_device_list = gpus
    elif gpus != "all":
        raise ConfigError(f'trainer.gpus: found "{gpus}"; expected all, none or numbers as 0,2')
    return config
