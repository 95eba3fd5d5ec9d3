"""Polynomials as bytes: each row packed to the width of its prime."""

import numpy as np

from fedpriv.he.parameters import SealParameters, key_primes
from fedpriv.he.sealio import SealDataError
from fedpriv.he.users.shapes import Buffer, Words
from fedpriv.he.words import pack_words, packed_bytes, unpack_words


class RowPacking:
    """Packs a polynomial row by row, each to the width of its prime.

    Attributes:
        size: bytes of one polynomial.
    """

    def __init__(self, moduli: Words, degree: int) -> None:
        """Take the primes, (L, 1), and N."""
        self._moduli, self._degree = moduli, degree
        self._widths = [int(modulus).bit_length() for modulus in moduli[:, 0]]
        self._sizes = [packed_bytes(degree, width) for width in self._widths]
        self.size = sum(self._sizes)

    def pack(self, polynomial: Words) -> bytes:
        """Return (L, N) residues in :attr:`size` bytes."""
        rows = zip(polynomial, self._widths, strict=True)
        return b"".join(pack_words(row, width) for row, width in rows)

    def unpack(self, data: Buffer) -> Words:
        """Return the (L, N) residues.

        Raises:
            SealDataError: for another size, and for a residue that is not below its prime.
        """
        if len(data) != self.size:
            raise SealDataError(f"polynomial: {len(data)} bytes, {self.size} expected")
        view, start, rows = memoryview(data), 0, []
        for width, size in zip(self._widths, self._sizes, strict=True):
            rows.append(unpack_words(view[start : start + size], self._degree, width))
            start += size
        words = np.stack(rows)
        if (words >= self._moduli).any():
            raise SealDataError("polynomial: a coefficient is not below its prime")
        return words


def key_moduli(seal: SealParameters) -> Words:
    """Return all primes, the special one last, (L + 1, 1)."""
    return key_primes(seal)[:, np.newaxis]
