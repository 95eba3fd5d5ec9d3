"""Damaged and random files through every reader of this family: FormatError, or a result; little memory."""

import contextlib
import functools
import pickle
import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.formats.face_rec import FaceRec, write_face_rec
from fedpriv.formats.image_list import ListEntry, read_list, write_list
from fedpriv.formats.image_record import ImageHeader, class_label, pack_image_record, unpack_image_record
from fedpriv.formats.lfw_pairs import LfwPairs, Pair, read_pairs, write_pairs
from fedpriv.formats.record_index import read_index, write_index
from fedpriv.formats.recordio import MAGIC, RecordReader
from fedpriv.formats.verification_bin import read_verification_bin, write_verification_bin

M = struct.pack("<I", MAGIC)
PNG = b"\x89PNG\r\n\x1a\n"


def records(path: Path) -> None:
    with RecordReader(path) as reader:
        for record in reader:
            assert len(record.payload) <= reader.size


def random_reads(path: Path) -> None:
    with RecordReader(path) as reader:
        for offset in range(0, 64, 4):
            with contextlib.suppress(FormatError):
                reader.read_at(offset)
        position = reader.resync(-4)
        while position is not None:
            following = reader.resync(position)
            assert following is None or following > position
            reader.read_at(position)
            position = following


def image_records(path: Path) -> None:
    with RecordReader(path) as reader:
        for record in reader:
            header, _ = unpack_image_record(record.payload, path, record.offset)
            assert class_label(header, path) >= 0


def header(path: Path) -> None:
    class_label(unpack_image_record(path.read_bytes(), path)[0], path)


def faces(path: Path) -> None:
    rec = FaceRec.open(path)
    assert all(key in rec.index for key in rec.image_keys)


def faces_by_index(path: Path) -> None:
    index = path.with_name("index")
    index.write_bytes(valid("faces.idx"))
    rec = FaceRec.open(path, read_index(index))
    assert all(key in rec.index for key in rec.image_keys)


def properties(path: Path) -> None:
    rec = Path(path.parent, "train.rec")
    rec.write_bytes(valid("faces.rec"))
    path.rename(path.with_name("property"))
    FaceRec.open(rec)


def index(path: Path) -> None:
    assert all(offset % 4 == 0 for offset in read_index(path).values())


def lists(path: Path) -> None:
    for entry in read_list(path):
        assert np.isfinite(entry.labels).all()


def pairs(path: Path) -> None:
    found = read_pairs(path)
    assert len(found.pairs) == 2 * found.sets * found.pairs_per_set


def verification(path: Path, allow_numpy: bool) -> None:
    images, same = read_verification_bin(path, allow_numpy)
    assert len(images) == 2 * len(same)


def numpy_pickle(protocol: int) -> bytes:
    arrays = [np.frombuffer(PNG + bytes([n]), dtype=np.uint8).copy() for n in range(4)]
    return pickle.dumps((arrays, [np.bool_(True), np.bool_(False)]), protocol)


@functools.cache
def valid_files() -> dict[str, bytes]:
    """Name to content: one valid file of every format at least."""
    files = {f"numpy{protocol}.bin": numpy_pickle(protocol) for protocol in (2, 4)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people = [(n, [PNG + M + bytes([n]) * n for _ in range(n + 1)]) for n in range(4)]
        write_face_rec(folder, people, 112, 112)
        (folder / "train.rec").rename(folder / "faces.rec")
        (folder / "train.idx").rename(folder / "faces.idx")
        write_index(folder / "x.idx", {n: 40 * n for n in range(9)})
        write_list(folder / "x.lst", [ListEntry(n, (n / 3, 2.0), f"a/{n}.jpg") for n in range(9)])
        same, other = Pair(("A", 1), ("A", 2), True), Pair(("A", 1), ("B", 12), False)
        write_pairs(folder / "pairs.txt", LfwPairs([same, other] * 3, 3, 1))
        for protocol in (2, 4):
            write_verification_bin(
                folder / f"{protocol}.bin", [PNG + b"xy"] * 6, [True, False, True], protocol
            )
        files |= {path.name: path.read_bytes() for path in folder.iterdir()}
    files["header"] = pack_image_record(ImageHeader((3.0, 0.5), 7), PNG)
    return files


def valid(name: str) -> bytes:
    return valid_files()[name]


READERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "records": (records, ["faces.rec"]),
    "random reads": (random_reads, ["faces.rec"]),
    "image records": (image_records, ["faces.rec"]),
    "header": (header, ["header"]),
    "faces": (faces, ["faces.rec"]),
    "faces by index": (faces_by_index, ["faces.rec"]),
    "property": (properties, ["property"]),
    "index": (index, ["x.idx", "faces.idx"]),
    "list": (lists, ["x.lst"]),
    "pairs": (pairs, ["pairs.txt"]),
    "verification": (lambda path: verification(path, False), ["2.bin", "4.bin"]),
    "verification numpy": (lambda path: verification(path, True), ["numpy2.bin", "numpy4.bin", "4.bin"]),
}


interesting = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [M, b"\xff" * 4, b"\0" * 8, b"\x7f", b"\t", b"\n", b"-", b"9" * 30, b"nan", b"../", b"e", b"R"]
    ),
    st.integers(0, 2**32 - 1).map(lambda n: struct.pack("<I", n)),
    st.floats(width=32).map(lambda x: struct.pack("<f", x)),
)
edits = st.lists(st.tuples(st.floats(0, 1), interesting, st.integers(0, 8)), min_size=1, max_size=4)


def mutated(content: bytes, changes: list[tuple[float, bytes, int]]) -> bytes:
    for place, new, removed in changes:
        at = int(place * len(content))
        content = content[:at] + new + content[at + removed :]
    return content


@pytest.mark.parametrize("name", READERS)
def test_the_valid_files_are_read(tmp_path, name):
    reader, files = READERS[name]
    for file in files:
        (tmp_path / "file").write_bytes(valid(file))
        reader(tmp_path / "file")


@pytest.mark.parametrize("name", READERS)
@given(st.data())
@settings(max_examples=120, deadline=None)
def test_only_format_error_comes_out(tmp_path_factory, name, data):
    reader, files = READERS[name]
    original = valid(data.draw(st.sampled_from(files)))
    content = data.draw(
        st.one_of(edits.map(lambda changes: mutated(original, changes)), st.binary(max_size=80))
    )
    path = tmp_path_factory.mktemp("fuzz") / "file"
    path.write_bytes(content)
    refusal = None
    try:
        reader(path)
    except FormatError as error:
        refusal = error
    if refusal is not None:
        assert "\n" not in str(refusal)
        assert len(refusal.reason) < 300
        assert refusal.source in (path, path.with_name("property"))


LIES = {
    "a record's length": (records, M + struct.pack("<I", 2**29 - 1)),
    "a part's length": (
        records,
        M + struct.pack("<I", 1 << 29) + M + struct.pack("<I", (3 << 29) + 2**29 - 1),
    ),
    "the number of labels": (header, struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0)),
    "labels allowed but absent": (header, struct.pack("<IfQQ", 2**16, 0, 0, 0)),
    "an identity's keys": (
        faces,
        b"".join(
            M + struct.pack("<IIfQQ", 32, 2, 0, key, 0) + struct.pack("<ff", first, last)
            for key, first, last in ((2, 1, 2**24), (0, 2**23, 2**24))
        ),
    ),
    "record 0's keys": (
        faces,
        M
        + struct.pack("<IIfQQ", 25, 0, 0, 1, 0)
        + b"x\0\0\0"
        + M
        + struct.pack("<IIfQQ", 32, 2, 0, 0, 1)
        + struct.pack("<ff", 2, 2**24),
    ),
    "the number of pairs": (pairs, b"1000\t1000000\nA\t1\t2\n"),
    "a pickle's bytes": (
        lambda path: verification(path, True),
        b"\x80\x04\x8e" + struct.pack("<Q", 2**45) + b".",
    ),
    "a pickle's text": (
        lambda path: verification(path, True),
        b"\x80\x04\x8d" + struct.pack("<Q", 2**45) + b".",
    ),
    "a pickle's bytearray": (
        lambda path: verification(path, True),
        b"\x80\x05\x96" + struct.pack("<Q", 2**45),
    ),
    "a pickle's memo": (lambda path: verification(path, True), b"]r\xff\xff\xff\xff."),
    "an array's shape": (
        lambda path: verification(path, True),
        numpy_pickle(2).replace(b"K\x09\x85", b"J\xff\xff\xff\x7f\x85"),
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_number_does_not_allocate(tmp_path, name):
    reader, content = LIES[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            reader(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_reading_takes_the_memory_of_one_record_not_of_the_file(tmp_path):
    path = tmp_path / "file"
    record = M + struct.pack("<I", 200_000) + bytes(200_000)
    with path.open("wb") as file:
        for _ in range(200):
            file.write(record)
    tracemalloc.start()
    try:
        records(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 40_000_000
    assert peak < 4_000_000
