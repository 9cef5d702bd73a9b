"""Batches of a split: in the files' order, or for training in one of the two modes."""

from __future__ import annotations

import logging
from typing import Any

import tensorflow.compat.v1 as tf

from ..errors import OTHER_GRAPH, ConfigError, DataError, check_at_least, explained
from .elements import batched, decoded, in_threads, native, to_batch
from .memory import memory_batches
from .sizes import reading_mode
from .source import VALIDATION, Source
from .split import elements_of
from .streaming import streamed_batches

SPLIT = "{split}"  # stands for the split's name in a path

logger = logging.getLogger(__name__)


def read_batches(source: Source, split: str, training: bool, start_step: Any) -> tf.data.Dataset:
    """See `Dataset.batches`."""
    with explained(type(source).__name__, DataError, OTHER_GRAPH):
        return _batches(source, split, training, start_step)


def _batches(source: Source, split: str, training: bool, start_step: Any) -> tf.data.Dataset:
    if not training:
        batches = batched(source, decoded(source, elements_of(source, split)), drop_remainder=False)
        convert = native(lambda _, record: to_batch(source, record))
        return in_threads(batches.map(convert, source.parallel_calls).prefetch(2), source)
    logger.info("%s: %s", split, reading_mode(source, split))
    if source.in_memory(split):
        return in_threads(memory_batches(source, split, start_step), source)
    return streamed_batches(source, split, start_step)  # in_threads, it could not be saved


def check_settings(source: Source) -> None:
    """Chooses the split to evaluate; raises ConfigError if a setting is out of its range."""
    if source.validation_share:
        source.evaluation_split = VALIDATION
    for name in ("batch_size", "shuffle_buffer", "parallel_calls"):
        check_at_least(1, "data", **{name: getattr(source, name)})
    if not 0 <= source.seed < 2**31:
        raise ConfigError(f"data: found seed={source.seed}; expected 0 to 2**31 - 1")
    for name in ("memory_fraction", "balance", "validation_share"):
        if not 0 <= getattr(source, name) <= 1:
            found = f"{name}={getattr(source, name)}"
            raise ConfigError(f"data: found {found}; expected a number from 0 to 1")
    if source.stratify and not source.validation_share:
        raise ConfigError(
            "data.stratify: found true without a share to take of each class; set "
            "data.validation_share, such as 0.2"
        )
    if source.validation_share and VALIDATION in source.splits:
        name = type(source).__name__
        raise ConfigError(
            f"data.validation_share={source.validation_share}: {name} has a validation split of "
            "its own; set it to 0"
        )
    ascending = sorted(set(source.buckets))
    if source.buckets != ascending or (ascending and source.padding is None):
        found = f"buckets={source.buckets}"
        raise ConfigError(f"data: found {found}; expected ascending lengths, and `padding`")


def check_names_split(source: Source, cls: Any, **settings: str) -> None:
    """Settings without {split} name the same records for all splits: then there is one split.

    Args:
        source: the dataset; one with `files` of its own splits them by itself.
        cls: its class, or the base that reads by these settings.
        settings: name=value.

    Raises:
        ConfigError: it would be evaluated on what it was trained on.
    """
    if type(source).files is not cls.files:
        return
    same = [name for name, value in settings.items() if SPLIT not in value]
    if same and (len(same) < len(settings) or not source.validation_share):
        raise ConfigError(
            f"data.{same[0]}={settings[same[0]]}: found no {SPLIT} in it, so that "
            f"{' and '.join(source.splits)} would be the same records; put {SPLIT} there, or let "
            "data.validation_share, such as 0.2, take a part of them to evaluate on"
        )
    if same:
        source.splits = (source.training_split,)
