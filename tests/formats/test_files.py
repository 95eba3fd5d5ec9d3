"""Opening what others wrote, and writing all or nothing."""

import os
import resource
from pathlib import Path

import pytest

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.files import atomic_output, check_input, open_input, read_input


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_regular_file_is_read_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_input(path, 5) == b"12345"
    with open_input(path) as file:
        assert file.read() == b"12345"
    with pytest.raises(FormatError, match="5 bytes, the limit is 4"):
        read_input(path, 4)


@pytest.mark.parametrize("name", ["missing", ".", "pipe", "a\0b"])
def test_everything_else_is_refused_without_waiting(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    before = len(names(Path("/proc/self/fd")))
    with pytest.raises(FormatError):
        open_input(tmp_path / name)
    assert len(names(Path("/proc/self/fd"))) == before


def test_links_are_followed_inside_the_folder_and_not_out_of_it(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"1")
    (tmp_path / "secret").write_bytes(b"2")
    (root / "inside").symlink_to("file")
    (root / "outside").symlink_to("../secret")
    assert read_input(root / "inside", 9, root) == b"1"
    check_input(root / "inside", 9, root)
    before = len(names(Path("/proc/self/fd")))
    for read in (read_input, check_input):
        with pytest.raises(FormatError, match="a symbolic link that leaves"):
            read(root / "outside", 9, root)
    assert len(names(Path("/proc/self/fd"))) == before
    assert read_input(root / "outside", 9) == b"2"


def test_the_file_is_private_and_replaces_the_old_one_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_output(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    def write():
        with atomic_output(tmp_path / "file") as file:
            for _ in range(8):
                file.write(bytes(2**20))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**20, hard))
    try:
        with pytest.raises(UserError, match="more space"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_errors_of_others_pass_through_unchanged(tmp_path):
    def write():
        with atomic_output(tmp_path / "file"):
            (tmp_path / "missing").read_bytes()

    with pytest.raises(FileNotFoundError):
        write()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "file", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be written"), atomic_output(path):
            pass
    assert names(tmp_path) == ["folder"]
