"""What a transcript does not take: files that were changed, cut, replaced, rewritten or opened to others."""

import hashlib
import json
import os

import pytest

from fedpriv.errors import UserError
from fedpriv.he.identity import SigningKey
from tests.he.transcripts import OTHER, RUN, SIGNER, head, refused, three_rounds, transcript_at


@pytest.fixture
def path(tmp_path):
    return tmp_path / "transcript.jsonl"


@pytest.fixture
def written(path):
    return three_rounds(path)


def test_every_changed_byte_is_refused(written):
    data = written.read_bytes()
    with written.open("r+b", buffering=0) as file:  # in place: to write it anew each time takes seconds
        for position in range(len(data)):
            for byte in (data[position] ^ (0x20 if position < len(data) - 1 else 0x40), data[position]):
                file.seek(position)
                file.write(bytes([byte]))
                if byte != data[position]:
                    with pytest.raises(UserError, match=r"damaged|cut"):
                        transcript_at(written).answered(RUN, 1)
    assert transcript_at(written).answered(RUN, 1)


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
    for keep in reversed(range(len(data))):
        os.truncate(written, keep)
        with pytest.raises(UserError, match=r"lines of 6: cut"):
            transcript_at(written).answered(RUN, 1)
        assert written.read_bytes() == data[:keep]


def test_a_removed_file_and_a_removed_or_damaged_head_are_refused(written):
    kept = head(written).read_bytes()
    for wrong in (
        b"",
        b"{}",
        b"[]",
        b"\xff",
        kept[:-1],
        b'{"lines": 6, "sha256": 1, "signature": 2}',
        b'{"lines": Infinity, "sha256": "", "signature": ""}',
        b'{"lines": 1e999, "sha256": "", "signature": ""}',
        b'{"lines": 6.0, "sha256": "", "signature": ""}',
        b'{"lines": true, "sha256": "", "signature": ""}',
        b'{"lines": "6", "sha256": "", "signature": ""}',
        b'{"lines": 99999999999999999999999, "sha256": "", "signature": ""}',
        b" " * 401,
    ):
        head(written).write_bytes(wrong)
        refused(written, r"damaged|at most")
    head(written).unlink()
    refused(written, "head: missing")
    head(written).write_bytes(kept)
    head(written).chmod(0o600)
    written.unlink()
    with pytest.raises(UserError, match="0 lines of 6: cut"):
        transcript_at(written).answered(RUN, 1)


def rewritten(path, change):
    """Make up a chain as long as the file's, whole in itself, and return (lines, digest of the last)."""
    previous, lines = "0" * 64, []
    for line in path.read_bytes().splitlines():
        entry = {**change(json.loads(line)), "previous": previous}
        lines.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        previous = hashlib.sha256(lines[-1]).hexdigest()
    path.write_bytes(b"".join(lines))
    return len(lines), previous


@pytest.mark.parametrize("who", ["nobody", "the old signature", "another holder", "an earlier version"])
def test_a_chain_rewritten_with_its_hashes_and_head_is_refused(written, who):
    """Who can write both files and has not the holder's key: here it frees the rounds that were opened."""
    signature = json.loads(head(written).read_text())["signature"]
    lines, last = rewritten(written, lambda entry: {**entry, "round": entry["round"] + 10})
    made = {"lines": lines, "sha256": last, "signature": signature}
    if who == "nobody":
        made["signature"] = ""
    elif who == "another holder":
        statement = b"fedpriv-transcript-1\0" + lines.to_bytes(8, "little") + last.encode()
        made["signature"] = SigningKey.generate().sign(statement).hex()
    elif who == "an earlier version":
        del made["signature"]
    head(written).write_text(json.dumps(made))
    refused(written, r"transcript\.jsonl\.head: is not signed by this key holder")


def test_the_same_chain_with_the_holders_signature_is_taken(written):
    """So that the test above fails for the signature and for nothing else."""
    lines, last = rewritten(written, lambda entry: {**entry, "round": entry["round"] + 10})
    statement = b"fedpriv-transcript-1\0" + lines.to_bytes(8, "little") + last.encode()
    made = {"lines": lines, "sha256": last, "signature": SIGNER.sign(statement).hex()}
    head(written).write_text(json.dumps(made))
    assert transcript_at(written).answered(RUN, 11)


def test_the_transcript_of_another_holder_is_refused(written):
    with pytest.raises(UserError, match="is not signed by this key holder"):
        transcript_at(written, SigningKey.generate()).answered(RUN, 1)


def test_one_line_may_follow_those_that_are_signed_for_and_no_more(written):
    """A crash between line and head leaves one; whoever cannot sign cannot add a second, then or later."""
    kept, previous = head(written).read_bytes(), written.read_bytes()
    for number in (4, 5):
        assert transcript_at(written).claim(RUN, number, [0], [b""])
    two = written.read_bytes()
    head(written).write_bytes(kept)
    refused(written, "line 8: damaged")
    one = b"".join(two.splitlines(keepends=True)[:7])
    written.write_bytes(one)
    assert transcript_at(written).answered(RUN, 4)
    # it was signed for when it was seen
    written.write_bytes(previous)
    refused(written, "6 lines of 7: cut")


def test_a_key_is_claimed_once_per_run(path):
    assert not transcript_at(path).has_key(RUN)
    assert transcript_at(path).claim_key(RUN, bytes(32))
    for number in range(2):
        assert not transcript_at(path).claim_key(RUN, bytes([number]) * 32)
    assert transcript_at(path).has_key(RUN)
    assert not transcript_at(path).has_key(OTHER)
    assert transcript_at(path).claim_key(OTHER, bytes(32))
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [entry["event"] for entry in entries] == ["key", "key"]
    assert entries[0].keys() == {"previous", "time", "event", "run", "commitment"}
    assert not transcript_at(path).answered(RUN, 0)


def test_an_older_copy_is_refused_by_the_head_and_by_who_has_read_more(written):
    older = written.read_bytes()
    transcript = transcript_at(written)
    assert transcript.claim(RUN, 7, [0], [b""])
    written.write_bytes(older)
    with pytest.raises(UserError, match="cut while in use"):
        transcript.answered(RUN, 7)
    refused(written, "6 lines of 7: cut")


def test_a_replaced_file_is_refused_by_who_has_read_the_other(written, tmp_path):
    transcript = transcript_at(written)
    transcript.answered(RUN, 1)
    copy = tmp_path / "copy"
    copy.write_bytes(written.read_bytes())
    copy.chmod(0o600)
    copy.rename(written)
    for _ in range(2):
        with pytest.raises(UserError, match="replaced"):
            transcript.answered(RUN, 1)


def test_removing_both_files_cannot_be_noticed_by_a_new_process(written):
    transcript = transcript_at(written)
    assert transcript.answered(RUN, 1)
    written.unlink()
    head(written).unlink()
    assert not transcript_at(written).answered(RUN, 1)
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
        transcript_at(path).answered(RUN, 1)
    with pytest.raises(UserError, match="cannot keep the transcript"):
        transcript_at(tmp_path).answered(RUN, 1)
    with pytest.raises(UserError, match="cannot keep the transcript"):
        transcript_at(tmp_path / "nowhere" / "t").answered(RUN, 1)
