"""Arithmetic in Z_q[X]/(X^N + 1) on residues, (L, N) uint64: one row for each prime of q.

Sums are numpy; transforms and products are SEAL's, by way of a BFV context with the same primes. Residues
in the NTT domain are in SEAL's order, the one its keys have.
"""

import hashlib
import os
from typing import Any

import numpy as np
from tenseal import sealapi

from fedpriv.he.parameters import SealParameters, seal_context
from fedpriv.he.primes import batching_prime
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import CiphertextWire, Words

_HALF = np.uint64(30)


class Ring:
    """The ring that the ciphertexts of ``parameters`` live in.

    Attributes:
        moduli: the primes, (L, 1) uint64.
        degree: N.
    """

    def __init__(self, parameters: SealParameters) -> None:
        """Prepare a context for transforms."""
        self.degree = parameters.poly_degree
        plain = batching_prime(1 << 20, self.degree)
        bare = SealParameters(plain, self.degree, parameters.coeff_bits)
        self._wire = CiphertextWire(bare)
        self._evaluator = sealapi.Evaluator(seal_context(bare))
        self.moduli = self._wire.moduli

    def to_ntt(self, buffer: SealBuffer, polynomial: Words) -> Words:
        """Return the NTT of a polynomial in coefficients."""
        ciphertext = self._wire.join(buffer, polynomial, self._one(), ntt=False)
        self._evaluator.transform_to_ntt_inplace(ciphertext)
        return self._wire.split(buffer, ciphertext, ntt=True)[0].copy()

    def from_ntt(self, buffer: SealBuffer, polynomial: Words) -> Words:
        """Return the coefficients of a polynomial in the NTT domain."""
        ciphertext = self._wire.join(buffer, polynomial, self._one(), ntt=True)
        self._evaluator.transform_from_ntt_inplace(ciphertext)
        return self._wire.split(buffer, ciphertext, ntt=False)[0].copy()

    def factor(self, buffer: SealBuffer, polynomial: Words) -> Any:
        """Return a polynomial in the NTT domain as what :meth:`times` multiplies by."""
        return self._wire.plaintext(buffer, polynomial)

    def times(self, buffer: SealBuffer, polynomial: Words, factor: Any, ntt: bool) -> Words:
        """Return the coefficients of polynomial * factor; ``ntt`` says where the polynomial is."""
        ciphertext = self._wire.join(buffer, polynomial, self._one(), ntt=ntt)
        if not ntt:
            self._evaluator.transform_to_ntt_inplace(ciphertext)
        self._evaluator.multiply_plain_inplace(ciphertext, factor)
        self._evaluator.transform_from_ntt_inplace(ciphertext)
        return self._wire.split(buffer, ciphertext, ntt=False)[0].copy()

    def _one(self) -> Words:
        """Return a second polynomial that is not zero: SEAL refuses ciphertexts without one."""
        return np.ones((len(self.moduli), self.degree), np.uint64)


def add(total: Words, term: Words, moduli: Words) -> None:
    """Add residues in place: total = total + term mod p, for primes below 2^63."""
    total += term
    # below its prime a residue minus the prime wraps around to something huge
    np.minimum(total, total - moduli, out=total)


def negate(polynomial: Words, moduli: Words) -> Words:
    """Return -polynomial mod p."""
    return np.where(polynomial == 0, polynomial, moduli - polynomial)


def multiply(first: Words, second: Words, moduli: Words) -> Words:
    """Return first * second mod p, residue by residue, for primes below 2^60.

    The second factor goes in two halves of 30 bits. A product with a half is below 2^90, so the
    quotient, from floating point, is off by at most 1 and the rest is exact modulo 2^64.
    """
    high = _reduced(first, second >> _HALF, moduli)
    high = _reduced(high, np.uint64(1) << _HALF, moduli)
    add(high, _reduced(first, second & np.uint64((1 << 30) - 1), moduli), moduli)
    return high


def smudging(log2_width: int, moduli: Words, degree: int) -> Words:
    """Return the residues of integers uniform on [-2^(w-1), 2^(w-1)), w <= 128, from the operating system."""
    high, low = np.frombuffer(os.urandom(16 * degree), "<u8").reshape(2, degree)
    drop = np.uint64(128 - log2_width)
    if log2_width <= 64:
        high, low = np.zeros_like(high), low >> (drop - np.uint64(64))
    else:
        high = high >> drop
    carry = np.array([(1 << 64) % int(modulus) for modulus in moduli[:, 0]], np.uint64)[:, np.newaxis]
    middle = np.array([-(1 << (log2_width - 1)) % int(modulus) for modulus in moduli[:, 0]], np.uint64)
    drawn = multiply(high % moduli, carry, moduli)
    add(drawn, low % moduli, moduli)
    add(drawn, middle[:, np.newaxis], moduli)
    return drawn


def expand(seed: bytes, moduli: Words, degree: int) -> Words:
    """Return residues that are uniform if SHAKE256 is a random function, by rejection; anybody can redo it.

    Row l reads little-endian 64-bit words of SHAKE256(seed, l), cut to the length of the prime.
    """
    rows = []
    for number, modulus in enumerate(moduli[:, 0]):
        mask = np.uint64((1 << int(modulus).bit_length()) - 1)
        wanted, found = 2 * degree + 64, np.empty(0, np.uint64)
        while len(found) < degree:
            stream = hashlib.shake_256(seed + number.to_bytes(4, "little")).digest(8 * wanted)
            drawn = np.frombuffer(stream, "<u8") & mask
            found, wanted = drawn[drawn < modulus], 2 * wanted
        rows.append(found[:degree])
    return np.stack(rows)


def _reduced(first: Words, second: Words | np.uint64, moduli: Words) -> Words:
    """Return first * second mod p for a second factor up to 2^30."""
    quotient = (first.astype(np.float64) * np.float64(1) * second / moduli).astype(np.uint64)
    rest = (first * second - quotient * moduli).view(np.int64)
    primes = moduli.astype(np.int64)
    np.add(rest, primes, out=rest, where=rest < 0)
    np.subtract(rest, primes, out=rest, where=rest >= primes)
    return rest.view(np.uint64)
