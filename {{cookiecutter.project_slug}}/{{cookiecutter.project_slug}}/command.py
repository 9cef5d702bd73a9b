"""What all commands share: --help, errors in one line, exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Callable

from .errors import UserError


def run_command(command: Callable[[list[str]], int], description: str) -> int:
    """Runs a command; a mistake ends in one line and an exit code, not in a stack trace.

    Args:
        command: takes the words of the command line, returns the exit code.
        description: what --help prints.
    """
    arguments = sys.argv[1:]
    # So that what has been begun is cleaned up; while it trains, training handles signals.
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        # A job of a sweep inherits that SIGTERM is ignored; SIGHUP is, by nohup.
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
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
    except KeyboardInterrupt:
        return 130
