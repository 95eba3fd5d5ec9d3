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
    for plane, column in enumerate(np.frombuffer(data, "<u2", count * planes).reshape(planes, count)):
        columns[:, plane] = column
    if bits:
        rest = np.frombuffer(data, np.uint8, offset=2 * count * planes).reshape(bits, -1)
        high = np.zeros(count, np.uint16)
        for bit in np.unpackbits(rest, axis=1, count=count)[::-1]:
            high <<= 1
            high |= bit
        columns[:, planes] = high
    return columns.view("<u8")[:, 0].astype(np.uint64, copy=False)


def may_reach(data: memoryview, count: int, width: int, least: int) -> bool:
    """Whether one of the packed words may be ``least`` or more, judged by the highest bits alone.

    It is for a ``least`` whose highest bits are ones, as those of SEAL's primes are: few words have them all,
    so that uniform ones below ``least`` are nearly always told without unpacking any.

    Edge cases:
        Words that reach ``least`` are always found; False is therefore certain, and True is not.

    Args:
        data: what :func:`pack_words` returns, untrusted, of exactly :func:`packed_bytes` bytes.
        count: n.
        width: w.
        least: below 2^w.
    """
    planes, bits = divmod(width, _PLANE)
    if not planes or least >> (_PLANE * planes) != (1 << bits) - 1:
        return True
    top = np.frombuffer(data, "<u2", count, offset=2 * count * (planes - 1))
    reaching = top >= (least >> (_PLANE * (planes - 1)) & 0xFFFF)
    if bits and reaching.any():
        rest = np.frombuffer(data, np.uint8, offset=2 * count * planes).reshape(bits, -1)
        reaching &= np.unpackbits(np.bitwise_and.reduce(rest), count=count).view(np.bool_)
    return bool(reaching.any())
