"""Arrays that nobody vouches for: reads ``.npz`` files, and finds what is no number: a leaf."""

import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from fedpriv.types import AnyArray

MOST_ARRAYS = 4096
"""In one file of weights: a model has a few hundred."""

_ENTRY_BYTES = 512
"""Of a directory's entry, on average at most: 66 and a name."""
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path, most: int = MOST_ARRAYS) -> dict[str, AnyArray]:
    """Return the arrays of an uncompressed ``.npz`` file, as ``numpy.savez`` writes them.

    Guarantee:
        - Takes no more memory than about twice the size of the file, whatever its headers say, and a few
          kilobytes for each of ``most`` arrays.
        - Every array's checksum (CRC-32) is right. Objects are refused, nothing is unpickled.

    Args:
        path: the file.
        most: arrays that it may hold.

    Raises:
        ValueError: when it is not such a file, or holds more arrays.
        OSError: when it cannot be read.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file, zipfile.ZipFile(_with_few(file, size, most)) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("is compressed")
            if sum(member.file_size for member in members) > size:
                raise ValueError("claims more bytes than it has")
            return {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise ValueError("is no npz file") from error


def not_finite(arrays: Mapping[str, AnyArray]) -> str | None:
    """Return the name of the first array that holds NaN or an infinity, short enough to be shown; or None."""
    found = next((name for name, values in arrays.items() if not np.isfinite(values).all()), None)
    return None if found is None else " ".join(found.split())[:80]


def _with_few(file: BinaryIO, size: int, most: int) -> BinaryIO:
    """Return a file, refused where its directory is too large: ``zipfile`` makes an object for each entry.

    ``zipfile`` goes by the directory's size and not by the number of entries, so that both are bounded.
    """
    file.seek(max(0, size - 98))  # an end without a comment, and what a large archive has before it
    tail = file.read(98)
    if tail[-22:-18] != _END or tail[-2:] != b"\0\0":
        raise ValueError("is no npz file, or was cut off or added to")
    count, directory = struct.unpack("<HI", tail[-12:-6])
    if tail[-42:-38] == _LOCATOR64:
        if tail[-98:-94] != _END64:
            raise ValueError("has a damaged end")
        count, directory = struct.unpack("<QQ", tail[-66:-50])
    if count > most or directory > most * _ENTRY_BYTES:
        raise ValueError(f"holds {count} arrays in a directory of {directory} bytes; {most} are the most")
    file.seek(0)
    return file


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> AnyArray:
    with archive.open(member) as file:
        read_header = _HEADER_READERS.get(np.lib.format.read_magic(file))
        if read_header is None:
            raise ValueError(f"{member.filename}: unknown version")
        try:
            shape, fortran, dtype = read_header(file)
        except (TokenError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            # how numpy's reader, a reader of Python literals, meets a damaged header
            raise ValueError(f"{member.filename}: has a damaged header") from error
        if dtype.kind not in "fiub":
            raise ValueError(f"{member.filename}: holds {dtype}, no numbers")
        data = file.read()
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{member.filename}: shape {shape} and {len(data)} bytes disagree")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")
