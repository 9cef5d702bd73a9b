"""Batches of a split: in the files' order, or for training in one of the two modes."""

from __future__ import annotations

import logging
import numbers
from typing import Any

import tensorflow.compat.v1 as tf

from ..errors import OTHER_GRAPH, ConfigError, DataError, check_at_least, explained
from ..run.machine import cores, runs
from .elements import batched, decoded, in_threads, native, to_batch
from .footprint import fit_in_memory
from .memory import memory_batches
from .sizes import reading_mode
from .source import VALIDATION, Source
from .split import elements_of
from .streaming import streamed_batches

MOST_CALLS = 16  # at a time, unless data.parallel_calls says so
SPLIT = "{split}"  # stands for the split's name in a path

logger = logging.getLogger(__name__)


def read_batches(source: Source, split: str, training: bool, start_step: Any) -> tf.data.Dataset:
    """See `Dataset.batches`."""
    with explained(type(source).__name__, DataError, OTHER_GRAPH):
        return _batches(source, split, training, start_step)


def _batches(source: Source, split: str, training: bool, start_step: Any) -> tf.data.Dataset:
    if not training:
        return _converted(source, _in_order(source, split))
    logger.info("%s: %s", split, reading_mode(source, split))
    if source.in_memory(split):
        return in_threads(memory_batches(source, split, start_step), source)
    return streamed_batches(source, split, start_step)  # in_threads, it could not be saved


def _in_order(source: Source, split: str) -> tf.data.Dataset:
    return batched(source, decoded(source, elements_of(source, split)), drop_remainder=False)


def _converted(source: Source, batches: tf.data.Dataset) -> tf.data.Dataset:
    convert = native(lambda _, record: to_batch(source, record))
    return in_threads(batches.map(convert, source.parallel_calls).prefetch(2), source)


def evaluation_batches(
    source: Source, split: str, limit: int = 0, again: bool = False
) -> tuple[tf.data.Dataset, int]:
    """The batches of a split, and their number if they come over and over.

    So do all of those that `decode` makes, if they fit in memory next to what training holds: an
    iterator that is initialized once more would decode them again. The number 0 says that they end.

    Args:
        source: gives them.
        split: which to read.
        limit: the first n batches; 0 is all.
        again: whether they are read more than once.
    """
    if limit or not again or not _may_be_kept(source, split):
        return source.batches(split).take(limit or -1), 0
    with explained(type(source).__name__, DataError, OTHER_GRAPH):
        kept = _in_order(source, split).cache().repeat()
        # One is made ahead, no more: it waits in memory for the next evaluation.
        convert = native(lambda _, record: to_batch(source, record))
        number = -(-source.count(split) // source.batch_size)
        return in_threads(kept.map(convert, 1), source), number


def _may_be_kept(source: Source, split: str) -> bool:
    # Batches that are filled up with padding may take many times what their records do.
    decodes = source.overrides("decode") and source.padding is None
    if not decodes or source.overrides("batches") or not source.in_memory(split):
        return False
    held = {split, *filter(source.in_memory, [source.training_split])}
    return fit_in_memory(source, held)


def check_settings(source: Source) -> None:
    """Chooses the split to evaluate; raises ConfigError if a setting is out of its range."""
    if source.validation_share:
        source.evaluation_split = VALIDATION
    for name in ("batch_size", "shuffle_buffer"):
        check_at_least(1, "data", **{name: getattr(source, name)})
    for name in ("shuffle_mb", "parallel_calls"):
        check_at_least(0, "data", **{name: getattr(source, name)})
    # Each call holds a batch, so that there is a limit on large machines.
    usual = min(max(cores() // runs(), 2), MOST_CALLS)
    source.parallel_calls = source.parallel_calls or usual
    check_at_least(0, "data", buckets=source.buckets or 0)
    if not isinstance(source.seed, numbers.Integral) or not 0 <= source.seed < 2**31:
        raise ConfigError(f"data: found seed={source.seed!r}; expected 0 to 2**31 - 1")
    for name in ("memory_fraction", "balance", "validation_share"):
        value: Any = getattr(source, name)
        if not isinstance(value, numbers.Real) or not 0 <= value <= 1:
            found = f"{name}={value!r}"
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
