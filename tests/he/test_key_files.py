import os
import stat

import pytest

from fedpriv.errors import UserError
from fedpriv.he.key_files import read_private, read_public, require_unwritable, write_private


def test_what_was_written_is_read_again_and_nothing_else_is_left(tmp_path):
    write_private(tmp_path / "key", b"secret")
    assert read_private(tmp_path / "key", 6) == b"secret"
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_file_has_mode_0600_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_private(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_no_byte_is_written_before_the_mode_is_right(tmp_path, monkeypatch):
    seen = []
    opening = os.open

    def watched(path, flags, mode=0o777, **options):
        descriptor = opening(path, flags, mode, **options)
        if flags & os.O_CREAT:
            seen.append((stat.S_IMODE(os.fstat(descriptor).st_mode), os.fstat(descriptor).st_size))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        write_private(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert seen == [(0o600, 0)]


@pytest.mark.parametrize("durable", [True, False])
def test_file_and_folder_are_synced_only_where_asked(tmp_path, monkeypatch, durable):
    synced = []
    fsync = os.fsync

    def watched(descriptor):
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_private(tmp_path / "key", b"secret", durable)
    assert synced == ([False, True] if durable else [])


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_exists_is_never_replaced(tmp_path, kind):
    path = tmp_path / "mine"
    if kind == "file":
        path.write_bytes(b"precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="mine: exists already"):
        write_private(path, b"secret")
    assert list(tmp_path.iterdir()) == [path]
    assert kind != "file" or path.read_bytes() == b"precious"


def test_what_appears_during_the_writing_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "mine"
    fsync = os.fsync

    def racing(descriptor):
        path.write_bytes(b"precious")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", racing)
    with pytest.raises(UserError, match="exists already"):
        write_private(path, b"secret")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="cannot write the key: No space left"):
        write_private(tmp_path / "key", b"secret")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere/key: cannot write the key"):
        write_private(tmp_path / "nowhere" / "key", b"secret")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_secret_that_others_may_access_is_refused_but_a_public_file_is_read(tmp_path, mode):
    path = tmp_path / "key"
    path.write_bytes(b"data")
    path.chmod(mode)
    with pytest.raises(UserError, match="chmod 600"):
        read_private(path, 10)
    assert read_public(path, 10) == b"data"


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o770, 0o1777, 0o775])
def test_a_secret_in_a_folder_that_others_may_write_is_refused(tmp_path, mode):
    """They could put another in its place; in a sticky folder, where it is not there yet."""
    write_private(tmp_path / "key", b"secret")
    tmp_path.chmod(mode)
    for path in (tmp_path / "key", tmp_path / "." / "key"):
        with pytest.raises(UserError) as refused:
            read_private(path, 10)
        assert str(refused.value) == (
            f"{tmp_path}: mode {mode:04o} lets others put another key there; run chmod go-w on it"
        )
    assert read_public(tmp_path / "key", 10) == b"secret"
    tmp_path.chmod(0o755)
    assert read_private(tmp_path / "key", 10) == b"secret"


def test_of_a_link_its_folder_and_the_files_count(tmp_path):
    for name in ("links", "files"):
        (tmp_path / name).mkdir(mode=0o700)
    write_private(tmp_path / "files" / "key", b"secret")
    link = tmp_path / "links" / "key"
    link.symlink_to(tmp_path / "files" / "key")
    assert read_private(link, 10) == b"secret"
    for name in ("links", "files"):
        (tmp_path / name).chmod(0o770)
        with pytest.raises(UserError, match=f"{name}: mode 0770 lets others"):
            read_private(link, 10)
        (tmp_path / name).chmod(0o700)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o664, 0o666])
def test_a_public_file_that_others_may_write_is_named_by_who_asks(tmp_path, mode):
    path = tmp_path / "list"
    path.write_bytes(b"data")
    for fine in (0o600, 0o644, 0o444):
        path.chmod(fine)
        require_unwritable(path)
    path.chmod(mode)
    with pytest.raises(UserError, match=f"list: mode {mode:04o} lets others put another list there"):
        require_unwritable(path)


@pytest.mark.parametrize("read", [read_private, read_public])
def test_a_long_file_is_refused_before_it_is_read(tmp_path, read):
    write_private(tmp_path / "key", b"")
    os.truncate(tmp_path / "key", 10**12)
    with pytest.raises(UserError, match="1000000000000 bytes, at most 100 expected"):
        read(tmp_path / "key", 100)


@pytest.mark.parametrize("read", [read_private, read_public])
def test_folders_pipes_devices_and_missing_files_are_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in (".", "pipe", "device", "missing"):
        with pytest.raises(UserError):
            read(tmp_path / name, 100)
