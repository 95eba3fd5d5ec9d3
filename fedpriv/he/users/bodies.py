"""Ciphertexts of any level as packed coefficients.

As in :mod:`fedpriv.he.wire`, the parser of SEAL sees no length, type or flag that somebody else chose, and no
coefficient that is not below its prime.
"""

from typing import Any

import numpy as np

from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.users.frames import Frame
from fedpriv.he.users.row_packing import RowPacking
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import SEED_BYTES, Buffer, Shape, Words


class Bodies:
    """Packs and unpacks ciphertexts of one shape.

    Layout: the rows of each polynomial, one for each prime, packed to the width of its prime
    (:mod:`fedpriv.he.words`); seeded, the first polynomial and 64 bytes of seed. BFV's rows are coefficients,
    those of CKKS are in the NTT domain.

    Attributes:
        size: exact bytes of one ciphertext.
    """

    def __init__(self, parameters: ParameterSet, shape: Shape) -> None:
        """Prepare the constant parts.

        Raises:
            ValueError: when ``parameters`` have no such shape.
        """
        if problem := shape.problem(parameters):
            raise ValueError(problem)
        self._shape, self._seal = shape, parameters.seal
        self._rows = RowPacking(parameters.moduli(shape.primes), parameters.seal.poly_degree)
        self._frame = Frame(parameters.seal, shape, ntt=parameters.ckks)
        tail = SEED_BYTES if shape.seeded else 0
        self.size = self._rows.size * (1 if shape.seeded else shape.polynomials) + tail

    def pack(self, ciphertext: Any) -> bytes:
        """Return a ``Ciphertext``, or a ``SerializableCiphertext`` where seeded, in :attr:`size` bytes.

        Raises:
            SealDataError: when it has another shape.
        """
        with SealBuffer() as buffer:
            words, seed = self._frame.read(buffer, ciphertext)
        return b"".join([*(self._rows.pack(polynomial) for polynomial in words), seed])

    def check(self, data: Buffer) -> None:
        """Refuse what :meth:`unpack` refuses, without SEAL.

        Raises:
            SealDataError: as :meth:`unpack`.
        """
        self._words(data)

    def unpack(self, data: Buffer) -> Any:
        """Return the ``Ciphertext``.

        Edge cases:
            - One whose later polynomials are all zero is refused: it hides nothing, and SEAL takes it
              nowhere.

        Raises:
            SealDataError: for another size, and for a coefficient that is not below its prime.
        """
        words, seed = self._words(data)
        with SealBuffer() as buffer:
            return self._frame.write(buffer, words, seed)

    def _words(self, data: Buffer) -> tuple[Words, bytes]:
        if len(data) != self.size:
            raise SealDataError(f"ciphertext: {len(data)} bytes, {self.size} expected")
        view, step = memoryview(data), self._rows.size
        count = 1 if self._shape.seeded else self._shape.polynomials
        words = np.stack(
            [self._rows.unpack(view[start : start + step]) for start in range(0, count * step, step)]
        )
        if not self._shape.seeded and not words[1:].any():
            raise SealDataError("ciphertext: hides nothing, all but its first polynomial is zero")
        return words, bytes(view[count * step :])


def shape_of(parameters: ParameterSet, ciphertext: Any) -> Shape:
    """Return the shape of a ``Ciphertext``, which is never seeded."""
    scale = float(ciphertext.scale) if parameters.ckks else 1.0
    return Shape(ciphertext.size(), ciphertext.coeff_modulus_size(), False, scale)


def polynomials(parameters: ParameterSet, ciphertext: Any) -> Words:
    """Return the residues of a ``Ciphertext``, (polynomials, primes, N)."""
    frame = Frame(parameters.seal, shape_of(parameters, ciphertext), ntt=parameters.ckks)
    with SealBuffer() as buffer:
        return frame.read(buffer, ciphertext)[0]


def from_polynomials(parameters: ParameterSet, words: Words, scale: float = 1.0) -> Any:
    """Return the ``Ciphertext`` with these residues, each below its prime, (polynomials, primes, N)."""
    count, primes, _ = words.shape
    frame = Frame(parameters.seal, Shape(count, primes, False, scale), ntt=parameters.ckks)
    with SealBuffer() as buffer:
        return frame.write(buffer, words)
