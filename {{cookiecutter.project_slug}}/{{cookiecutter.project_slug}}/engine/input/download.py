"""Fetches the four files of MNIST: from mirrors in turn, checked before they are trusted."""

from __future__ import annotations

import gzip
import logging
import os
import re
import urllib.request
import zlib
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

from ..errors import DataError
from ..run.files import atomic_write

logger = logging.getLogger(__name__)

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
OFFICIAL = {  # sha256 of each file, unpacked
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SECS = 20  # of each wait for the network
MAX_BYTES = 50 * 2**20  # unpacked: no official file has more, whatever a mirror sends
FAILURES = (OSError, EOFError, HTTPException, ValueError, zlib.error)


def fetch_mnist(directory: str | os.PathLike[str]) -> None:
    """Ensures that `directory` holds four unpacked idx files, MNIST's or your own; or DataError.

    Your own (Fashion-MNIST, say) must be all four, plain or as `<name>.gz`: they are never mixed
    with downloaded ones. Missing files come from the addresses in the environment variable
    MNIST_MIRROR (http, https or file; separated by spaces or commas), then from MIRRORS.
    """
    paths = {name: Path(directory, name) for name in OFFICIAL}
    for path in paths.values():
        packed = path.with_name(f"{path.name}.gz")
        if os.path.exists(packed) and not os.path.exists(path):
            with atomic_write(path) as file:
                file.write(_read(packed))
    missing = [name for name, path in paths.items() if not os.path.exists(path)]
    there = [name for name in OFFICIAL if missing and name not in missing]
    own = [name for name in there if sha256(_read(paths[name])).hexdigest() != OFFICIAL[name]]
    if own:
        raise DataError(
            f"{directory}: found {', '.join(own)} of other data than MNIST, or corrupt, and no "
            f"{', '.join(missing)}; put these there, or choose another data.directory"
        )
    others = _others(directory) if missing else []
    if others:
        raise DataError(
            f"{directory}: found {', '.join(others[:4])}, but no {', '.join(missing)}; rename your "
            "own files so, or set data.directory to an empty one for MNIST to be downloaded to"
        )
    for name in missing:
        data = _download(name)  # before the directory is made
        with atomic_write(paths[name]) as file:
            file.write(data)


def _others(directory: str | os.PathLike[str]) -> list[str]:
    """Files that may be meant as data: any others here, and idx files in folders below."""
    here = Path(directory)
    own = [path for path in here.glob("[!.]*") if path.is_file() and _may_be_data(path)]
    own = [path for path in own if path.name not in OFFICIAL and path.stem not in OFFICIAL]
    below = [*here.glob("*/*ubyte*"), *here.glob("*/*/*ubyte*")]
    return sorted(str(path.relative_to(here)) for path in (*own, *below))


def _may_be_data(path: Path) -> bool:
    """By its name, or its first bytes: idx, gzip or zip. A README is none."""
    if re.search("idx|ubyte", path.name):
        return path.suffix != ".part"  # what a killed download leaves
    with path.open("rb") as file:
        return file.read(2) in (b"\0\0", b"\x1f\x8b", b"PK")


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FAILURES as error:
        raise DataError(f"{path}: {error}; put a complete copy there") from error


def _download(name: str) -> bytes:
    # Split where an address starts, so that a file:// path may hold spaces and commas.
    own_mirrors = re.split(r"[\s,]+(?=\w+://)", os.environ.get("MNIST_MIRROR", "").strip(" ,\t\n"))
    failures = []
    for mirror in (*filter(None, own_mirrors), *MIRRORS):
        try:
            with urllib.request.urlopen(f"{mirror.rstrip('/')}/{name}.gz", timeout=SECS) as packed:
                data = gzip.GzipFile(fileobj=packed).read(MAX_BYTES)
            found = sha256(data).hexdigest()
            if found == OFFICIAL[name]:
                return data
            problem = f"{len(data)} bytes of sha256 {found}"
        except FAILURES as error:
            problem = " ".join(str(error).split())  # one line, whatever a server sent
        failures.append(f"{mirror} ({problem})")
        logger.warning("%s.gz: not taken from %s", name, failures[-1])
    raise DataError(
        f"{name}.gz: no mirror has a good copy: {', '.join(failures)}; expected sha256 "
        f"{OFFICIAL[name]}; set MNIST_MIRROR, or put the four files into data.directory"
    )
