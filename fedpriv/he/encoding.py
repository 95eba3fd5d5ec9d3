"""Between update vectors and plaintext polynomials: what BFV and CKKS differ in."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.parameters import SealParameters
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import CiphertextWire, Words
from fedpriv.privacy.noise import RandomSource
from fedpriv.types import FloatVector


class Encoding(ABC):
    """How coordinates become plaintexts that can be added, and back.

    Attributes:
        scheme: the codec's name.
        parameters: the encryption parameters that it needs.
        max_clients: most updates in one sum.
        values_per_plaintext: coordinates that one plaintext carries.
        scale: what a coordinate of 1 is in a ciphertext, in units of the modulus; 1 for BFV.
    """

    scheme: str
    parameters: SealParameters
    max_clients: int
    values_per_plaintext: int
    scale: float = 1.0

    @property
    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Everything public that decides what a plaintext means, for digests."""

    @abstractmethod
    def items_of(
        self, vector: FloatVector, random: np.random.Generator, source: RandomSource
    ) -> Iterator[tuple[Any, int]]:
        """Yield what each plaintext of an update holds and, with it, how many coordinates saturated.

        Args:
            vector: (P,) float32.
            random: for rounding.
            source: for noise, where the encoding adds any.

        Raises:
            NonFiniteUpdate: for NaN or infinity.
        """

    @abstractmethod
    def plaintext(self, buffer: SealBuffer, item: Any) -> Any:
        """Return an item as a ``sealapi.Plaintext``."""

    @abstractmethod
    def message(self, buffer: SealBuffer, item: Any) -> Words:
        """Return an item as what encryption adds to c0, (L, N) coefficients, writable."""

    @abstractmethod
    def decrypt(self, buffer: SealBuffer, decryptor: Any, c0: Words, c1: Words) -> Any:
        """Return the ``sealapi.Plaintext`` of a ciphertext in coefficients."""

    @abstractmethod
    def values(self, buffer: SealBuffer, plaintext: Any, count: int, length: int) -> NDArray[np.float64]:
        """Return the sums of ``length`` coordinates of ``count`` updates.

        Raises:
            ValueError: when the plaintext is no such sum.
        """

    def release(
        self, buffer: SealBuffer, plaintext: Any, count: int, length: int, source: RandomSource
    ) -> NDArray[np.float64]:
        """Return :meth:`values` as a single key holder may show them: exact, unless that would tell the key.

        Raises:
            ValueError: as :meth:`values`.
        """
        del source
        return self.values(buffer, plaintext, count, length)

    def require_noise(self, buffer: SealBuffer, plaintext: Any, phase: Words, count: int) -> None:
        """Refuse a decryption whose noise is larger than that of ``count`` honest ciphertexts.

        Without it, who may choose c0 learns from what a holder answers by how much the noise misses the
        rounding. An encoding whose answers are noisy anyway has nothing to check.

        Args:
            buffer: what it passes through.
            plaintext: what decryption gave.
            phase: c0 + c1 s, (L, N) coefficients.
            count: ciphertexts in the sum.

        Raises:
            ValueError: when the noise is larger.
        """
        del buffer, plaintext, phase, count

    @abstractmethod
    def from_phase(self, buffer: SealBuffer, phase: Words) -> Any:
        """Return the plaintext of c0 + c1 s, (L, N), where the scheme has its ciphertexts."""

    def add_noise(
        self, buffer: SealBuffer, bodies: NDArray[np.uint64], length: int, source: RandomSource
    ) -> None:
        """Add the server's noise to a sum of c0, (M, L, N), in place; none unless the encoding has any."""
        del buffer, bodies, length, source

    def blocks(self, vector: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the coordinates of one plaintext after the other."""
        for start in range(0, len(vector), self.values_per_plaintext):
            yield vector[start : start + self.values_per_plaintext]

    def plaintexts(self, length: int) -> int:
        """Return how many plaintexts ``length`` coordinates fill."""
        return -(-length // self.values_per_plaintext)

    def wire(self) -> CiphertextWire:
        """Return the wire format of its ciphertexts."""
        return CiphertextWire(self.parameters, self.scale)
