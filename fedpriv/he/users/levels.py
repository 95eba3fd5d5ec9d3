"""Transforms of polynomials at any level, for keys, shares and noise; the rest of the arithmetic is numpy."""

import numpy as np
from tenseal import sealapi

from fedpriv.he.parameters import SealParameters, seal_context
from fedpriv.he.primes import batching_prime
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.users.frames import Frame
from fedpriv.he.users.shapes import Shape, Words


class LevelRing:
    """Transforms modulo the first ``primes`` primes of some parameters, in SEAL's order of the NTT.

    SEAL transforms ciphertexts of BFV only, so it is done in a BFV context with the same primes.
    """

    def __init__(self, seal: SealParameters, primes: int) -> None:
        """Prepare the context."""
        twin = SealParameters(
            batching_prime(1 << 20, seal.poly_degree), seal.poly_degree, seal.coeff_bits, "bfv"
        )
        self._evaluator = sealapi.Evaluator(seal_context(twin))
        shape = Shape(2, primes)
        self._coefficients, self._ntt = Frame(twin, shape, ntt=False), Frame(twin, shape, ntt=True)

    def to_ntt(self, first: Words, second: Words) -> Words:
        """Return the NTT of two polynomials in coefficients, (2, primes, N).

        The second must not be zero: SEAL takes the two for a ciphertext and refuses one that hides nothing.
        """
        return self._moved(first, second, self._coefficients, self._ntt, inverse=False)

    def from_ntt(self, first: Words, second: Words) -> Words:
        """Return the coefficients of two polynomials in the NTT domain, (2, primes, N); as :meth:`to_ntt`."""
        return self._moved(first, second, self._ntt, self._coefficients, inverse=True)

    def _moved(self, first: Words, second: Words, source: Frame, target: Frame, inverse: bool) -> Words:
        transform = (
            self._evaluator.transform_from_ntt_inplace
            if inverse
            else self._evaluator.transform_to_ntt_inplace
        )
        with SealBuffer() as buffer:
            ciphertext = source.write(buffer, np.stack([first, second]))
            transform(ciphertext)
            return target.read(buffer, ciphertext)[0].copy()
