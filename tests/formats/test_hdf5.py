"""HDF5 files: what may be read, and refusal of links, objects and sizes that lie."""

import h5py
import numpy as np
import pytest

from fedpriv.errors import FormatError
from fedpriv.formats import hdf5
from fedpriv.formats.hdf5 import open_hdf5, plain_dataset, read_rows, saved_hdf5


def refused(path, reason, name="a/b", shape=(4, 2), kinds="f"):
    with pytest.raises(FormatError, match=reason) as caught, open_hdf5(path, path.parent) as file:
        plain_dataset(file, name, shape, kinds)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def test_a_plain_data_set_reads(path):
    with h5py.File(path, "w") as file:
        file["a/b"] = np.arange(8.0).reshape(4, 2)
    with open_hdf5(path, path.parent) as file:
        found = plain_dataset(file, "a/b", (None, 2), "f")
        assert read_rows(found, np.array([1, 2])).tolist() == [[2, 3], [4, 5]]
        assert read_rows(found, np.array([0, 3])).tolist() == [[0, 1], [6, 7]]


def test_what_is_saved_is_an_hdf5_file(path):
    with saved_hdf5(path, userblock_size=512) as file:
        file["x"] = np.arange(3)
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 512
        assert file["x"][:].tolist() == [0, 1, 2]
    assert [entry.name for entry in path.parent.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(100), b"text"])
def test_anything_else_is_refused(path, content):
    path.write_bytes(content)
    refused(path, "is no HDF5 file or is damaged")


def test_a_missing_file_and_a_missing_data_set_are_named(path):
    refused(path, "cannot be read")
    with h5py.File(path, "w") as file:
        file["other"] = 1.0
    refused(path, "a/b: is missing")


def test_shape_and_type_are_checked(path):
    with h5py.File(path, "w") as file:
        file["a/b"] = np.zeros((4, 3))
        file["whole"] = np.zeros((4, 2), dtype=np.int64)
        file["group/b"] = 1.0
    refused(path, r"a/b: shape \(4, 3\), need 4 x 2")
    refused(path, "whole: type int64", name="whole")
    refused(path, "group: is no data set", name="group")


def test_text_and_objects_are_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a/b", data=["x", "y"], dtype=h5py.string_dtype())
    refused(path, "a/b: type object", shape=(None,), kinds="fu")


@pytest.mark.parametrize("place", ["a", "b"])
def test_links_inside_and_outside_are_refused(path, place):
    with h5py.File(path.parent / "secret.h5", "w") as file:
        file["a/b"] = np.zeros((4, 2))
    with h5py.File(path, "w") as file:
        link = h5py.ExternalLink(str(path.parent / "secret.h5"), "/a" if place == "a" else "/a/b")
        file["a" if place == "a" else "a/b"] = link
    refused(path, "is a link to elsewhere")
    with h5py.File(path, "w") as file:
        file["c/b"] = np.zeros((4, 2))
        file["a"] = h5py.SoftLink("/c")
    refused(path, "is a link to elsewhere")


def test_data_in_other_files_are_refused(path):
    with h5py.File(path.parent / "secret.h5", "w") as file:
        file["x"] = np.zeros((4, 2))
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((4, 2), dtype="f8")
        layout[:] = h5py.VirtualSource(str(path.parent / "secret.h5"), "x", shape=(4, 2))
        file.create_virtual_dataset("a/b", layout)
    refused(path, "keeps its data in other files")
    (path.parent / "raw").write_bytes(bytes(64))
    with h5py.File(path, "w") as file:
        file.create_dataset("a/b", (4, 2), "f8", external=[(str(path.parent / "raw"), 0, 64)])
    refused(path, "keeps its data in other files")


def test_rows_that_are_nowhere_are_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a/b", (10**9, 2), "f8", chunks=(1, 2))
    refused(path, "states 1000000000 rows that the file does not hold", shape=(None, 2))


def test_chunks_that_would_fill_the_memory_are_refused(path, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_CHUNK_BYTES", 63)
    with h5py.File(path, "w") as file:
        file.create_dataset("a/b", data=np.zeros((4, 2)), chunks=(4, 2), compression="gzip")
    refused(path, "chunks of 64 bytes")
