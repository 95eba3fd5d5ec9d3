"""One block of a gallery in memory, some dimensions of it: of ciphertexts, or of plaintexts.

Both are sums of segments that fill different slots, and multiply an encrypted probe; a plain probe
multiplies ciphertexts only.
"""

from typing import Any, Protocol

import numpy as np

from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.plain_files import read_rows
from fedpriv.he.matching.products import Factors, Products
from fedpriv.he.matching.reading import read_columns


class Columns(Protocol):
    """What a block is to the one who asks."""

    def __init__(self, gallery: Gallery, products: Products, dimensions: range) -> None:
        """Hold nothing yet."""

    @property
    def memory_bytes(self) -> int:
        """Bytes held."""

    def add(self, segment: Segment) -> None:
        """Read a segment and add it; FormatError or UserError, and nothing is added, when it cannot be."""

    def sum(self, factors: Factors) -> Any:
        """Return the scores: the sum of columns times factors; None where all of either are zero."""


class EncryptedColumns:
    """A block of ciphertexts."""

    def __init__(self, gallery: Gallery, products: Products, dimensions: range) -> None:
        """Hold nothing yet."""
        self._gallery, self._products, self._dimensions = gallery, products, dimensions
        self._held: list[Any] = []

    @property
    def memory_bytes(self) -> int:
        """Bytes of the ciphertexts, 2 polynomials of 64-bit words each."""
        parameters = self._gallery.keys.set
        return len(self._held) * 16 * parameters.primes * parameters.seal.poly_degree

    def add(self, segment: Segment) -> None:
        """Read a segment and add it."""
        gallery, add = self._gallery, self._products.evaluation.add
        path = gallery.files.path_of(segment)
        read = read_columns(path, gallery.keys, segment, gallery.dim, self._dimensions)
        self._held = [add(*pair) for pair in zip(self._held, read, strict=True)] if self._held else read

    def sum(self, factors: Factors) -> Any:
        """Return the sum of products."""
        return self._products.sum(self._held, factors)


class PlainColumns:
    """A block of templates in clear; encoded when it is first asked."""

    def __init__(self, gallery: Gallery, products: Products, dimensions: range) -> None:
        """Hold nothing yet."""
        self._gallery, self._products, self._dimensions = gallery, products, dimensions
        self._values = np.zeros((len(dimensions), gallery.keys.set.slots))
        self._operands: list[Any] | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes of values and plaintexts, 1 polynomial of 64-bit words each, once they are encoded."""
        parameters = self._gallery.keys.set
        operands = len(self._dimensions) * 8 * parameters.primes * parameters.seal.poly_degree
        return self._values.nbytes + operands

    def add(self, segment: Segment) -> None:
        """Read a segment and add it."""
        gallery = self._gallery
        rows = read_rows(gallery.files.path_of(segment), gallery.keys, segment, gallery.dim)
        self._values[:, list(segment.place.slots)] = rows[:, self._dimensions].T
        self._operands = None

    def sum(self, factors: Factors) -> Any:
        """Return the sum of products."""
        if self._operands is None:
            self._operands = self._products.plain_columns(self._values)
        return self._products.sum_plain_columns(self._operands, factors)
