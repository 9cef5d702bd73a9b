"""Errors that a person can fix: shown in one line, without a stack trace.

A message says what was found, what was expected and what to do next. Everything else that is
raised is a bug, in your code or in ours, and keeps its stack trace.
"""

from __future__ import annotations

import numbers
from typing import Any


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


def check_at_least(least: float, place: str, **values: Any) -> None:
    """Raises ConfigError if one of the values, or of its numbers, is below the least."""
    for name, value in values.items():
        found = [value] if isinstance(value, numbers.Number) else list(value)
        if not found or min(found) < least:
            raise ConfigError(f"{place}: found {name}={value}; expected {least} or more")
