"""Which coordinates of an update are encrypted: by layer name, or the most sensitive share."""

import hashlib
import math
import struct
from collections.abc import Sequence
from fnmatch import fnmatchcase
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.codec import Buffer

_SHOWN = 6
_LONGEST_PATTERN = 200


class SelectionError(ValueError):
    """Packed bits that are no selection of the expected size."""


def select_layers(
    names: Sequence[str], shapes: Sequence[tuple[int, ...]], patterns: Sequence[str]
) -> NDArray[np.bool_]:
    """Mark the coordinates of every parameter whose name matches one of the patterns.

    Args:
        names: of the parameters, in the order of the vector.
        shapes: of the parameters.
        patterns: shell patterns (``*``, ``?``, ``[...]``) for whole names, upper and lower case told
            apart, e.g. ``convolutions.*`` or ``*.bias``.

    Returns:
        (P,) bool, True where a coordinate is to be encrypted.

    Raises:
        UserError: without patterns, or for one that matches no name.
    """
    if not patterns:
        raise UserError("secure.select=[]: selects nothing; name layers, or null to encrypt everything")
    for pattern in patterns:
        if len(pattern) > _LONGEST_PATTERN:
            raise UserError(f"secure.select: a pattern has {len(pattern)} characters; use {_LONGEST_PATTERN}")
        if not any(fnmatchcase(name, pattern) for name in names):
            more = ", ..." if len(names) > _SHOWN else ""
            raise UserError(
                f"secure.select={pattern}: matches no layer; there are {', '.join(names[:_SHOWN])}{more}"
            )
    chosen = [any(fnmatchcase(name, pattern) for pattern in patterns) for name in names]
    return np.repeat(np.array(chosen, dtype=np.bool_), [math.prod(shape) for shape in shapes])


def selected_count(share: float, length: int) -> int:
    """Return ceil(share * length), ``share`` being the decimal number that it is written as.

    In floating point 0.07 * 100 exceeds 7; here it does not.

    Raises:
        UserError: unless 0 < share < 1.
    """
    if not 0.0 < share < 1.0:
        raise UserError(
            f"secure.select_top={share}: must lie between 0 and 1; use null to encrypt everything"
        )
    return math.ceil(Fraction(repr(float(share))) * length)


def select_top(sensitivity: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """Mark the ceil(share * P) coordinates of largest sensitivity.

    Guarantee:
        Exactly :func:`selected_count` coordinates are marked, none of which is less sensitive than one
        that is not; of equal ones those of lower index are taken first.

    Args:
        sensitivity: (P,), finite.
        share: p, between 0 and 1.

    Raises:
        UserError: unless 0 < share < 1.
        ValueError: for a vector that is empty or not finite.
    """
    if sensitivity.ndim != 1 or not len(sensitivity) or not np.isfinite(sensitivity).all():
        raise ValueError(f"sensitivity: need a finite vector (P,), got shape {sensitivity.shape}")
    count = selected_count(share, len(sensitivity))
    threshold = np.partition(sensitivity, len(sensitivity) - count)[len(sensitivity) - count]
    selected: NDArray[np.bool_] = sensitivity > threshold
    tied = np.flatnonzero(sensitivity == threshold)
    selected[tied[: count - int(np.count_nonzero(selected))]] = True
    return selected


def pack_selection(selected: NDArray[np.bool_]) -> bytes:
    """Return ceil(P / 8) bytes: coordinate i is bit i mod 8, the lowest first, of byte i // 8."""
    return np.packbits(selected, bitorder="little").tobytes()


def unpack_selection(data: Buffer, length: int, count: int) -> NDArray[np.bool_]:
    """Read what :func:`pack_selection` wrote.

    Args:
        data: untrusted bytes.
        length: P, coordinates.
        count: how many of them must be selected.

    Returns:
        (P,) bool.

    Raises:
        SelectionError: for another number of bytes or of selected coordinates, or bits beyond the last.
    """
    expected = -(-length // 8)
    if len(data) != expected:
        raise SelectionError(f"selection: {len(data)} bytes, {expected} expected")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").view(np.bool_)
    if bits[length:].any():
        raise SelectionError(f"selection: has bits beyond coordinate {length}")
    selected = bits[:length]
    if (found := int(np.count_nonzero(selected))) != count:
        raise SelectionError(f"selection: {found} coordinates, {count} expected")
    return selected


def unpack_choice(data: Buffer, length: int, share: float) -> NDArray[np.bool_]:
    """Read a choice of the ceil(share * P) most sensitive coordinates, or of all of them.

    All are encrypted where no choice could be made, which hides no less than any choice.

    Args:
        data: untrusted bytes, see :func:`pack_selection`.
        length: P, coordinates.
        share: p, between 0 and 1.

    Raises:
        SelectionError: see :func:`unpack_selection`.
        UserError: unless 0 < share < 1.
    """
    everything = bytes(data) == pack_selection(np.ones(length, np.bool_))
    return unpack_selection(data, length, length if everything else selected_count(share, length))


def selection_digest(selected: NDArray[np.bool_]) -> bytes:
    """Return SHA-256 over length and packed bits."""
    packed = pack_selection(selected)
    return hashlib.sha256(b"fedpriv-selection-1" + struct.pack("<Q", len(selected)) + packed).digest()
