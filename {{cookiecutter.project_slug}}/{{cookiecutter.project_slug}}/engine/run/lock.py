"""One process at a time in a run directory."""

from __future__ import annotations

import contextlib
import os
from typing import Iterator

import filelock

from ..errors import RunError


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Holds the kernel's lock of `<directory>/lock`, which ends with this process at the latest.

    The file stays; it means nothing by itself.

    Raises:
        RunError: another process holds the lock, or the file system has no locks.
    """
    path = os.path.join(directory, "lock")
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(
            f"{directory}: in use by another process; wait until it ends, or set run_dir to "
            "another directory"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{path}: cannot be locked ({reason}); set run_dir to a directory on a file system "
            "that you may write to and that has locks"
        ) from None
    try:
        yield
    finally:
        lock.release()
