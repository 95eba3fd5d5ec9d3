"""Reads ``.npz`` files that nobody vouches for: a leaf."""

import math
import zipfile
from pathlib import Path
from tokenize import TokenError

import numpy as np

from fedpriv.types import AnyArray

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path) -> dict[str, AnyArray]:
    """Return the arrays of an uncompressed ``.npz`` file, as ``numpy.savez`` writes them.

    Guarantee:
        - Takes no more memory than about twice the size of the file, whatever its headers say.
        - Every array's checksum (CRC-32) is right. Objects are refused, nothing is unpickled.

    Raises:
        ValueError: when it is not such a file.
        OSError: when it cannot be read.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("is compressed")
            if sum(member.file_size for member in members) > size:
                raise ValueError("claims more bytes than it has")
            return {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise ValueError("is no npz file") from error


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
