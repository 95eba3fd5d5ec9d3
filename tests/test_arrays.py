"""A file of arrays is refused by the size of its directory, before an object is made for each entry."""

import struct
import zipfile

import numpy as np
import pytest

from fedpriv import arrays
from fedpriv.arrays import read_npz

EMPTY = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0x21, 0, 0, 0, 1, 0) + b"a"
ENTRY = (
    struct.pack("<4s4B4H3L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0x21, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    + b"a"
)


def crowded(path, entries, count=None, end64=False):
    """Write an archive whose directory has so many entries and says ``count``, all of one empty file."""
    count, directory, start = entries if count is None else count, ENTRY * entries, len(EMPTY)
    end = b""
    if end64:
        end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), start)
        end += struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(directory), 1)
    size = min(len(directory), 0xFFFFFFFF) if not end64 else 47
    said = min(count, 0xFFFF) if not end64 else 1
    end += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, said, said, size, start, 0)
    path.write_bytes(EMPTY + directory + end)


@pytest.fixture
def unparsed(monkeypatch):
    """Let nothing be parsed by ``zipfile``."""

    def refuse(*_, **__):
        raise AssertionError("the directory was parsed")

    monkeypatch.setattr(arrays.zipfile, "ZipFile", refuse)


def test_the_archives_of_these_tests_are_what_zipfile_reads(tmp_path):
    for name, settings in (("plain", {}), ("lying", {"count": 1}), ("large", {"end64": True})):
        crowded(tmp_path / name, 70, **settings)
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert len(archive.infolist()) == 70


@pytest.mark.parametrize(
    "settings",
    [
        {"entries": 5000},
        {"entries": 200_000, "count": 3},  # zipfile reads on, whatever the number says
        {"entries": 200_000, "end64": True},
        {"entries": 200_000, "count": 3, "end64": True},
    ],
)
def test_a_crowd_of_arrays_is_refused_before_the_directory_is_parsed(tmp_path, unparsed, settings):
    crowded(tmp_path / "crowd.npz", **settings)
    with pytest.raises(ValueError, match="4096 are the most"):
        read_npz(tmp_path / "crowd.npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18) + b"a comment", b"a text" * 40])
def test_what_does_not_end_as_savez_ends_it_is_not_parsed(tmp_path, unparsed, content):
    (tmp_path / "no.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is no npz file"):
        read_npz(tmp_path / "no.npz")


def test_a_large_archives_end_must_be_whole(tmp_path, unparsed):
    crowded(tmp_path / "cut.npz", 1, end64=True)
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole.replace(b"PK\x06\x06", b"PK\x00\x00"))
    with pytest.raises(ValueError, match="damaged end"):
        read_npz(tmp_path / "cut.npz")


def test_as_many_arrays_as_are_allowed_are_read_and_one_more_is_not(tmp_path):
    names = [f"{number:03}_{'layer.' * 20}weight" for number in range(50)]
    np.savez(tmp_path / "many.npz", **{name: np.array([1.5]) for name in names})
    assert sorted(read_npz(tmp_path / "many.npz", most=50)) == names
    with pytest.raises(ValueError, match="holds 50 arrays"):
        read_npz(tmp_path / "many.npz", most=49)
