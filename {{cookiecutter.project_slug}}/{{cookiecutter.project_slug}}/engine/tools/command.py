"""What all commands share: --help, errors in one line, exit codes."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Callable

from ..errors import RunError, UserError


class Output:
    """A text stream; when it can be written no more, as of a closed terminal, it is dropped.

    Args:
        stream: standard output or error.
        needed: whether the command then ends: with 0 after `| head`, which has read enough.
    """

    def __init__(self, stream: Any, needed: bool = False) -> None:
        self._stream = stream
        self.needed = needed
        if hasattr(stream, "buffer"):  # for bytes
            self.buffer = Output(stream.buffer, needed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._do(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._do(self._stream.flush)

    def _do(self, action: Callable[..., Any], *arguments: str) -> None:
        try:
            action(*arguments)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if self.needed and isinstance(error, BrokenPipeError):
                raise SystemExit(0) from None
            if self.needed:
                raise RunError(f"standard output: cannot be written ({error.strerror})") from None


def run_command(
    command: Callable[[list[str]], int], description: str, needs_reader: bool = True
) -> int:
    """Runs a command; a user's error ends in one line and an exit code, not in a stack trace.

    Args:
        command: takes the words of the command line, returns the exit code.
        description: what --help prints.
        needs_reader: whether the command is pointless when nobody reads what it prints.
    """
    arguments = sys.argv[1:]
    null = os.open(os.devnull, os.O_RDWR)
    while null < 3:  # one of the three is closed: else a file of the run would take its place
        null = os.dup(null)
    sys.stdout = output = Output(sys.stdout or os.fdopen(null, "w"), needs_reader)
    sys.stderr = Output(sys.stderr or os.fdopen(null, "w"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a path that its encoding lacks is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if {"-h", "--help"} & set(arguments):
            print(description.strip())
            return 0
        code = command(arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        output.needed = False  # the exit code is decided
        output.flush()
