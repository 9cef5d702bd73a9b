"""Fetches the four files of MNIST: from mirrors in turn, checked before they are trusted."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import re
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import IO, Iterator

from tqdm import tqdm

from ..errors import DataError
from ..run.files import atomic_write

log = logging.getLogger(__name__)

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
# sha256 of each official file: compressed (`<name>.gz`, as mirrors serve it) and unpacked.
OFFICIAL = {
    "train-images-idx3-ubyte": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
TIMEOUT_SECS = 20  # of each wait for the network
MAX_BYTES = 10 * 2**20  # more than any official file: what a broken mirror sends is bounded


def fetch_mnist(directory: str | os.PathLike[str]) -> None:
    """Ensures that `directory` holds four unpacked idx files: those of MNIST, or your own.

    Your own files (Fashion-MNIST, say) must be all four, plain or as `<name>.gz`: they are never
    mixed with downloaded ones. Otherwise what is missing is downloaded, first from the addresses
    in the environment variable MNIST_MIRROR (http, https or file; several separated by spaces or
    commas), then from MIRRORS. Raises DataError.
    """
    directory = Path(directory)
    try:
        present = set(os.listdir(directory))
    except FileNotFoundError:
        present = set()
    except OSError as error:
        raise DataError(f"{directory}: {error.strerror}; choose another data.directory") from error
    for name in OFFICIAL:
        if name not in present and f"{name}.gz" in present:
            _unpack(directory / f"{name}.gz", directory / name)
            present.add(name)
    missing = [name for name in OFFICIAL if name not in present]
    if missing:
        own = [name for name in OFFICIAL if name in present and not _is_official(directory / name)]
        if own:
            raise DataError(
                f"{directory}: found {', '.join(own)} of another data set than MNIST (or damaged), "
                f"and no {', '.join(missing)}; put the missing files of that data set there, or "
                "choose another data.directory"
            )
    for name in missing:
        _unpack(io.BytesIO(_download(name, directory)), directory / name)


def _is_official(path: Path) -> bool:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(2**20), b""):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; put a readable idx file there") from error
    return digest.hexdigest() == OFFICIAL[path.name][1]


def _unpack(compressed: Path | IO[bytes], path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        # Caught here, so that errors of reading are not taken for errors of writing.
        try:
            with gzip.open(compressed) as file:
                chunk = file.read(2**20)
                if not chunk:  # gzip finds no fault with an empty file
                    raise EOFError("it is empty")
                while chunk:
                    yield chunk
                    chunk = file.read(2**20)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"{path}.gz: cannot be unpacked ({error}); delete it or put a whole copy there"
            ) from error

    with atomic_write(path) as file:
        file.writelines(chunks())


def _download(name: str, directory: Path) -> bytes:
    """Returns the official `<name>.gz` from the first mirror that has it."""
    # Split where an address begins, so that a file:// path may hold spaces and commas.
    own_mirrors = re.split(r"[\s,]+(?=\w+://)", os.environ.get("MNIST_MIRROR", "").strip(" ,\t\n"))
    failures = []
    for mirror in (*filter(None, own_mirrors), *MIRRORS):
        try:
            data = _read(f"{mirror.rstrip('/')}/{name}.gz", OFFICIAL[name][0])
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"{mirror} ({_reason(error)})")
            continue
        if failures:
            log.warning("%s.gz: taken from %s, not from %s", name, mirror, ", ".join(failures))
        return data
    raise DataError(
        f"{name}.gz: no mirror has a good copy: {', '.join(failures)}; set MNIST_MIRROR to one "
        f"that has, or put the four files of MNIST into {directory}"
    )


def _read(url: str, expected: str) -> bytes:
    """Returns what is at `url`; raises ValueError unless its sha256 is the expected one."""
    data = bytearray()  # at most 10 MB: in memory there is no half-written file to clean up
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECS) as response, tqdm(
        desc=os.path.basename(url),
        total=int(response.headers.get("Content-Length", 0)) or None,
        unit="B",
        unit_scale=True,
        disable=None,  # silent unless it writes to a terminal
    ) as bar:
        while len(data) <= MAX_BYTES:
            chunk = response.read(2**16)
            if not chunk:
                break
            data += chunk
            bar.update(len(chunk))
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{len(data)} bytes with sha256 {found[:8]}… instead of {expected[:8]}…")
    return bytes(data)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    cause = getattr(error, "reason", error)  # URLError wraps what really happened
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(text.split())  # one line, whatever a server sent
