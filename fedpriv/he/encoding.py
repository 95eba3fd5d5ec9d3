"""Between update vectors and plaintext polynomials: what BFV and CKKS differ in."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.parameters import SealParameters, data_primes, key_primes
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import CiphertextWire, Words
from fedpriv.privacy.canaries import SparseUpdate
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
        step: distance of neighbouring levels of a coordinate; 0 where coordinates are not quantised.
    """

    scheme: str
    parameters: SealParameters
    max_clients: int
    values_per_plaintext: int
    scale: float = 1.0
    step: float = 0.0

    @property
    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Everything public that decides what a plaintext means, for digests."""

    @property
    def figures(self) -> dict[str, float]:
        """What was chosen for this many clients, for the record of a run.

        ``poly_degree`` N; ``ciphertext_modulus_bits`` log2 of the q that updates travel under and
        ``key_modulus_bits`` with the special prime, on which security rests; ``values_per_slot``; for BFV
        ``plain_modulus_bits``, for CKKS ``scale_bits``.
        """
        parameters = self.parameters
        figures = {
            "poly_degree": parameters.poly_degree,
            "ciphertext_modulus_bits": _log2(data_primes(parameters)),
            "key_modulus_bits": _log2(key_primes(parameters)),
            "values_per_slot": self.fields.get("values_per_slot", 1),
        }
        if parameters.plain_modulus:
            return figures | {"plain_modulus_bits": round(math.log2(parameters.plain_modulus), 2)}
        return figures | {"scale_bits": round(math.log2(self.scale), 2)}

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

    def carrying(self, updates: Sequence[SparseUpdate]) -> "Encoding":
        """Return this encoding for an update with ``updates`` of further clients added to it.

        Raises:
            ValueError: where they would not be drowned in noise.
        """
        del updates
        raise ValueError(f"{self.scheme}: carries no other clients' updates")

    @abstractmethod
    def plaintext(self, buffer: SealBuffer, item: Any) -> Any:
        """Return an item as a ``sealapi.Plaintext``."""

    @abstractmethod
    def message(self, buffer: SealBuffer, item: Any) -> Words:
        """Return an item as what encryption adds to c0, (L, N) coefficients, writable."""

    @abstractmethod
    def values(self, buffer: SealBuffer, plaintext: Any, count: int, length: int) -> NDArray[np.float64]:
        """Return the sums of ``length`` coordinates of ``count`` updates.

        Raises:
            ValueError: when the plaintext is no such sum.
        """

    @abstractmethod
    def release(
        self, buffer: SealBuffer, phase: Words, count: int, length: int, source: RandomSource
    ) -> NDArray[np.float64]:
        """Return :meth:`values` as a single key holder may show them: exact, unless that would tell the key.

        An encoding that shows them exactly refuses noise larger than that of ``count`` honest ciphertexts:
        who may choose c0 would learn from the answers by how much the noise misses the rounding.

        Args:
            buffer: what it passes through.
            phase: c0 + c1 s, (L, N) coefficients.
            count: ciphertexts in the sum.
            length: coordinates wanted.
            source: of the noise that hides the ciphertexts' own, where there is any.

        Raises:
            ValueError: as :meth:`values`, and when the noise is larger.
        """

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


def _log2(primes: NDArray[np.uint64]) -> float:
    return round(math.log2(math.prod(int(prime) for prime in primes)), 2)
