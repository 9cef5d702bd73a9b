"""Files that are complete as soon as they have their name."""

import os

import pytest
from my_project.engine.errors import RunError
from my_project.engine.run.files import atomic_write


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path, interruption):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half():
        with atomic_write(path) as file:
            file.write(b"half of the new")
            file.flush()
            assert path.read_bytes() == b"old"
            raise interruption

    with pytest.raises((KeyboardInterrupt, RunError)):
        write_half()
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_that_cannot_be_written_to_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    message = r"file/new: cannot be written \(.*\); choose a directory that is writable"
    with pytest.raises(RunError, match=message), atomic_write(tmp_path / "file" / "new"):
        pass
