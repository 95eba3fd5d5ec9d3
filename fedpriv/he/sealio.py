"""SEAL objects to bytes and back, never through a disk and never compressed.

The low-level interface of TenSEAL saves and loads by file name only; an anonymous memory file
(memfd_create) reached through ``/proc/self/fd`` serves and is gone when closed. It also always
compresses with Zstandard, and no mode can be chosen. Two reasons to undo that on our side of the
border: SEAL aborts the whole process on crafted compressed input (an object that is compressed
inside a compressed object and cut short), so no compressed byte may come from outside; and raw
coefficients feed numpy without Python lists. The decompressor is the one inside TenSEAL's library.
"""

import ctypes
import functools
import os
import struct
import sys
from types import TracebackType
from typing import Any

import numpy as np
from tenseal import sealapi

from fedpriv.errors import UserError

_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC = 0xA15E
_UNCOMPRESSED, _ZSTANDARD = 0, 2


class SealDataError(ValueError):
    """Bytes that are no SEAL object of the kind and parameters asked for."""


class SealBuffer:
    """A memory file that SEAL objects pass through one after the other; use it in ``with``.

    Raises:
        UserError: where the system has no memory files (only Linux does).
    """

    def __init__(self) -> None:
        """Create the memory file."""
        if sys.platform != "linux":
            raise UserError(f"secure.scheme: needs Linux for memory files, this is {sys.platform}; use plain")
        self._descriptor = os.memfd_create("fedpriv-he", os.MFD_CLOEXEC)
        self._path = f"/proc/self/fd/{self._descriptor}"
        self._decompressor: int | None = None

    def dump(self, seal_object: Any, max_bytes: int) -> bytes:
        """Return the body that ``seal_object.save`` writes, uncompressed and without SEAL's header.

        Raises:
            SealDataError: when it has more than ``max_bytes``.
        """
        os.ftruncate(self._descriptor, 0)
        seal_object.save(self._path)
        stored = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        compression = _HEADER.unpack_from(stored)[4]
        if compression == _UNCOMPRESSED:
            return stored[_HEADER.size :]
        if compression != _ZSTANDARD:
            raise SealDataError(f"SEAL object: compression {compression}, 0 or {_ZSTANDARD} known")
        return self._decompress(stored[_HEADER.size :], max_bytes)

    def load(self, seal_object: Any, context: Any, parts: list[bytes | memoryview], max_bytes: int) -> None:
        """Let ``seal_object`` load the body that ``parts`` make up, under ``context``.

        Guarantee:
            SEAL sees no more than ``max_bytes``, under a header written here.

        Raises:
            SealDataError: when it is longer, or SEAL refuses it.
        """
        size = sum(len(part) for part in parts)
        if size > max_bytes:
            raise SealDataError(f"SEAL object: {size} bytes, at most {max_bytes} allowed")
        os.ftruncate(self._descriptor, 0)
        written = os.pwritev(self._descriptor, [seal_header(size), *parts], 0)
        if written != _HEADER.size + size:
            raise OSError("memory file: short write")
        try:
            seal_object.load(context, self._path)
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            raise SealDataError(f"SEAL object: {error}") from error

    def _decompress(self, data: bytes, max_bytes: int) -> bytes:
        """Decompress what SEAL just compressed, into at most ``max_bytes``."""
        library = _zstandard()
        if self._decompressor is None:
            # Kept between calls: making one costs more than decompressing a ciphertext.
            self._decompressor = library.ZSTD_createDCtx()
        target = np.empty(max_bytes, np.uint8)
        size = library.ZSTD_decompressDCtx(self._decompressor, target.ctypes.data, max_bytes, data, len(data))
        if library.ZSTD_isError(size):
            raise SealDataError(f"SEAL object: does not decompress into {max_bytes} bytes")
        return target[:size].tobytes()

    def __enter__(self) -> "SealBuffer":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the memory file, which frees what it held."""
        os.close(self._descriptor)
        if self._decompressor is not None:
            _zstandard().ZSTD_freeDCtx(self._decompressor)
            self._decompressor = None


def seal_header(body_bytes: int) -> bytes:
    """Return SEAL's 16-byte header of an uncompressed body of ``body_bytes``."""
    major, minor = _library_version()
    return _HEADER.pack(_MAGIC, _HEADER.size, major, minor, _UNCOMPRESSED, 0, _HEADER.size + body_bytes)


@functools.cache
def _library_version() -> tuple[int, int]:
    """Return SEAL's version as it stands in what it saves."""
    with SealBuffer() as buffer:
        sealapi.Plaintext("1").save(buffer._path)
        magic, size, major, minor, *_ = _HEADER.unpack(os.pread(buffer._descriptor, _HEADER.size, 0))
    if (magic, size, major) != (_MAGIC, _HEADER.size, 4):
        raise UserError(f"tenseal: writes SEAL format {major}.{minor}, this program knows 4; use tenseal 0.3")
    return major, minor


@functools.cache
def _zstandard() -> ctypes.CDLL:
    """Return TenSEAL's library with the types of its Zstandard functions set."""
    library = ctypes.CDLL(sealapi._sealapi_cpp.__file__)
    try:
        library.ZSTD_createDCtx.restype = ctypes.c_void_p
        library.ZSTD_createDCtx.argtypes = []
        library.ZSTD_freeDCtx.argtypes = [ctypes.c_void_p]
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        library.ZSTD_decompressDCtx.restype = ctypes.c_size_t
        library.ZSTD_decompressDCtx.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_char_p,
            ctypes.c_size_t,
        ]
    except AttributeError as error:
        raise UserError(
            "tenseal: this build hides Zstandard; install the wheel of tenseal 0.3 from PyPI"
        ) from error
    return library
