"""A file that only grows: durable before anyone acts on it, and nothing vanishes from it unnoticed."""

import hashlib
import json
import os
import stat
import threading

import pytest

from fedpriv.errors import UserError
from fedpriv.journal import Journal, own_folder, require_place


class Notes:
    """A journal of numbers, and what was taken from it."""

    def __init__(self, path):
        self.taken = []
        self.journal = Journal(path, self.take, "mend it")

    def take(self, entry):
        if entry["event"] != "note":
            raise ValueError
        self.taken.append(entry["number"])

    def write(self, *numbers):
        with self.journal.writing() as append:
            append([{"event": "note", "number": number} for number in numbers])

    def read(self):
        with self.journal.reading():
            return list(self.taken)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "own" / "notes.jsonl"


@pytest.fixture
def written(path):
    notes = Notes(path)
    notes.write(1, 2)
    notes.write(3)
    return path


def head(path):
    return path.with_name(f"{path.name}.head")


def refused(path, match):
    before = path.read_bytes() if path.is_file() else b""
    for use in (Notes.read, lambda notes: notes.write(9)):
        with pytest.raises(UserError, match=match) as caught:
            use(Notes(path))
        assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)
        assert (path.read_bytes() if path.is_file() else b"") == before


def test_lines_of_one_call_share_one_sync_that_precedes_the_return(path, monkeypatch):
    Notes(path).write(0)
    synced = []
    fsync = os.fsync

    def watched(descriptor):
        fsync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", watched)
    Notes(path).write(*range(1, 100))
    assert [size for inode, size in synced if inode == path.stat().st_ino] == [path.stat().st_size]
    assert len(synced) == 2  # the lines, the head


def test_the_new_name_is_synced_with_the_first_line(path, monkeypatch):
    folders = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (folders.append(stat.S_ISDIR(os.fstat(fd).st_mode)), fsync(fd))[1]
    )
    Notes(path).write(1)
    assert True in folders


def test_each_line_holds_the_digest_of_the_one_before(written):
    previous = "0" * 64
    lines = written.read_bytes().splitlines(keepends=True)
    for line in lines:
        assert json.loads(line)["previous"] == previous
        previous = hashlib.sha256(line).hexdigest()
    assert json.loads(head(written).read_bytes()) == {"lines": 3, "sha256": previous}


def test_what_one_object_appends_every_other_sees_when_it_next_looks(path):
    first, second = Notes(path), Notes(path)
    first.write(1)
    second.write(2)
    assert first.read() == second.read() == Notes(path).read() == [1, 2]


def test_threads_that_share_one_object_lose_nothing(path):
    notes = Notes(path)
    threads = [threading.Thread(target=lambda n=n: [notes.write(n) for _ in range(5)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Notes(path).read()) == sorted(list(range(8)) * 5)
    assert sorted(notes.read()) == sorted(list(range(8)) * 5)


def test_files_and_folder_are_the_owners_alone_whatever_the_umask(path):
    before = os.umask(0)
    try:
        Notes(path).write(1)
    finally:
        os.umask(before)
    assert {each.name for each in path.parent.iterdir()} == {path.name, head(path).name}
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_edge_reading_what_was_never_written_makes_no_file(path):
    assert Notes(path).read() == []
    assert not path.parent.exists()


def test_edge_a_folder_that_cannot_be_looked_into_is_not_an_empty_journal(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be kept"):
        Notes(tmp_path / "file" / "notes").read()


def test_edge_every_changed_byte_is_refused(written):
    data = written.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x20 if position < len(data) - 1 else 0x40
        written.write_bytes(bytes(damaged))
        with pytest.raises(UserError, match=r"line \d.*mend it|cut.*mend it"):
            Notes(written).read()


def test_edge_lines_taken_out_put_in_or_reordered_are_refused(written):
    lines = written.read_bytes().splitlines(keepends=True)
    for wrong in (
        lines[1:],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [*lines, lines[-1]],
        [lines[0], lines[0], *lines[1:]],
    ):
        written.write_bytes(b"".join(wrong))
        refused(written, r"line \d: does not follow the line before.*mend it")
    for wrong in ([*lines, b"{}\n"], [*lines, b"\n"], [*lines, b"[1]\n"], [*lines, b'"a"\n']):
        written.write_bytes(b"".join(wrong))
        refused(written, "line 4: damaged; mend it")


def test_edge_a_line_that_take_refuses_is_damage(written):
    previous = hashlib.sha256(written.read_bytes().splitlines(keepends=True)[-1]).hexdigest()
    with written.open("ab") as file:
        file.write(json.dumps({"previous": previous, "event": "other"}).encode() + b"\n")
    refused(written, "line 4: damaged; mend it")


def test_an_entry_that_take_refuses_is_not_kept_and_what_was_there_stays_readable(path):
    notes = Notes(path)
    for _ in range(2):
        with (
            pytest.raises(UserError, match=r"notes\.jsonl: line \d does not fit .* was not kept"),
            notes.journal.writing() as append,
        ):
            append([{"event": "note", "number": 1}, {"event": "other"}, {"event": "note", "number": 2}])
    assert notes.read() == Notes(path).read() == [1, 1]
    notes.write(3)
    assert notes.read() == Notes(path).read() == [1, 1, 3]


def test_edge_a_file_that_was_cut_emptied_or_removed_is_refused(written):
    data = written.read_bytes()
    for keep in (0, 1, len(data) // 2, *(i + 1 for i, byte in enumerate(data[:-1]) if byte == 10)):
        written.write_bytes(data[:keep])
        refused(written, r"\d lines of 3: cut; mend it")
    written.unlink()
    with pytest.raises(UserError, match=r"0 lines of 3: cut"):
        Notes(written).read()


def test_edge_a_removed_or_damaged_head_is_refused(written):
    kept = head(written).read_bytes()
    for wrong in (b"", b"{}", b"[]", b"\xff", kept[:-1], b'{"lines": 3, "sha256": "00"}', b" " * 201):
        head(written).write_bytes(wrong)
        refused(written, "damaged; mend it")
    head(written).unlink()
    refused(written, "head: missing; mend it")


def test_edge_an_older_copy_is_refused(written):
    older, notes = written.read_bytes(), Notes(written)
    notes.write(4)
    written.write_bytes(older)
    with pytest.raises(UserError, match="cut while in use"):
        notes.read()
    refused(written, "3 lines of 4: cut")


def test_edge_a_file_replaced_while_in_use_is_refused(written, tmp_path):
    notes = Notes(written)
    notes.read()
    copy = tmp_path / "copy"
    copy.write_bytes(written.read_bytes())
    copy.chmod(0o600)
    copy.rename(written)
    with pytest.raises(UserError, match="replaced"):
        notes.read()


def test_edge_removing_both_files_is_noticed_only_by_who_has_read_them(written):
    notes = Notes(written)
    notes.read()
    written.unlink()
    head(written).unlink()
    assert Notes(written).read() == []
    with pytest.raises(UserError, match=r"replaced|cut"):
        notes.read()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_edge_files_that_others_may_access_are_refused(written, mode):
    written.chmod(mode)
    refused(written, "chmod 600")
    written.chmod(0o600)
    head(written).chmod(mode)
    refused(written, "chmod 600")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720])
def test_edge_a_folder_that_others_may_write_to_is_refused(written, mode):
    written.parent.chmod(mode)
    refused(written, "others may write")


def test_edge_files_and_folders_of_others_are_refused(written, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    refused(written, "chown")


def test_edge_links_pipes_and_folders_are_refused(written, tmp_path):
    own_folder(tmp_path / "linked")
    (tmp_path / "linked" / "a").symlink_to(written)
    refused(tmp_path / "linked" / "a", "cannot be kept")
    (tmp_path / "linked" / "b").hardlink_to(written)
    refused(tmp_path / "linked" / "b", "a link")
    (tmp_path / "linked" / "b").unlink()
    os.mkfifo(tmp_path / "linked" / "c", 0o600)
    refused(tmp_path / "linked" / "c", "no regular file")
    (tmp_path / "linked" / "d").mkdir()
    refused(tmp_path / "linked" / "d", "cannot be kept")
    (tmp_path / "way").symlink_to(written.parent)
    refused(tmp_path / "way" / written.name, "a link, or no folder")
    kept = head(written).rename(tmp_path / "kept")
    head(written).symlink_to(kept)
    refused(written, "cannot be kept")


def test_a_place_is_tried_without_a_trace(tmp_path):
    require_place(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    own_folder(tmp_path / "a")
    require_place(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_place_that_own_folder_would_refuse_is_refused(tmp_path):
    own_folder(tmp_path / "open")
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name, why in (("open", "others may write"), ("link", "a link"), ("broken", "cannot be made")):
        with pytest.raises(UserError, match=why):
            require_place(tmp_path / name)


def test_edge_a_line_torn_anywhere_is_cut_off_and_recorded(written):
    data, kept = written.read_bytes(), head(written).read_bytes()
    Notes(written).write(4, 5)
    both = written.read_bytes()[len(data) :]
    first = both.index(b"\n") + 1
    for length in (*range(1, len(both), 9), first - 1, first, first + 1, len(both) - 1):
        written.write_bytes(data + both[:length])
        head(written).write_bytes(kept)
        whole = [1, 2, 3] if length < first else [1, 2, 3, 4]
        assert Notes(written).read() == whole
        last = json.loads(written.read_bytes().splitlines()[-1])
        if length == first:
            assert last["event"] == "note"
        else:
            torn = both[:length] if length < first else both[first:length]
            assert (last["event"], last["bytes"]) == ("torn", len(torn))
            assert last["sha256"] == hashlib.sha256(torn).hexdigest()
        assert Notes(written).read() == whole


def test_whole_lines_whose_head_was_not_written_count(written):
    kept = head(written).read_bytes()
    Notes(written).write(4)
    head(written).write_bytes(kept)
    assert Notes(written).read() == [1, 2, 3, 4]


def test_a_half_written_head_is_passed_over(written):
    head(written).with_name(f".{head(written).name}").write_bytes(b"{")
    Notes(written).write(4)
    assert {each.name for each in written.parent.iterdir()} == {written.name, head(written).name}


def test_lines_whose_sync_fails_are_not_acknowledged_and_stay(path, monkeypatch):
    notes = Notes(path)
    notes.write(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(UserError, match="cannot be kept: I/O error"):
            notes.write(2)
    assert notes.read() == Notes(path).read() == [1, 2]
    notes.write(3)
    assert Notes(path).read() == [1, 2, 3]
