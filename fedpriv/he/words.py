"""Unsigned integers of a fixed width as bytes without gaps, plane by plane, so that numpy is fast.

Layout of n words of w = 16 m + r bits: m planes of 16 bits (little-endian, n values each, lowest
plane first), then r planes of single bits (n bits each, most significant bit of a byte first,
filled up to a whole byte, lowest plane first).
"""

import numpy as np
from numpy.typing import NDArray

_PLANE = 16


def packed_bytes(count: int, width: int) -> int:
    """Return the bytes that ``count`` words of ``width`` bits take."""
    planes, bits = divmod(width, _PLANE)
    return 2 * count * planes + bits * -(-count // 8)


def pack_words(words: NDArray[np.uint64], width: int) -> bytes:
    """Return (n,) words, each below 2^width, in :func:`packed_bytes` bytes; ``width`` is 1 to 63."""
    planes, bits = divmod(width, _PLANE)
    columns = np.ascontiguousarray(words, "<u8").view("<u2").reshape(-1, 4)
    parts = [columns[:, plane].tobytes() for plane in range(planes)]
    if bits:
        high = columns[:, planes].copy()
        parts += [np.packbits(high & np.uint16(1 << bit) != 0).tobytes() for bit in range(bits)]
    return b"".join(parts)


def unpack_words(data: memoryview, count: int, width: int) -> NDArray[np.uint64]:
    """Return the (count,) words of :func:`pack_words`; ``data`` has exactly :func:`packed_bytes` bytes."""
    planes, bits = divmod(width, _PLANE)
    columns = np.zeros((count, 4), "<u2")
    columns[:, :planes] = np.frombuffer(data, "<u2", count * planes).reshape(planes, count).T
    if bits:
        rest = np.frombuffer(data, np.uint8, offset=2 * count * planes).reshape(bits, -1)
        high = np.zeros(count, np.uint16)
        for bit, plane in enumerate(rest):
            high |= np.unpackbits(plane, count=count).astype(np.uint16) << np.uint16(bit)
        columns[:, planes] = high
    return columns.view("<u8")[:, 0].astype(np.uint64, copy=False)
