"""Sums of ciphertexts' polynomials: what server and key holders add, without a key and without SEAL."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.codec import Buffer, PayloadError, require_size
from fedpriv.he.fixed_bytes import FixedBytes
from fedpriv.he.ring import add, negate
from fedpriv.he.sealio import SealDataError
from fedpriv.he.wire import CiphertextWire, Words


class PolynomialSum:
    """The running sum of M polynomials per client; memory is one sum, whatever the number of clients.

    Attributes:
        total: (M, L, N) uint64.
    """

    def __init__(self, wire: CiphertextWire, polynomials: int) -> None:
        """Start from zero."""
        self._wire = wire
        self.total: NDArray[np.uint64] = np.zeros((polynomials, *wire.shape), np.uint64)

    def add(self, packed: Buffer) -> None:
        """Add a client's packed polynomials, one after the other.

        Guarantee:
            What is refused leaves the sum as it was.

        Raises:
            PayloadError: ``truncated``, ``oversized``, or ``malformed`` for a residue not below its prime.
        """
        view = require_size(packed, len(self.total) * self._wire.polynomial_bytes)
        done = 0
        try:
            for total, polynomial in zip(self.total, _polynomials(self._wire, view), strict=True):
                add(total, polynomial, self._wire.moduli)
                done += 1
        except SealDataError as error:
            for total, polynomial in zip(self.total[:done], _polynomials(self._wire, view), strict=False):
                add(total, negate(polynomial, self._wire.moduli), self._wire.moduli)
            raise PayloadError("malformed", str(error)) from error

    def packed(self) -> bytes:
        """Return the sum as bytes."""
        size = self._wire.polynomial_bytes
        out = FixedBytes(len(self.total) * size)
        for index, polynomial in enumerate(self.total):
            out.view[index * size : (index + 1) * size] = self._wire.pack(polynomial)
        return out.take()


def check_polynomials(wire: CiphertextWire, packed: Buffer, count: int) -> None:
    """Refuse what :meth:`PolynomialSum.add` would; memory is one polynomial, and the time far less.

    Raises:
        PayloadError: ``truncated``, ``oversized``, or ``malformed`` for a residue not below its prime.
    """
    try:
        for polynomial in _slices(wire, require_size(packed, count * wire.polynomial_bytes)):
            wire.check(polynomial)
    except SealDataError as error:
        raise PayloadError("malformed", str(error)) from error


def _polynomials(wire: CiphertextWire, view: memoryview) -> Iterator[Words]:
    return map(wire.unpack, _slices(wire, view))


def _slices(wire: CiphertextWire, view: memoryview) -> Iterator[memoryview]:
    size = wire.polynomial_bytes
    for start in range(0, len(view), size):
        yield view[start : start + size]
