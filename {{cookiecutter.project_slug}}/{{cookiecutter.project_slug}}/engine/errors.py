"""Errors that a person can fix: shown in one line, without a stack trace.

A message says what was found, what was expected and what to do next. Everything else that is
raised is a bug, in your code or in ours, and keeps its stack trace.
"""

from __future__ import annotations

import contextlib
import numbers
import re
from typing import Any, Iterable, Iterator

OTHER_GRAPH = "must be from the same graph"
# What TensorFlow says -> what to do about it; the first that is found counts.
ADVICE = {
    OTHER_GRAPH: "make tensors inside call, loss or convert, and weights in build",
    r"has type \w+ that does not match|that don't all match|conversion requested dtype"
    r"|floating[- ]point dtype|not in list of allowed values|^Expected \w+(,| passed)": (
        "change the type, as by tf.cast(labels, tf.float32)"
    ),
    r"__ returned non-int \(type None|Dimension\(None\)|(Contents:|elements of) .*\bNone\b": (
        "a size is not known before, as that of a batch; take tf.shape(x)[0] for x.shape[0]"
    ),
    r"(?i)\b(re|\w+_)?shapes?\b|\bdimensions?\b|\b(rank|\w*ndim)\b": "",
}


class UserError(Exception):
    """The base of the errors below; a command prints it and exits with `exit_code`."""

    exit_code = 1


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or contradicts another."""

    exit_code = 2


class DataError(UserError):
    """A data file is missing, corrupt or of another format."""


class ModelError(UserError):
    """A model breaks the contract of `model.Model`."""


class RunError(UserError):
    """A run directory cannot be used, or training cannot continue."""


class NotFiniteError(RunError):
    """A number of a training step is NaN or infinite."""


@contextlib.contextmanager
def explained(what: str, kind: type[UserError], *known: str) -> Iterator[None]:
    """Turns errors of TensorFlow's about the methods of a person into one line.

    Args:
        what: the class and method.
        kind: what to raise.
        known: keys of ADVICE; default: all.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        # The last one: AutoGraph puts its own trace before it.
        text = re.split(r"(?:Type|Value)Error: ", str(error))[-1].strip()
        text = re.split(r"\n| \(graphs are", text)[0].rstrip(".")
        for pattern in known or ADVICE:
            if re.search(pattern, text):
                raise kind("; ".join(filter(None, [f"{what}: {text}", ADVICE[pattern]]))) from error
        raise


def check_at_least(least: float, place: str, **values: Any) -> None:
    """Raises ConfigError if one of the values, or of its numbers, is below the least.

    If that is an integer, so must they be.
    """
    kind: Any = numbers.Integral if isinstance(least, int) else numbers.Real
    for name, value in values.items():
        found = [*value] if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        if not all(isinstance(each, kind) and not isinstance(each, bool) for each in found):
            expected = f"{'integers' if isinstance(least, int) else 'numbers'}, {least} or more"
            raise ConfigError(f"{place}: found {name}={value!r}; expected {expected}")
        if not found or min(found) < least:
            raise ConfigError(f"{place}: found {name}={value}; expected {least} or more")
