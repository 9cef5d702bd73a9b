"""Files that are complete as soon as they have their name, and directories of new runs."""

from __future__ import annotations

import contextlib
import datetime
import os
import uuid
from typing import IO, Any, Iterator, Sequence

from ..errors import ConfigError, RunError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Opens a binary file that gets its name, `path`, only when the block ends without an error.

    Nobody ever reads half a file. An error leaves nothing, kill -9 a `.part` file that nobody
    reads. Creates the directory.

    Raises:
        RunError: the operating system refuses to write.
    """
    # Unique, so that two processes may write one file at a time: the last one wins.
    part = f"{os.fspath(path)}.{uuid.uuid4().hex}.part"
    try:
        os.makedirs(os.path.dirname(part) or ".", exist_ok=True)
        # Not tempfile: what it makes only its owner may read, even under its final name.
        with open(part, "xb") as file:
            yield file
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(part)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise RunError(
                f"{path}: cannot be written ({reason}); choose a directory that is writable and "
                "has room"
            ) from error
        raise


def check_target(path: str, source: Any, *endings: str, inputs: Sequence[str] = ()) -> None:
    """Raises ConfigError if what a command writes would replace data, or a file of another kind.

    Args:
        path: what is written; "" is nothing.
        source: the dataset.
        endings: of what the command writes.
        inputs: what it reads besides the dataset's files.
    """
    if not os.path.exists(path):
        return
    read = list(inputs)
    for split in source.splits:
        with contextlib.suppress(Exception):  # the data need not be there
            read += type(source).files(source, split)  # its own, whatever is predicted from
    if any(os.path.exists(file) and os.path.samefile(file, path) for file in read):
        raise ConfigError(f"file={path}: is one of the files that are read; choose another")
    if not path.lower().endswith(endings):
        raise ConfigError(
            f"file={path}: exists, and its name does not end in {' or '.join(endings)} as what is "
            "written here; choose another, or remove it"
        )


def make_directory(path: str) -> None:
    """Creates a directory of a run, unless it is there; raises RunError where it cannot be."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be created ({error.strerror}); set run_dir to a directory you may "
            "write to"
        ) from None


def new_directory(name: str) -> str:
    """Creates `runs/<time>_<name>`, with a number behind it if that is taken."""
    stem = os.path.join("runs", f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}_{name}")
    path, number = stem, 1
    while True:
        try:
            os.makedirs("runs", exist_ok=True)
            os.mkdir(path)  # fails if another run has just made it
            return path
        except FileExistsError:
            number += 1
            path = f"{stem}_{number}"
        except OSError as error:
            raise RunError(f"{path}: cannot be created ({error.strerror}); set run_dir") from None
