"""MATLAB 5 files (``.mat`` before v7.3), checked before SciPy reads them.

SciPy's reader follows whatever nesting and dimensions a file states. A file can thus make it recurse
until the process dies, or allocate far more than the file holds. So the tree of data elements is
walked here first, in bounds; format: The MathWorks, "MAT-File Format", chapter 1.
"""

import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scipy.io

from fedpriv.errors import FormatError
from fedpriv.formats.files import read_input

MAX_FILE_BYTES = 128 * 2**20
MAX_EXPANDED_BYTES = 256 * 2**20
MAX_RESULT_BYTES = 256 * 2**20
"""Of all numbers and letters of a file, 8 bytes each: a double may be stored as one byte."""
MAX_CELLS = 200_000
"""Matrices, elements of structures and names of fields in a file: each becomes an object of Python."""
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT = 1, 2
_CLASSES = {_CELL, _STRUCT, 4, *range(6, 16)}
"""Cells, structures, text and plain numbers; no objects, functions or sparse matrices."""
_COMPLEX = 0x0800
_DEEPEST = 8
_OVERHEAD = 1024
"""Most bytes of a matrix beside its elements: flags, dimensions, name, padding."""


@dataclass
class _Budget:
    """What one whole file may still hold.

    A limit per matrix would not do: a small file holds many.
    """

    path: Path
    cells: int
    bytes: int

    def take(self, cells: int, size: int) -> None:
        """Subtract, or refuse."""
        self.cells -= cells
        self.bytes -= size
        if self.cells < 0:
            raise FormatError(
                self.path, None, f"holds more than {MAX_CELLS} cells and elements of structures"
            )
        if self.bytes < 0:
            raise FormatError(self.path, None, f"holds more than {MAX_RESULT_BYTES} bytes of elements")


def read_matlab5(path: Path, root: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB 5 file, structures as ``mat_struct``, nothing squeezed.

    Args:
        path: the file, at most ``MAX_FILE_BYTES`` and, expanded, ``MAX_EXPANDED_BYTES`` long; what it
            holds in all, however many variables, obeys ``MAX_CELLS`` and ``MAX_RESULT_BYTES``.
        root: the folder that it must not leave by a link.

    Raises:
        FormatError: it is no MATLAB 5 file, too large or damaged, or holds what is not plain data.
    """
    data = read_input(path, MAX_FILE_BYTES, root)
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
    budget = _Budget(path, MAX_CELLS, MAX_RESULT_BYTES)
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
            _check_elements(budget, content, 0, len(content), order, 0)
        elif kind == _MATRIX:
            _check_elements(budget, data, position, following, order, 0)
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


def _check_elements(budget: _Budget, data: bytes, start: int, stop: int, order: str, depth: int) -> None:
    """Check that the elements in [start, stop) nest shallowly and hold as much as they state."""
    path = budget.path
    if depth > _DEEPEST:
        raise FormatError(path, None, f"nests more than {_DEEPEST} deep")
    while start < stop:
        kind, content, end, start = _element(path, data, start, stop, order)
        if kind == _MATRIX:
            budget.take(1, 0)
            if content < end:
                _check_matrix(budget, data, content, end, order)
                _check_elements(budget, data, content, end, order, depth + 1)
        elif kind == _COMPRESSED:
            raise FormatError(path, None, "compresses twice")


def _check_matrix(budget: _Budget, data: bytes, start: int, stop: int, order: str) -> None:
    path = budget.path
    _, flags, flags_end, following = _element(path, data, start, stop, order)
    _, dims, dims_end, name = _element(path, data, following, stop, order)
    if flags_end - flags != 8 or (dims_end - dims) % 4 or not 8 <= dims_end - dims <= 32:
        raise FormatError(path, None, "a matrix without flags and dimensions")
    word = struct.unpack_from(order + "I", data, flags)[0]
    kind = word & 0xFF
    if kind not in _CLASSES:
        raise FormatError(path, None, f"a matrix of class {kind}: need numbers, text, cells, structures")
    if word & _COMPLEX:
        raise FormatError(path, None, "a matrix of complex numbers: need real ones")
    sizes = struct.unpack_from(f"{order}{(dims_end - dims) // 4}i", data, dims)
    if min(sizes) < 0:
        raise FormatError(path, None, f"a dimension of {min(sizes)}")
    total, held = math.prod(sizes), stop - start
    nested = kind in (_CELL, _STRUCT)
    # every cell or element of a structure takes 8 bytes or more, every number 1 to 8
    if total * (8 if nested else 1) > held or (not nested and held > 8 * total + _OVERHEAD):
        raise FormatError(path, None, f"a matrix of {total} elements in {held} bytes")
    budget.take(0, 8 * total)
    if kind == _STRUCT:
        budget.take(total + _fields(path, data, name, stop, order), 0)


def _fields(path: Path, data: bytes, start: int, stop: int, order: str) -> int:
    """Return how many fields the structure has whose name's element starts at ``start``."""
    *_, start = _element(path, data, start, stop, order)
    _, length, end, start = _element(path, data, start, stop, order)
    _, names, names_end, _ = _element(path, data, start, stop, order)
    if end - length != 4 or (each := struct.unpack_from(order + "i", data, length)[0]) < 1:
        raise FormatError(path, None, "a structure without a length of its fields' names")
    return (names_end - names) // int(each)
