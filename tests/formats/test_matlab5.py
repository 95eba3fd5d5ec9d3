"""MATLAB 5 files: what SciPy reads, and refusal of what would hurt it."""

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.formats import matlab5
from fedpriv.formats.matlab5 import read_matlab5

HEADER = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack("<H", 0x0100) + b"IM"
CELL, STRUCT, OBJECT, SPARSE, DOUBLE = 1, 2, 3, 5, 6


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind: int, dims: tuple[int, ...], content: bytes = b"", name: bytes = b"x") -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, head + element(1, name) + content)


def write(path: Path, *elements: bytes) -> Path:
    path.write_bytes(HEADER + b"".join(elements))
    return path


def refused(path: Path, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        read_matlab5(path, path.parent)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_plain_data_come_back_as_scipy_reads_them(tmp_path, compressed):
    content = {"data": {"left": {"image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)}}, "n": np.eye(2)}
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    read = read_matlab5(tmp_path / "a.mat", tmp_path)
    np.testing.assert_array_equal(read["data"].item().left.item().image, content["data"]["left"]["image"])
    np.testing.assert_array_equal(read["n"], np.eye(2))


def test_a_hand_made_file_reads(tmp_path):
    values = matrix(DOUBLE, (1, 2), element(9, struct.pack("<2d", 1.5, -2.0)))
    read = read_matlab5(write(tmp_path / "a.mat", values), tmp_path)
    assert read["x"].tolist() == [[1.5, -2.0]]


def test_doubles_that_matlab_stored_as_small_integers_are_doubles(tmp_path):
    values = matrix(DOUBLE, (1, 2), element(2, bytes([3, 4])))
    read = read_matlab5(write(tmp_path / "a.mat", values), tmp_path)["x"]
    assert (read.dtype, read.tolist()) == (np.float64, [[3.0, 4.0]])


def test_deep_nesting_is_refused_before_anything_recurses(tmp_path):
    nested = matrix(DOUBLE, (1, 1), element(9, struct.pack("<d", 0.0)), name=b"")
    for _ in range(2000):
        nested = matrix(CELL, (1, 1), nested, name=b"")
    refused(write(tmp_path / "a.mat", nested), "nests more than 8 deep")


@pytest.mark.parametrize("kind", [CELL, STRUCT, DOUBLE])
def test_dimensions_beyond_what_the_file_holds_are_refused(tmp_path, kind):
    refused(write(tmp_path / "a.mat", matrix(kind, (100_000, 100_000))), "a matrix of 10000000000 elements")


def test_negative_dimensions_are_refused(tmp_path):
    refused(write(tmp_path / "a.mat", matrix(DOUBLE, (-1, 4))), "a dimension of -1")


@pytest.mark.parametrize("kind", [OBJECT, SPARSE, 16, 17, 200])
def test_objects_functions_and_sparse_matrices_are_refused(tmp_path, kind):
    refused(write(tmp_path / "a.mat", matrix(kind, (1, 1))), f"class {kind}")


def test_what_expands_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab5, "MAX_EXPANDED_BYTES", 100_000)
    bomb = zlib.compress(bytes(200_000))
    refused(
        write(tmp_path / "a.mat", struct.pack("<II", 15, len(bomb)) + bomb), "expands to more than 100000"
    )


def compressed(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return struct.pack("<II", 15, len(packed)) + packed


def test_ten_small_matrices_are_not_ten_times_the_limit(tmp_path):
    """Each is far below every limit: 4 million doubles, one byte each, that pack to a few kilobytes."""
    one = compressed(matrix(DOUBLE, (1, 4_000_000), element(2, bytes(4_000_000))))
    path = write(tmp_path / "a.mat", *[one] * 10)
    assert path.stat().st_size < 100_000
    refused(path, "holds more than 268435456 bytes of elements")
    assert read_matlab5(write(path, one), tmp_path)["x"].nbytes == 32_000_000


def test_ten_small_cell_arrays_are_not_ten_times_the_limit(tmp_path):
    nothing = struct.pack("<II", 14, 0)
    one = compressed(matrix(CELL, (1, 30_000), nothing * 30_000))
    path = write(tmp_path / "a.mat", *[one] * 10)
    assert path.stat().st_size < 100_000
    refused(path, "holds more than 200000 cells and elements of structures")
    assert read_matlab5(write(path, one), tmp_path)["x"].shape == (1, 30_000)


def structure(elements: int, fields: int, padding: int = 0) -> bytes:
    names = b"".join(b"f%06d\0" % number for number in range(fields))
    values = struct.pack("<II", 14, 0) * (elements * fields) + element(1, bytes(padding))
    return matrix(STRUCT, (1, elements), element(5, struct.pack("<i", 8)) + element(1, names) + values)


@pytest.mark.parametrize(
    ("elements", "fields", "padding"), [(60_000, 0, 500_000), (0, 60_000, 0), (300, 200, 0)]
)
def test_elements_and_fields_of_structures_count_over_the_whole_file(tmp_path, elements, fields, padding):
    one = compressed(structure(elements, fields, padding))
    path = write(tmp_path / "a.mat", *[one] * 4)
    refused(path, "holds more than 200000 cells")


def test_a_structure_without_field_names_is_refused(tmp_path):
    refused(write(tmp_path / "a.mat", matrix(STRUCT, (1, 1), bytes(8))), "is cut short")


def test_bytes_beyond_what_the_elements_need_are_refused(tmp_path):
    refused(
        write(tmp_path / "a.mat", matrix(4, (1, 1), element(16, bytes(10_000)))), "a matrix of 1 elements in"
    )


def test_complex_numbers_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.ones(3) * 1j})
    refused(tmp_path / "a.mat", "complex numbers")


def test_compression_inside_compression_is_refused(tmp_path):
    inner = element(15, zlib.compress(matrix(DOUBLE, (0, 0))))
    outer = zlib.compress(inner)
    refused(write(tmp_path / "a.mat", struct.pack("<II", 15, len(outer)) + outer), "compresses twice")


def test_a_length_beyond_the_file_is_refused(tmp_path):
    refused(write(tmp_path / "a.mat", struct.pack("<II", 14, 4_000_000_000) + bytes(64)), "states 4000000000")


def test_a_7_3_file_is_told_apart(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    refused(tmp_path / "a.mat", "MATLAB 7.3")


@pytest.mark.parametrize("content", [b"", b"not a mat file", bytes(500)])
def test_anything_else_is_refused(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    refused(tmp_path / "a.mat", "is no MATLAB 5 file")


def test_files_that_are_too_large_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab5, "MAX_FILE_BYTES", 100)
    refused(write(tmp_path / "a.mat", matrix(DOUBLE, (0, 0))), "the limit is 100")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    write(tmp_path / "outside.mat", matrix(DOUBLE, (0, 0)))
    (tmp_path / "inside" / "a.mat").symlink_to(tmp_path / "outside.mat")
    refused(tmp_path / "inside" / "a.mat", "a symbolic link that leaves")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    names = np.array([["0001.jpg"], ["0002.jpg"]], dtype=object)
    scipy.io.savemat(path, {"data": {"left": {"gaze": np.ones((2, 3))}}, "filenames": names})
    return path


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_read_but_never_worse(whole, tmp_path, data):
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "a.mat"
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    # any other exception, or a crash, fails the test
    with contextlib.suppress(FormatError):
        read_matlab5(damaged, tmp_path)
