"""Fetching MNIST, from mirrors that hold small files instead of the real ones."""

import contextlib
import gzip
import hashlib
import http.server
import os
import threading

import pytest
from my_project.engine.errors import UserError
from my_project.engine.input import download
from my_project.engine.input.idx import check_pair

NAMES = list(download.OFFICIAL)
RAW = {name: f"this is {name}".encode() * 99 for name in NAMES}
GZ = {name: gzip.compress(raw) for name, raw in RAW.items()}
REAL_OFFICIAL = dict(download.OFFICIAL)


@pytest.fixture(autouse=True)
def official(monkeypatch):
    """Declares RAW to be the official files, and takes the network away."""
    sums = {name: hashlib.sha256(raw).hexdigest() for name, raw in RAW.items()}
    monkeypatch.setattr(download, "OFFICIAL", sums)
    monkeypatch.setattr(download, "MIRRORS", ())
    monkeypatch.delenv("MNIST_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def mirror(tmp_path):
    """A directory with the four compressed files; `mirror.as_uri()` is its address."""
    return fill(tmp_path / "my mirror, ö", {f"{name}.gz": gz for name, gz in GZ.items()})


def fill(directory, files):
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def holds_mnist(directory):
    """Whether the directory holds the four official files and nothing else."""
    return {path.name: path.read_bytes() for path in directory.iterdir()} == RAW


def failure(directory):
    """Returns what the error says that fetching into `directory` raises."""
    with pytest.raises(UserError) as caught:
        download.fetch_mnist(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextlib.contextmanager
def serve(answer):
    """Serves http on this machine; `answer(path)` returns status, Content-Length and body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, length, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("quoted", [True, False])
def test_the_four_files_come_unpacked_from_a_file_mirror(
    tmp_path, mirror, monkeypatch, capfd, slash, quoted
):
    # Spaces, a comma and a letter beyond ASCII may be percent-encoded or not.
    address = mirror.as_uri() if quoted else "file:///" + mirror.as_posix().lstrip("/")
    monkeypatch.setenv("MNIST_MIRROR", address + slash)
    download.fetch_mnist(tmp_path / "made" / "on the way")
    assert holds_mnist(tmp_path / "made" / "on the way")
    assert capfd.readouterr() == ("", "")  # no progress bar where there is no terminal


def test_an_http_mirror_with_missing_and_truncated_files_is_skipped(
    tmp_path, mirror, monkeypatch, caplog
):
    asked = []

    def answer(path):
        asked.append(path)
        name = path.split("/")[-1][: -len(".gz")]
        if "labels" in name:
            return 404, 0, b""
        half = len(GZ[name]) // 2 if "train" in name else len(GZ[name])
        return 200, len(GZ[name]), GZ[name][:half]

    with serve(answer) as address:
        monkeypatch.setenv("MNIST_MIRROR", f"{address}/base/ {mirror.as_uri()}")
        download.fetch_mnist(tmp_path / "mnist")
        monkeypatch.setenv("MNIST_MIRROR", address)
        text = failure(tmp_path / "other")
    assert holds_mnist(tmp_path / "mnist")
    assert {f"/base/{name}.gz" for name in NAMES} <= set(asked)
    skipped = [record.getMessage() for record in caplog.records]
    assert sum("/base/ (HTTP Error 404: Not Found)" in line for line in skipped) == 2
    assert sum("/base/ (Compressed file ended before" in line for line in skipped) == 1
    assert f"{address} (" in text


@pytest.mark.parametrize("separator", [" ", ",", ", ", "\n"])
def test_mirrors_are_tried_in_order_until_one_has_the_right_bytes(
    tmp_path, mirror, monkeypatch, separator
):
    wrong = fill(tmp_path / "wrong", {f"{name}.gz": gzip.compress(b"wrong") for name in NAMES})
    cut = fill(tmp_path / "cut", {f"{name}.gz": gz[:-9] for name, gz in GZ.items()})
    addresses = [wrong.as_uri(), cut.as_uri(), (tmp_path / "nowhere").as_uri(), mirror.as_uri()]
    monkeypatch.setenv("MNIST_MIRROR", separator.join(addresses))
    download.fetch_mnist(tmp_path / "mnist")
    assert holds_mnist(tmp_path / "mnist")


def test_the_public_mirrors_are_asked_only_after_your_own(tmp_path, mirror, monkeypatch, caplog):
    nowhere = (tmp_path / "nowhere").as_uri()
    for own, public, skipped in ((mirror.as_uri(), nowhere, 0), (nowhere, mirror.as_uri(), 4)):
        monkeypatch.setenv("MNIST_MIRROR", own)
        monkeypatch.setattr(download, "MIRRORS", (public,))
        download.fetch_mnist(tmp_path / f"mnist{skipped}")
        assert holds_mnist(tmp_path / f"mnist{skipped}")
        assert len(caplog.records) == skipped


def test_when_no_mirror_helps_one_line_says_why_and_nothing_is_left(tmp_path, monkeypatch):
    wrong = {f"{name}.gz": gzip.compress(b"wrong") for name in NAMES}
    wrong = fill(tmp_path / "wrong", wrong)
    plain = fill(tmp_path / "plain", {f"{name}.gz": b"plain" for name in NAMES})
    monkeypatch.setenv("MNIST_MIRROR", f"{wrong.as_uri()} {plain.as_uri()} foo://bar")
    monkeypatch.setattr(download, "MIRRORS", ((tmp_path / "nowhere").as_uri(),))
    text = failure(tmp_path / "mnist")
    assert text.startswith("train-images-idx3-ubyte.gz: no mirror has a good copy: ")
    found = hashlib.sha256(b"wrong").hexdigest()
    assert f"{wrong.as_uri()} (5 bytes of sha256 {found})" in text
    assert f"{plain.as_uri()} (Not a gzipped file" in text
    assert "foo://bar (<urlopen error unknown url type: foo>)" in text
    assert "nowhere (<urlopen error" in text
    expected = download.OFFICIAL["train-images-idx3-ubyte"]
    assert f"; expected sha256 {expected}; set MNIST_MIRROR, or put the four files " in text
    assert not (tmp_path / "mnist").exists()


def test_an_endless_answer_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with serve(lambda _: (200, 10**9, gzip.compress(bytes(10**6)))) as address:
        monkeypatch.setenv("MNIST_MIRROR", address)
        assert "(1000 bytes of sha256 " in failure(tmp_path / "mnist")


def test_four_files_of_your_own_are_left_alone(tmp_path, mirror, monkeypatch):
    own = fill(tmp_path / "own", {name: b"fashion" for name in NAMES})
    monkeypatch.setenv("MNIST_MIRROR", mirror.as_uri())
    download.fetch_mnist(own)
    assert {path.name: path.read_bytes() for path in own.iterdir()} == dict.fromkeys(
        NAMES, b"fashion"
    )


def test_compressed_files_of_your_own_are_unpacked_next_to_them(tmp_path):
    files = {f"{name}.gz": gzip.compress(b"fashion") for name in NAMES}
    own = fill(tmp_path / "own", {**files, NAMES[0]: b"plain"})
    download.fetch_mnist(own)
    assert (own / NAMES[0]).read_bytes() == b"plain"
    assert [(own / name).read_bytes() for name in NAMES[1:]] == [b"fashion"] * 3
    assert len(os.listdir(own)) == 8


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(bytes(99999))[:-9]])
def test_a_corrupt_compressed_file_of_your_own_is_refused_and_kept(tmp_path, content):
    own = fill(tmp_path / "own", {f"{NAMES[0]}.gz": content})
    text = failure(own)
    assert text.startswith(f"{own / NAMES[0]}.gz: ")
    assert text.endswith("; put a complete copy there")
    assert os.listdir(own) == [f"{NAMES[0]}.gz"]


def test_your_own_files_are_never_mixed_with_downloaded_ones(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("MNIST_MIRROR", mirror.as_uri())
    own = fill(tmp_path / "own", {NAMES[0]: b"fashion", NAMES[1]: RAW[NAMES[1]]})
    text = failure(own)
    assert f"found {NAMES[0]} of other data than MNIST, or corrupt, and no {NAMES[2]}, " in text
    assert sorted(os.listdir(own)) == NAMES[:2]


@pytest.mark.parametrize(
    "name",
    [
        "train-images.idx3-ubyte",
        "emnist-letters-train-images-idx3-ubyte",
        "letters.zip",
        "FashionMNIST/raw/train-images-idx3-ubyte",
    ],
)
def test_nothing_is_downloaded_next_to_files_of_other_names(tmp_path, mirror, monkeypatch, name):
    monkeypatch.setenv("MNIST_MIRROR", mirror.as_uri())
    path = tmp_path / "own" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK data")
    text = failure(tmp_path / "own")
    assert f"found {name}, but no {NAMES[0]}, {NAMES[1]}, " in text
    assert [p for p in (tmp_path / "own").rglob("*") if p.is_file()] == [path]


def test_official_files_are_completed_and_leftovers_not_trusted(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("MNIST_MIRROR", mirror.as_uri())
    leftover = f"{NAMES[1]}.0123456789abcdef.part"  # as after kill -9
    others = {leftover: b"half", "README.md": b"from a mirror"}
    mnist = fill(tmp_path / "mnist", {NAMES[0]: RAW[NAMES[0]], **others})
    download.fetch_mnist(mnist)
    assert {name: (mnist / name).read_bytes() for name in NAMES} == RAW


def test_a_directory_that_is_a_file_is_refused_in_one_line(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("MNIST_MIRROR", mirror.as_uri())
    (tmp_path / "mnist").write_bytes(b"")
    assert "cannot be written" in failure(tmp_path / "mnist")


def test_a_full_disk_is_told_from_a_bad_mirror_and_nothing_is_left(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("MNIST_MIRROR", mirror.as_uri())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "cannot be written (No space left on device)" in failure(tmp_path / "mnist")
    assert os.listdir(tmp_path / "mnist") == []


REAL_MIRROR = os.environ.get("MNIST_MIRROR", "")


@pytest.mark.skipif(not REAL_MIRROR, reason="needs MNIST_MIRROR, the address of the real files")
def test_the_real_files_have_the_declared_sums_and_shapes(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "OFFICIAL", REAL_OFFICIAL)
    monkeypatch.setenv("MNIST_MIRROR", REAL_MIRROR)
    download.fetch_mnist(tmp_path)
    for split, count in (("train", 60000), ("t10k", 10000)):
        images, labels = (
            tmp_path / f"{split}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")
        )
        assert check_pair(images, labels)[0] == ((count, 28, 28), 16, 784)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    download.fetch_mnist(tmp_path)  # the other three are known to be official
    assert sorted(os.listdir(tmp_path)) == sorted(NAMES)
