"""What all commands share: --help, errors in one line, exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Callable

from ..errors import UserError


def run_command(command: Callable[[list[str]], int], description: str) -> int:
    """Runs a command; a user's error ends in one line and an exit code, not in a stack trace.

    Args:
        command: takes the words of the command line, returns the exit code.
        description: what --help prints.
    """
    arguments = sys.argv[1:]
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        # Ctrl-C ends the process at once; a KeyboardInterrupt could get lost in TensorFlow.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if {"-h", "--help"} & set(arguments):
            print(description.strip(), flush=True)
            return 0
        return command(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # of `| head`, say, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
