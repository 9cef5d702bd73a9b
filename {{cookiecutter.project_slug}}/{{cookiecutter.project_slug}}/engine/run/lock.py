"""One process at a time in a run directory."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import uuid
from typing import Any, Iterator

from ..errors import RunError

_held: set[str] = set()


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Holds `<directory>/lock`, made by O_EXCL because that also works on NFS and Windows.

    The lock of a process of this host that is gone is taken over.

    Raises:
        RunError: another process holds the lock, or it cannot be written.
    """
    path = os.path.abspath(os.path.join(directory, "lock"))
    while not _made(path):
        holder = _read(path)
        if not (_is_dead(holder, path) and _removed(path, holder)):
            raise RunError(
                f"{directory}: in use by process {holder.get('process', '?')} on "
                f"{holder.get('host', '?')}; if that is over, remove {path}"
            )
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        with contextlib.suppress(FileNotFoundError):  # a person may have removed it
            os.remove(path)


def _made(path: str) -> bool:
    try:
        with open(path, "x", encoding="utf-8") as file:
            holder = {"host": platform.node(), "process": os.getpid(), "id": uuid.uuid4().hex}
            json.dump(holder, file)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(path)
        raise RunError(f"{path}: cannot be written ({error.strerror})") from None


def _removed(path: str, holder: dict[str, Any]) -> bool:
    """Removes the lock of a dead process; False if another process is doing so."""
    claim = f"{path}.{holder.get('id')}"
    if not _made(claim):
        return False
    # With the claim, nobody else removes this lock. Without it, two that saw it dead could both
    # remove what is there: the slower one the new lock of the quicker.
    if _read(path) == holder:
        os.remove(path)
    os.remove(claim)
    return True


def _is_dead(holder: dict[str, Any], path: str) -> bool:
    """Whether the process of a lock is known to be gone; only this host's can be asked."""
    if holder.get("host") != platform.node():
        return False
    if holder["process"] == os.getpid():  # a restarted container gives the same numbers again
        return path not in _held
    if os.name == "nt":  # there, os.kill would kill
        return False
    try:
        os.kill(holder["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {}
