"""A key holder's memory: once per round, whatever happens to the file, the process or the machine."""

import hashlib
import json
import os
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.transcript import MOST_REFUSALS, Transcript

RUN, OTHER = bytes(16), bytes([1]) * 16


@pytest.fixture
def path(tmp_path):
    return tmp_path / "transcript.jsonl"


@pytest.fixture
def written(path):
    """Return the path of a transcript with three rounds, of which two were answered."""
    transcript = Transcript(path)
    for number in (1, 2, 3):
        assert transcript.claim(RUN, number, [4, 2], [b"header of 4", b"header of 2"])
        if number < 3:
            transcript.note_answer(RUN, number, b"answer %d" % number)
    transcript.note_refusal(RUN, 9, "too_few_clients")
    return path


def head(path):
    return path.with_name(f"{path.name}.head")


def refused(path, match):
    for use in (
        lambda transcript: transcript.answered(RUN, 1),
        lambda transcript: transcript.claim(RUN, 50, [], []),
        lambda transcript: transcript.note_refusal(RUN, 1, "forged"),
    ):
        before = path.read_bytes() if path.exists() else b""
        with pytest.raises(UserError, match=match):
            use(Transcript(path))
        assert (path.read_bytes() if path.exists() else b"") == before


def test_a_round_is_claimed_once_per_run(path):
    transcript = Transcript(path)
    assert not transcript.answered(RUN, 1)
    assert transcript.claim(RUN, 1, [0], [b""])
    assert not transcript.claim(RUN, 1, [1], [b""])
    assert transcript.answered(RUN, 1)
    assert transcript.claim(RUN, 2, [0], [b""])
    assert transcript.claim(OTHER, 1, [0], [b""])
    assert not transcript.answered(OTHER, 2)


def test_claims_survive_a_restart_and_are_seen_by_others_at_once(path):
    first, second = Transcript(path), Transcript(path)
    assert first.claim(RUN, 1, [0], [b""])
    assert not second.claim(RUN, 1, [0], [b""])
    assert second.claim(RUN, 2, [0], [b""])
    assert first.answered(RUN, 2)
    assert not Transcript(path).claim(RUN, 2, [0], [b""])


def test_threads_that_share_one_object_claim_a_round_once(path):
    transcript, start, won = Transcript(path), threading.Barrier(8), []

    def claim():
        start.wait()
        for number in range(10):
            if transcript.claim(RUN, number, [0], [b""]):
                won.append(number)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(10))
    assert Transcript(path).answered(RUN, 9)


def test_each_line_holds_the_digest_of_the_one_before_and_no_secret(written):
    lines = written.read_bytes().splitlines(keepends=True)
    previous = "0" * 64
    for line in lines:
        assert json.loads(line)["previous"] == previous
        previous = hashlib.sha256(line).hexdigest()
    assert json.loads(head(written).read_text()) == {"lines": len(lines), "sha256": previous}
    entries = [json.loads(line) for line in lines]
    assert [entry["event"] for entry in entries] == [
        "release",
        "answer",
        "release",
        "answer",
        "release",
        "refusal",
    ]
    assert entries[0].keys() == {"previous", "time", "event", "run", "round", "clients", "signed"}
    assert (entries[0]["run"], entries[0]["round"], entries[0]["clients"]) == (RUN.hex(), 1, [4, 2])
    assert entries[0]["signed"][0] == hashlib.sha256(b"header of 4").hexdigest()
    assert entries[1].keys() == {"previous", "time", "event", "run", "round", "sha256"}
    assert entries[1]["sha256"] == hashlib.sha256(b"answer 1").hexdigest()
    assert entries[5].keys() == {"previous", "time", "event", "run", "round", "cause"}


def test_the_files_are_the_owners_alone_whatever_the_umask(path):
    before = os.umask(0o000)
    try:
        Transcript(path).claim(RUN, 1, [0], [b""])
    finally:
        os.umask(before)
    assert {file.name for file in path.parent.iterdir()} == {path.name, head(path).name}
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_line_is_synced_before_the_claim_returns(path, monkeypatch):
    synced = []
    fsync = os.fsync

    def watched(descriptor):
        status = os.fstat(descriptor)
        if not stat.S_ISDIR(status.st_mode):
            synced.append((status.st_ino, status.st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    Transcript(path).claim(RUN, 1, [0], [b""])
    assert (path.stat().st_ino, path.stat().st_size) in synced
    assert (head(path).stat().st_ino, head(path).stat().st_size) in synced


def test_a_claim_whose_sync_fails_is_not_granted_and_uses_up_the_round(path, monkeypatch):
    transcript = Transcript(path)
    assert transcript.claim(RUN, 1, [0], [b""])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(UserError, match=r"cannot keep the transcript: I/O error"):
            transcript.claim(RUN, 2, [0], [b""])
    assert transcript.answered(RUN, 2)
    assert Transcript(path).answered(RUN, 2)
    assert transcript.claim(RUN, 3, [0], [b""])


# Damage


def test_every_changed_byte_is_refused(written):
    data = written.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x20 if position < len(data) - 1 else 0x40
        written.write_bytes(bytes(damaged))
        with pytest.raises(UserError, match=r"damaged|cut"):
            Transcript(written).answered(RUN, 1)


def test_lines_taken_out_put_in_or_reordered_are_refused(written):
    lines = written.read_bytes().splitlines(keepends=True)
    for wrong in (
        lines[1:],
        lines[:2] + lines[3:],
        [lines[1], lines[0], *lines[2:]],
        [*lines[:3], lines[2], *lines[3:]],
        [*lines, lines[-1]],
        [*lines, b"{}\n"],
        [*lines, b"\n"],
        [*lines[:-1], lines[-1].replace(b"too_few_clients", b"too_few_client5")],
    ):
        written.write_bytes(b"".join(wrong))
        refused(written, "damaged")


def test_a_file_that_was_cut_is_refused(written):
    data = written.read_bytes()
    for keep in range(len(data)):
        written.write_bytes(data[:keep])
        with pytest.raises(UserError, match=r"lines of 6: cut"):
            Transcript(written).answered(RUN, 1)
        assert written.read_bytes() == data[:keep]


def test_a_removed_file_and_a_removed_or_damaged_head_are_refused(written):
    kept = head(written).read_bytes()
    for wrong in (b"", b"{}", b"[]", b"\xff", kept[:-1], b'{"lines": 6, "sha256": "00"}', b" " * 201):
        head(written).write_bytes(wrong)
        refused(written, r"damaged|at most")
    head(written).unlink()
    refused(written, "head: missing")
    head(written).write_bytes(kept)
    head(written).chmod(0o600)
    written.unlink()
    with pytest.raises(UserError, match="0 lines of 6: cut"):
        Transcript(written).answered(RUN, 1)


def test_an_older_copy_is_refused_by_the_head_and_by_who_has_read_more(written):
    older = written.read_bytes()
    transcript = Transcript(written)
    assert transcript.claim(RUN, 7, [0], [b""])
    written.write_bytes(older)
    with pytest.raises(UserError, match="cut while in use"):
        transcript.answered(RUN, 7)
    refused(written, "6 lines of 7: cut")


def test_a_replaced_file_is_refused_by_who_has_read_the_other(written, tmp_path):
    transcript = Transcript(written)
    transcript.answered(RUN, 1)
    copy = tmp_path / "copy"
    copy.write_bytes(written.read_bytes())
    copy.chmod(0o600)
    copy.rename(written)
    for _ in range(2):
        with pytest.raises(UserError, match="replaced"):
            transcript.answered(RUN, 1)


def test_removing_both_files_cannot_be_noticed_by_a_new_process(written):
    transcript = Transcript(written)
    assert transcript.answered(RUN, 1)
    written.unlink()
    head(written).unlink()
    assert not Transcript(written).answered(RUN, 1)
    with pytest.raises(UserError, match=r"replaced|cut"):
        transcript.answered(RUN, 1)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_may_access_is_refused(written, mode):
    written.chmod(mode)
    refused(written, "chmod 600")


def test_links_pipes_and_folders_are_refused(path, tmp_path):
    (tmp_path / "elsewhere").touch(0o600)
    path.symlink_to(tmp_path / "elsewhere")
    refused(path, "cannot keep the transcript")
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(UserError, match="owner"):
        Transcript(path).answered(RUN, 1)
    with pytest.raises(UserError, match="cannot keep the transcript"):
        Transcript(tmp_path).answered(RUN, 1)
    with pytest.raises(UserError, match="cannot keep the transcript"):
        Transcript(tmp_path / "nowhere" / "t").answered(RUN, 1)


# Crashes


def next_line(path, number):
    """Return the line that a claim of the next round would append, and take it back."""
    data, kept = path.read_bytes(), head(path).read_bytes()
    Transcript(path).claim(RUN, number, [0], [b""])
    line = path.read_bytes()[len(data) :]
    path.write_bytes(data)
    head(path).write_bytes(kept)
    return data, line


def test_a_line_torn_anywhere_is_cut_off_and_recorded(written):
    data, line = next_line(written, 4)
    kept = head(written).read_bytes()
    for length in range(1, len(line)):
        written.write_bytes(data + line[:length])
        head(written).write_bytes(kept)
        assert not Transcript(written).answered(RUN, 4)
        now = written.read_bytes()
        assert now.startswith(data)
        entry = json.loads(now[len(data) :])
        assert entry["event"] == "torn"
        assert entry["bytes"] == length
        assert entry["sha256"] == hashlib.sha256(line[:length]).hexdigest()
        assert entry["previous"] == hashlib.sha256(data.splitlines(keepends=True)[-1]).hexdigest()
    transcript = Transcript(written)
    assert transcript.answered(RUN, 3)
    assert transcript.claim(RUN, 4, [0], [b""])


def test_a_torn_first_line_is_cut_off(path):
    Transcript(path).answered(RUN, 1)
    path.write_bytes(b'{"previous":"00')
    assert Transcript(path).claim(RUN, 1, [0], [b""])
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["torn", "release"]


def test_a_whole_line_whose_head_was_not_written_counts(written):
    data, line = next_line(written, 4)
    written.write_bytes(data + line)
    assert Transcript(written).answered(RUN, 4)
    assert not Transcript(written).claim(RUN, 4, [0], [b""])
    assert Transcript(written).claim(RUN, 5, [0], [b""])


def test_a_half_written_head_is_passed_over(written):
    head(written).with_name(f".{head(written).name}").write_bytes(b"{")
    assert Transcript(written).claim(RUN, 4, [0], [b""])
    assert {file.name for file in written.parent.iterdir()} == {written.name, head(written).name}


# Floods


def test_a_flood_of_refusals_does_not_fill_the_disk_and_hides_nothing_else(path):
    transcript = Transcript(path)
    for number in range(MOST_REFUSALS + 30):
        transcript.note_refusal(RUN, number, "forged")
    for number in range(30):
        Transcript(path).note_refusal(RUN, number, "forged")
    lines = path.read_bytes().splitlines()
    assert len(lines) == MOST_REFUSALS + 1
    assert json.loads(lines[-1])["further"] == "not written"
    assert "further" not in json.loads(lines[-2])
    transcript.note_refusal(RUN, 1, "tampered")
    transcript.note_refusal(OTHER, 1, "forged")
    transcript.note_failure(RUN, 1, "malformed")
    assert transcript.claim(RUN, 1, [0], [b""])
    assert len(path.read_bytes().splitlines()) == MOST_REFUSALS + 5
    assert len(path.read_bytes()) < 300 * (MOST_REFUSALS + 5)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=12))
def test_any_order_of_claims_and_restarts_grants_each_round_once(steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("transcript") / "t"
    parties = [Transcript(path) for _ in range(3)]
    granted = set()
    for who, number, restart in steps:
        if restart:
            parties[who] = Transcript(path)
        assert parties[who].answered(RUN, number) == (number in granted)
        assert parties[who].claim(RUN, number, [who], [b""]) == (number not in granted)
        granted.add(number)
