"""Unsigned integers of a fixed width as bytes without gaps.

Layout of n words of w = 8 m + r bits: first the m low bytes of every word, little-endian, then the
r high bits of every word, most significant first, filled up to a whole byte.
"""

import numpy as np
from numpy.typing import NDArray


def packed_bytes(count: int, width: int) -> int:
    """Return the bytes that ``count`` words of ``width`` bits take."""
    return count * (width // 8) + -(-count * (width % 8) // 8)


def pack_words(words: NDArray[np.uint64], width: int) -> bytes:
    """Return (n,) words, each below 2^width, in :func:`packed_bytes` bytes; ``width`` is 9 to 63."""
    whole, rest = divmod(width, 8)
    octets = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1, 8)
    low = octets[:, :whole].tobytes()
    if not rest:
        return low
    bits = np.unpackbits(octets[:, whole, np.newaxis], axis=1)[:, 8 - rest :]
    return low + np.packbits(bits).tobytes()


def unpack_words(data: memoryview, count: int, width: int) -> NDArray[np.uint64]:
    """Return the (count,) words of :func:`pack_words`; ``data`` has exactly :func:`packed_bytes` bytes."""
    whole, rest = divmod(width, 8)
    octets = np.zeros((count, 8), np.uint8)
    octets[:, :whole] = np.frombuffer(data, np.uint8, count * whole).reshape(count, whole)
    if rest:
        bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=count * whole), count=count * rest)
        high = np.packbits(bits.reshape(count, rest), axis=1)
        octets[:, whole] = high[:, 0] >> np.uint8(8 - rest)
    return octets.view("<u8")[:, 0].astype(np.uint64, copy=False)
