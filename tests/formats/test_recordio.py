"""RecordIO against bytes that MXNet wrote, against a second writer, and against damage of every kind."""

import hashlib
import itertools
import json
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.formats.recordio import MAGIC, Record, RecordReader
from fedpriv.formats.recordio_writer import RecordWriter, encode_record

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "recordio.json").read_text())
M = struct.pack("<I", MAGIC)
ELEVEN = [bytes.fromhex(text) for text in GOLDEN["eleven_records"]["payloads"]]

payloads = st.lists(st.one_of(st.just(M), st.just(b"abcd"), st.binary(max_size=6)), max_size=12).map(b"".join)
"""Byte strings that hold the magic number at multiples of 4 and elsewhere."""


def part(flag: int, data: bytes, length: int | None = None) -> bytes:
    word = flag << 29 | (len(data) if length is None else length)
    return M + struct.pack("<I", word) + data + bytes(-len(data) % 4)


def split_naively(payload: bytes) -> bytes:
    """The splitting rule, four bytes at a time, as dmlc-core states it."""
    result, begin = b"", 0
    for i in range(0, len(payload) & ~3, 4):
        if payload[i : i + 4] == M:
            result += part(1 if begin == 0 else 2, payload[begin:i])
            begin = i + 4
    return result + part(3 if begin else 0, payload[begin:])


def save(folder: Path, content: bytes) -> Path:
    path = folder / "x.rec"
    path.write_bytes(content)
    return path


def read(path: Path) -> list[Record]:
    with RecordReader(path) as reader:
        return list(reader)


def refused(folder: Path, content: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read(save(folder, content))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder / "x.rec"))
    return caught.value


@pytest.mark.parametrize("vector", GOLDEN["records"], ids=lambda vector: vector["name"])
def test_bytes_are_mxnets_in_both_directions(tmp_path, vector):
    payload, file = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["file"])
    assert encode_record(payload) == file
    assert read(save(tmp_path, file)) == [Record(0, payload)]


def test_the_file_of_eleven_records_is_mxnets(tmp_path):
    golden = GOLDEN["eleven_records"]
    path = tmp_path / "x.rec"
    with RecordWriter(path) as writer:
        offsets = [writer.write(payload) for payload in ELEVEN]
    content = path.read_bytes()
    assert len(content) == golden["bytes"]
    assert hashlib.sha256(content).hexdigest() == golden["sha256"]
    index = "".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets))
    assert index.startswith(golden["first_lines_of_index"])
    assert read(path) == [Record(*pair) for pair in zip(offsets, ELEVEN, strict=True)]


def test_real_records_are_written_again_byte_for_byte(real_data, tmp_path):
    source = real_data / "recordio_faces" / "train.rec"
    records = read(source)
    with RecordWriter(tmp_path / "x.rec") as writer:
        offsets = [writer.write(record.payload) for record in records]
    assert (tmp_path / "x.rec").read_bytes() == source.read_bytes()
    assert offsets == [record.offset for record in records] == sorted(offsets)
    assert len(records) == 8


@given(st.lists(payloads, max_size=6))
@settings(deadline=None)
def test_what_is_written_is_read(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("records") / "x.rec"
    with RecordWriter(path) as writer:
        offsets = [writer.write(payload) for payload in contents]
    assert path.read_bytes() == b"".join(split_naively(payload) for payload in contents)
    records = read(path)
    assert [record.payload for record in records] == contents
    assert [record.offset for record in records] == offsets
    with RecordReader(path) as reader:
        assert reader.size == path.stat().st_size
        for place in reversed(range(len(contents))):
            assert reader.read_at(offsets[place]) == contents[place]
            assert list(reader.iterate_from(offsets[place])) == records[place:]


def test_records_larger_than_the_window_and_across_its_edge(tmp_path):
    contents = [bytes([n]) * size for n, size in enumerate((3, 2**20 + 5, 0, 2**20 - 40, 7, 3 * 2**20, 1), 1)]
    contents[5] = M + contents[5] + M
    with RecordWriter(tmp_path / "x.rec") as writer:
        for payload in contents:
            writer.write(payload)
    assert [record.payload for record in read(tmp_path / "x.rec")] == contents


def test_iterators_and_random_reads_do_not_disturb_one_another(tmp_path):
    path = save(tmp_path, b"".join(encode_record(b"%d" % n * 1000) for n in range(100)))
    expected = read(path)
    with RecordReader(path) as reader:
        first, second = iter(reader), iter(reader)
        assert next(first) == expected[0]
        assert reader.read_at(expected[50].offset) == expected[50].payload
        assert list(second) == expected
        assert list(first) == expected[1:]
        results: list[list[Record]] = []
        threads = [threading.Thread(target=lambda: results.append(list(reader))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [expected] * 4


def test_an_empty_file_holds_no_record(tmp_path):
    assert read(save(tmp_path, b"")) == []


@pytest.mark.parametrize(
    ("content", "offset", "reason"),
    [
        (part(0, b"good") + b"ABCD" + bytes(8), 12, "magic number is 0x44434241"),
        (part(0, b"good") + part(3, b"x"), 12, "cflag 3 continues a record, but none is open"),
        (part(2, b"abcd") + part(3, b""), 0, "cflag 2 continues a record, but none is open"),
        (part(1, b"abcd") + part(0, b"x"), 0, "is not complete where another begins, at 12"),
        (part(1, b"abcd") + part(2, b"abcd") + part(1, b""), 0, "where another begins, at 24"),
        (part(1, b"abcd"), 0, "the file ends before the record's last part"),
        (part(4, b""), 0, "cflag is 4"),
        (part(1, b"") + part(7, b""), 0, "in the part at 8: cflag is 7"),
        (part(0, b"good") + M, 12, "a header needs 8 bytes, 4 are left"),
        (part(0, b"good") + M[:1], 12, "a header needs 8 bytes, 1 are left"),
        (part(0, b"x") + part(0, b"12345678")[:-1], 12, "8 bytes of data announced, 7 are left"),
        (part(0, b"12345")[:-1], 0, "8 bytes of data announced, 7 are left"),
        (part(0, b"", length=2**29 - 1), 0, "536870912 bytes of data announced, 0 are left"),
        (part(1, b"abcd") + part(3, b"x", length=99), 0, "in the part at 12: 100 bytes of data announced"),
        (part(0, b"x" * 4, length=16) + part(0, b"y" * 4), 0, "length 16 reaches over the header at 12"),
    ],
)
def test_damage_is_refused_with_offset_and_reason(tmp_path, content, offset, reason):
    error = refused(tmp_path, content)
    assert error.offset == offset
    assert reason in error.reason


def test_records_before_the_damage_are_read(tmp_path):
    path = save(tmp_path, part(0, b"one") + part(0, b"two") + b"damage!!")
    with RecordReader(path) as reader:
        records = iter(reader)
        assert [next(records).payload, next(records).payload] == [b"one", b"two"]
        with pytest.raises(FormatError):
            next(records)


def test_padding_is_not_looked_at(tmp_path):
    assert read(save(tmp_path, part(0, b"x")[:-3] + b"abc")) == [Record(0, b"x")]


def test_parts_that_add_up_to_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fedpriv.formats.recordio.MAX_RECORD_BYTES", 10)
    error = refused(tmp_path, part(1, b"1234") + part(2, b"5678") + part(3, b""))
    assert "more than 10 bytes" in error.reason


@pytest.mark.parametrize("offset", [-4, 1, 2, 8, 10**30])
def test_reading_at_an_impossible_offset_is_refused(tmp_path, offset):
    path = save(tmp_path, part(0, b""))
    with RecordReader(path) as reader:
        with pytest.raises(FormatError, match="multiple of 4 inside the file"):
            reader.read_at(offset)
        if offset != reader.size:
            with pytest.raises(FormatError, match="multiple of 4 inside the file"):
                list(reader.iterate_from(offset))


def test_reading_between_records_is_refused(tmp_path):
    path = save(tmp_path, part(0, b"abcdefgh"))
    with RecordReader(path) as reader, pytest.raises(FormatError, match="magic"):
        reader.read_at(8)


def recover(path: Path) -> tuple[list[bytes], list[int]]:
    """What a tool does that skips damage: the records it gets, and where it had to skip."""
    found, skipped = [], []
    with RecordReader(path) as reader:
        position: int | None = 0
        while position is not None:
            try:
                for record in reader.iterate_from(position):
                    found.append(record.payload)
                position = None
            except FormatError as error:
                skipped.append(error.offset)
                position = reader.resync(error.offset)
    return found, skipped


GOOD = [b"one", b"two" + M, M + b"three", b"four", b"five"]


@pytest.mark.parametrize(
    ("damaged", "lost"),
    [
        (lambda content, at: content[: at[1]] + b"\0" + content[at[1] + 1 :], 1),
        (lambda content, at: content[: at[2] + 7] + b"\xff" + content[at[2] + 8 :], 2),
        (lambda content, at: content[: at[2] + 8] + b"\0" + content[at[2] + 9 :], 2),
        (lambda content, at: content[: at[3] + 4] + b"\x10" + content[at[3] + 5 :], 3),
        (lambda content, at: content[: at[4] + 4] + b"\xf0" + content[at[4] + 5 :], 4),
        (lambda content, at: content[: at[2]] + part(1, b"open") + content[at[2] :], None),
        (lambda content, at: content[: at[2]] + part(3, b"shut") + content[at[2] :], None),
        (lambda content, at: content[: at[2]] + b"rubbish!" * 300_000 + content[at[2] :], None),
        (lambda content, at: content + M, None),
    ],
)
def test_resync_loses_the_damaged_record_alone(tmp_path, damaged, lost):
    offsets, content = [], b""
    for payload in GOOD:
        offsets.append(len(content))
        content += encode_record(payload)
    found, skipped = recover(save(tmp_path, damaged(content, offsets)))
    assert found == [payload for place, payload in enumerate(GOOD) if place != lost]
    assert len(skipped) == 1
    if lost is not None:
        assert skipped == [offsets[lost]]


def test_resync_finds_nothing_behind_the_last_record(tmp_path):
    with RecordReader(save(tmp_path, part(0, b"one") + M + b"\0\0")) as reader:
        assert reader.resync(-100) == 0
        assert reader.resync(-1) == 0
        assert reader.resync(0) is None
        assert reader.resync(10**30) is None


def test_resync_wants_more_than_a_magic_number(tmp_path):
    lure = part(0, b"1234")[:8] + b"1234abcd"  # what follows its data is no header
    content = b"damage!!" + lure + part(3, b"") + part(0, b"x", length=9999)[:8] + part(0, b"right")
    with RecordReader(save(tmp_path, content)) as reader:
        found = reader.resync(0)
        assert found == content.index(part(0, b"right"))
        assert reader.read_at(found) == b"right"


@given(st.lists(payloads, min_size=1, max_size=4), st.integers(0, 200), st.integers(0, 255))
@settings(deadline=None)
def test_recovery_from_one_wrong_byte_ends_and_invents_no_record_before_it(
    tmp_path_factory, contents, place, value
):
    content = bytearray(b"".join(encode_record(payload) for payload in contents))
    place %= len(content)
    content[place] = value
    found, _ = recover(save(tmp_path_factory.mktemp("records"), bytes(content)))
    ends = itertools.accumulate(len(encode_record(payload)) for payload in contents)
    intact = sum(end <= place for end in ends)
    assert found[:intact] == contents[:intact]


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path):
    path = save(tmp_path, part(0, bytes(2**21)) + part(0, b"x"))
    with RecordReader(path) as reader:
        path.write_bytes(b"")
        with pytest.raises(FormatError, match="became shorter"):
            list(reader)


def test_what_cannot_be_opened_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing.rec", tmp_path, tmp_path / "pipe", Path("a\0b")):
        with pytest.raises(FormatError, match=r"check|name a file"):
            RecordReader(path)


def test_a_closed_reader_reads_no_more(tmp_path):
    with RecordReader(save(tmp_path, part(0, b"x"))) as reader:
        pass
    with pytest.raises(ValueError, match="closed"):
        reader.read_at(0)
