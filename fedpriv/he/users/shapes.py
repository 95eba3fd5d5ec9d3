"""What the ciphertexts of a set have in common."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.users.sets import ParameterSet

Words = NDArray[np.uint64]
"""Residues, uint64: (primes, N) of one polynomial, (polynomials, primes, N) of a ciphertext."""
Buffer = bytes | memoryview

SEED_BYTES = 64
"""SEAL's seed of a uniform polynomial."""
MOST_POLYNOMIALS = 3


@dataclass(frozen=True)
class Shape:
    """What ciphertexts of one kind have in common.

    Attributes:
        polynomials: 2, or 3 for a product before relinearisation.
        primes: of the modulus that is left, at least 1.
        seeded: the second polynomial is a seed, which halves the size; of symmetric ciphertexts only.
        scale: of CKKS; 1 for BFV.
    """

    polynomials: int
    primes: int
    seeded: bool = False
    scale: float = 1.0

    def problem(self, parameters: ParameterSet) -> str | None:
        """Say why no ciphertext of ``parameters`` has this shape; None when one may have."""
        if not 2 <= self.polynomials <= MOST_POLYNOMIALS:
            return f"{self.polynomials} polynomials, 2 or 3 expected"
        if not 1 <= self.primes <= parameters.primes:
            return f"level of {self.primes} primes, 1 to {parameters.primes} expected"
        if self.seeded and self.polynomials != 2:
            return f"seeded with {self.polynomials} polynomials, 2 expected"
        if not parameters.ckks:
            return None if self.scale == 1.0 else f"scale {self.scale}, integers have 1"
        bits = sum(math.log2(int(prime)) for prime in parameters.moduli(self.primes)[:, 0])
        if math.isfinite(self.scale) and self.scale >= 1.0 and math.log2(self.scale) < bits:
            return None
        return f"scale {self.scale}, at least 1 and below the modulus expected"
