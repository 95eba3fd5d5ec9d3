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
from fedpriv.he.identity import verify
from fedpriv.he.transcript import MOST_REFUSALS
from tests.he.transcripts import OTHER, RUN, SIGNER, head, three_rounds, transcript_at


@pytest.fixture
def path(tmp_path):
    return tmp_path / "transcript.jsonl"


@pytest.fixture
def written(path):
    return three_rounds(path)


def test_a_round_is_claimed_once_per_run(path):
    transcript = transcript_at(path)
    assert not transcript.answered(RUN, 1)
    assert transcript.claim(RUN, 1, [0], [b""])
    assert not transcript.claim(RUN, 1, [1], [b""])
    assert transcript.answered(RUN, 1)
    assert transcript.claim(RUN, 2, [0], [b""])
    assert transcript.claim(OTHER, 1, [0], [b""])
    assert not transcript.answered(OTHER, 2)


def test_claims_survive_a_restart_and_are_seen_by_others_at_once(path):
    first, second = transcript_at(path), transcript_at(path)
    assert first.claim(RUN, 1, [0], [b""])
    assert not second.claim(RUN, 1, [0], [b""])
    assert second.claim(RUN, 2, [0], [b""])
    assert first.answered(RUN, 2)
    assert not transcript_at(path).claim(RUN, 2, [0], [b""])


def test_threads_that_share_one_object_claim_a_round_once(path):
    transcript, start, won = transcript_at(path), threading.Barrier(8), []

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
    assert transcript_at(path).answered(RUN, 9)


def test_each_line_holds_the_digest_of_the_one_before_and_no_secret(written):
    lines = written.read_bytes().splitlines(keepends=True)
    previous = "0" * 64
    for line in lines:
        assert json.loads(line)["previous"] == previous
        previous = hashlib.sha256(line).hexdigest()
    signed = json.loads(head(written).read_text())
    signature = bytes.fromhex(signed.pop("signature"))
    assert signed == {"lines": len(lines), "sha256": previous}
    statement = b"fedpriv-transcript-1\0" + len(lines).to_bytes(8, "little") + previous.encode()
    assert verify(SIGNER.public, statement, signature)
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
        transcript_at(path).claim(RUN, 1, [0], [b""])
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
    transcript_at(path).claim(RUN, 1, [0], [b""])
    assert (path.stat().st_ino, path.stat().st_size) in synced
    assert (head(path).stat().st_ino, head(path).stat().st_size) in synced


def test_a_claim_whose_sync_fails_is_not_granted_and_uses_up_the_round(path, monkeypatch):
    transcript = transcript_at(path)
    assert transcript.claim(RUN, 1, [0], [b""])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(UserError, match=r"cannot keep the transcript: I/O error"):
            transcript.claim(RUN, 2, [0], [b""])
    assert transcript.answered(RUN, 2)
    assert transcript_at(path).answered(RUN, 2)
    assert transcript.claim(RUN, 3, [0], [b""])


# Crashes


def next_line(path, number):
    """Return the line that a claim of the next round would append, and take it back."""
    data, kept = path.read_bytes(), head(path).read_bytes()
    transcript_at(path).claim(RUN, number, [0], [b""])
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
        assert not transcript_at(written).answered(RUN, 4)
        now = written.read_bytes()
        assert now.startswith(data)
        entry = json.loads(now[len(data) :])
        assert entry["event"] == "torn"
        assert entry["bytes"] == length
        assert entry["sha256"] == hashlib.sha256(line[:length]).hexdigest()
        assert entry["previous"] == hashlib.sha256(data.splitlines(keepends=True)[-1]).hexdigest()
    transcript = transcript_at(written)
    assert transcript.answered(RUN, 3)
    assert transcript.claim(RUN, 4, [0], [b""])


def test_a_torn_first_line_is_cut_off(path):
    transcript_at(path).answered(RUN, 1)
    path.write_bytes(b'{"previous":"00')
    assert transcript_at(path).claim(RUN, 1, [0], [b""])
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["torn", "release"]


def test_a_whole_line_whose_head_was_not_written_counts(written):
    data, line = next_line(written, 4)
    written.write_bytes(data + line)
    assert transcript_at(written).answered(RUN, 4)
    assert not transcript_at(written).claim(RUN, 4, [0], [b""])
    assert transcript_at(written).claim(RUN, 5, [0], [b""])


def test_a_half_written_head_is_passed_over(written):
    head(written).with_name(f".{head(written).name}").write_bytes(b"{")
    assert transcript_at(written).claim(RUN, 4, [0], [b""])
    assert {file.name for file in written.parent.iterdir()} == {written.name, head(written).name}


# Floods


def test_a_flood_of_refusals_does_not_fill_the_disk_and_hides_nothing_else(path):
    transcript = transcript_at(path)
    for number in range(MOST_REFUSALS + 30):
        transcript.note_refusal(RUN, number, "forged")
    for number in range(30):
        transcript_at(path).note_refusal(RUN, number, "forged")
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
    parties = [transcript_at(path) for _ in range(3)]
    granted = set()
    for who, number, restart in steps:
        if restart:
            parties[who] = transcript_at(path)
        assert parties[who].answered(RUN, number) == (number in granted)
        assert parties[who].claim(RUN, number, [who], [b""]) == (number not in granted)
        granted.add(number)
