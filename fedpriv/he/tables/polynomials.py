"""Plaintexts by their coefficients; the keys' interface takes and gives slots, one transform away."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer, seal_header
from fedpriv.he.users.encoding import SlotEncoder
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.wire import dump_plaintext

_HEAD = struct.Struct("<32sQd")
_LENGTH = struct.Struct("<Q")


class Coefficients:
    """Turns the (N,) coefficients of a BFV plaintext into the plaintext or its slots, and back."""

    def __init__(self, parameters: ParameterSet) -> None:
        """Prepare SEAL's encoder."""
        self._degree, self._plain = parameters.seal.poly_degree, parameters.seal.plain_modulus
        self._context = seal_context(parameters.seal)
        self._batch, self._encoder = sealapi.BatchEncoder(self._context), SlotEncoder(parameters)

    def plaintext(self, coefficients: NDArray[np.int64]) -> Any:
        """Return the ``Plaintext`` of (N,) int64 coefficients.

        Raises:
            ValueError: when one is beyond t / 2 in magnitude.
        """
        half = self._plain // 2
        if not (-half <= int(coefficients.min()) and int(coefficients.max()) <= half):
            raise ValueError("coefficients: beyond t / 2")
        return self.of_residues(np.where(coefficients < 0, coefficients + self._plain, coefficients))

    def of_residues(self, residues: NDArray[np.int64]) -> Any:
        """Return the ``Plaintext`` of (N,) int64 coefficients in [0, t)."""
        words = np.ascontiguousarray(residues, "<i8")
        head = _HEAD.pack(bytes(32), self._degree, 1.0) + seal_header(_LENGTH.size + 8 * self._degree)
        head += _LENGTH.pack(self._degree)
        made = sealapi.Plaintext()
        with SealBuffer() as buffer:
            parts: list[bytes | memoryview] = [head, words.view(np.uint8).data]
            buffer.load(made, self._context, parts, len(head) + 8 * self._degree)
        return made

    def slots(self, coefficients: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the (N,) slots, uint64 below t, of (N,) int64 coefficients; raises as :meth:`plaintext`."""
        return np.array(self._batch.decode_uint64(self.plaintext(coefficients)), np.uint64)

    def coefficients(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (N,) coefficients, in (-t/2, t/2], of (N,) int64 slots in that range."""
        with SealBuffer() as buffer:
            found = dump_plaintext(buffer, self._encoder.integers(slots), self._degree)
        signed = found.astype(np.int64)
        return np.where(signed > self._plain // 2, signed - self._plain, signed)
