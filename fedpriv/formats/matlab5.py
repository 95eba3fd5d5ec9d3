"""MATLAB 5 files (``.mat`` before v7.3), checked before SciPy reads them.

SciPy's reader follows whatever nesting and dimensions a file states. A file can thus make it recurse
until the process dies, or allocate far more than the file holds. So the tree of data elements is
walked here first, in bounds; format: The MathWorks, "MAT-File Format", chapter 1.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import scipy.io

from fedpriv.errors import FormatError
from fedpriv.formats.untrusted import check_file

MAX_FILE_BYTES = 128 * 2**20
MAX_EXPANDED_BYTES = 256 * 2**20
MAX_CELLS = 1_000_000
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT = 1, 2
_CLASSES = {_CELL, _STRUCT, 4, *range(6, 16)}
"""Cells, structures, text and plain numbers; no objects, functions or sparse matrices."""
_DEEPEST = 8


def read_matlab5(path: Path, root: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB 5 file, structures as ``mat_struct``, nothing squeezed.

    Args:
        path: the file, at most ``MAX_FILE_BYTES`` and, expanded, ``MAX_EXPANDED_BYTES`` long.
        root: the folder that it must not leave by a link.

    Raises:
        FormatError: it is no MATLAB 5 file, too large or damaged, or holds what is not plain data.
    """
    check_file(path, root, MAX_FILE_BYTES)
    data = path.read_bytes()
    if data[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in data[:_HEADER]:
        raise FormatError(path, None, "is a MATLAB 7.3 (HDF5) file, need MATLAB 5; save it with -v6 or -v7")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or struct.unpack(order + "H", data[124:126])[0] != 0x0100:
        raise FormatError(path, None, "is no MATLAB 5 file")
    _check_top(path, data, order)
    try:
        return _load(data)
    # SciPy meets damaged files with ValueError, TypeError, KeyError, IndexError, zlib.error and others
    except Exception as error:
        raise FormatError(path, None, f"is damaged ({type(error).__name__}: {error})") from error


def _load(data: bytes) -> dict[str, Any]:
    # mat_dtype: MATLAB stores whole doubles as small integers, which they would stay without it
    return dict(scipy.io.loadmat(io.BytesIO(data), struct_as_record=False, squeeze_me=False, mat_dtype=True))


def _check_top(path: Path, data: bytes, order: str) -> None:
    position, expanded = _HEADER, 0
    while position < len(data):
        kind, start, end, following = _element(path, data, position, len(data), order, padded=False)
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            try:
                content = inflater.decompress(data[start:end], MAX_EXPANDED_BYTES - expanded + 1)
            except zlib.error as error:
                raise FormatError(path, position, f"is damaged ({error})") from error
            expanded += len(content)
            if expanded > MAX_EXPANDED_BYTES:
                raise FormatError(path, position, f"expands to more than {MAX_EXPANDED_BYTES} bytes")
            _check_elements(path, content, 0, len(content), order, 0)
        elif kind == _MATRIX:
            _check_elements(path, data, position, following, order, 0)
        else:
            raise FormatError(path, position, f"data element of type {kind}, need a matrix")
        position = following


def _element(
    path: Path, data: bytes, position: int, limit: int, order: str, padded: bool = True
) -> tuple[int, int, int, int]:
    """Return type, start and end of the content, and where the next element starts."""
    if position + 8 > limit:
        raise FormatError(path, position, "is cut short")
    kind, count = struct.unpack_from(order + "II", data, position)
    if kind >> 16:
        kind, count = kind & 0xFFFF, kind >> 16
        if count > 4:
            raise FormatError(path, position, f"a small data element of {count} bytes")
        return kind, position + 4, position + 4 + count, position + 8
    end = position + 8 + count
    if end > limit:
        raise FormatError(path, position, f"states {count} bytes, {limit - position - 8} are left")
    return kind, position + 8, end, min(end + (-count % 8 if padded else 0), limit)


def _check_elements(path: Path, data: bytes, start: int, stop: int, order: str, depth: int) -> None:
    """Check that the elements in [start, stop) nest shallowly and hold as much as they state."""
    if depth > _DEEPEST:
        raise FormatError(path, None, f"nests more than {_DEEPEST} deep")
    while start < stop:
        kind, content, end, start = _element(path, data, start, stop, order)
        if kind == _MATRIX and content < end:
            _check_matrix(path, data, content, end, order)
            _check_elements(path, data, content, end, order, depth + 1)
        elif kind == _COMPRESSED:
            raise FormatError(path, None, "compresses twice")


def _check_matrix(path: Path, data: bytes, start: int, stop: int, order: str) -> None:
    _, flags, flags_end, following = _element(path, data, start, stop, order)
    _, dims, dims_end, _ = _element(path, data, following, stop, order)
    if flags_end - flags != 8 or (dims_end - dims) % 4 or not 8 <= dims_end - dims <= 32:
        raise FormatError(path, None, "a matrix without flags and dimensions")
    word = struct.unpack_from(order + "I", data, flags)[0]
    if word & 0xFF not in _CLASSES:
        raise FormatError(
            path, None, f"a matrix of class {word & 0xFF}: need numbers, text, cells, structures"
        )
    total = 1
    for size in struct.unpack_from(f"{order}{(dims_end - dims) // 4}i", data, dims):
        if size < 0:
            raise FormatError(path, None, f"a dimension of {size}")
        total *= size
    # every cell or structure takes 8 bytes, every number 1, or more
    nested = word & 0xFF in (_CELL, _STRUCT)
    if total * (8 if nested else 1) > stop - start or (nested and total > MAX_CELLS):
        raise FormatError(path, None, f"a matrix of {total} elements in {stop - start} bytes")
