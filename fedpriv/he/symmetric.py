"""Symmetric ring-LWE encryption with a seeded uniform half: c1 = a, c0 = -(a s) + e + m.

The distributions are SEAL's (secret ternary, error centred binomial of 21 pairs of bits, standard deviation
3.24). What is ours is the speed: SEAL's symmetric encryption through its Python binding
spends most of its time on sampling byte by byte and on compressing what does not compress. Here a is the
keystream of ChaCha20 (RFC 8439) under a public seed (as FrodoKEM uses AES), the error comes from one under a
key of the operating system, and the product with the small s is a floating-point FFT whose rounding is
checked.

Not constant time: timings and memory traffic are not hidden from other programs on the client's machine.
"""

import struct
from typing import NoReturn

import numpy as np
import scipy.fft
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from fedpriv.he.ring import add
from fedpriv.he.wire import Words
from fedpriv.privacy.noise import SecureSource

SEED_BYTES = 32
_PAIRS = 21
_LOW = np.uint64((1 << _PAIRS) - 1)
_LARGEST_FRACTION = 0.25


class SymmetricCipher:
    """Encrypts polynomials under one ternary secret, modulo primes below 2^60.

    Guarantee:
        - Every error coefficient is fresh, from the operating system's randomness; nothing can seed it.
        - The product is exact, or :class:`ArithmeticError` is raised.

    Edge cases:
        - Two different messages under one (seed, index) would tell their difference and the errors': draw a
          fresh seed for every update.
    """

    def __init__(self, secret: NDArray[np.int8], moduli: Words) -> None:
        """Transform the secret once.

        Args:
            secret: (N,) in {-1, 0, 1}, coefficients.
            moduli: (L, 1) uint64.
        """
        self._moduli = moduli
        self._degree = len(secret)
        # negacyclic products are cyclic ones of sequences twisted by a 2N-th root of unity
        self._twist = np.exp(1j * np.pi * np.arange(self._degree) / self._degree)
        self._untwist = np.conj(self._twist)
        self._secret = scipy.fft.fft(secret * self._twist)

    def encrypt(self, message: Words, seed: bytes, index: int) -> Words:
        """Return c0 of the ciphertext whose c1 is ``uniform(seed, index, ...)``.

        Args:
            message: (L, N) residues, overwritten.
            seed: 32 bytes, public.
            index: of the ciphertext in its update.
        """
        # a source of its own: one that is kept would repeat its errors in a forked process
        error = centred_binomial(SecureSource().words(self._degree))
        mask = uniform(seed, index, self._moduli, self._degree)
        for row, modulus in enumerate(self._moduli[:, 0]):
            total = self._product(mask[row], int(modulus))
            np.subtract(error, total, out=total)
            total += np.where(total < 0, np.int64(modulus), np.int64(0))
            add(message[row], total.view(np.uint64), modulus)
        return message

    def phase(self, c0: Words, c1: Words) -> Words:
        """Return c0 + c1 s, (L, N): the message and the error, for whoever holds the key."""
        total = c0.copy()
        for row, modulus in enumerate(self._moduli[:, 0]):
            add(total[row], self._product(c1[row], int(modulus)).view(np.uint64), modulus)
        return total

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: it holds the secret."""
        raise TypeError("SymmetricCipher: cannot be pickled or copied")

    def _product(self, polynomial: NDArray[np.uint64], modulus: int) -> NDArray[np.int64]:
        """Return polynomial * secret mod (X^N + 1, p), in [0, p)."""
        # two limbs are the real and imaginary part of one complex sequence, for the secret is real
        width = (modulus.bit_length() + 1) // 2
        limbs = np.empty(self._degree, np.complex128)
        limbs.real = polynomial & np.uint64((1 << width) - 1)
        limbs.imag = polynomial >> np.uint64(width)
        limbs *= self._twist
        limbs = scipy.fft.fft(limbs, overwrite_x=True)
        limbs *= self._secret
        limbs = scipy.fft.ifft(limbs, overwrite_x=True)
        limbs *= self._untwist
        exact = limbs.view(np.float64)
        rounded = np.rint(exact)
        np.subtract(exact, rounded, out=exact)
        if max(exact.max(), -exact.min()) > _LARGEST_FRACTION:
            raise ArithmeticError("ring product: floating point was not precise enough")
        low, high = rounded.astype(np.int64).reshape(self._degree, 2).T
        # low + high * 2^width - quotient * p is at most a little over p / 2, so it is right modulo 2^64
        quotient = rounded[1::2] * (2.0**width / modulus) + rounded[0::2] / modulus
        total: NDArray[np.int64] = (high << width) - np.rint(quotient).astype(np.int64) * np.int64(modulus)
        total += low
        total += (total < 0) * np.int64(modulus)
        return total


class UniformHalf:
    """The c1 of an update's ciphertexts, which anybody grows from its seed.

    Row l of number ``index`` reads little-endian 64-bit words of the keystream with initial counter 0 and
    nonce (l u32, index u64), cut to the length of the prime, and leaves out those that are not below it. They
    are uniform if ChaCha20 is a random function.
    """

    def __init__(self, seed: bytes, moduli: Words, degree: int) -> None:
        """Take the seed, 32 bytes, and what the polynomials are to be like."""
        self._stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
        self._primes = [int(modulus) for modulus in moduli[:, 0]]
        self._degree, self._zeros = degree, bytes(8 * degree)

    def polynomial(self, index: int) -> Words:
        """Return the c1 of ciphertext ``index``, (L, N) residues."""
        rows = np.empty((len(self._primes), self._degree), np.uint64)
        for row, modulus in enumerate(self._primes):
            self._stream.reset_nonce(struct.pack("<IIQ", 0, row, index))
            mask = np.uint64((1 << modulus.bit_length()) - 1)
            words = np.bitwise_and(self._draw(), mask, out=rows[row])
            # primes lie so close below a power of two that there is rarely one to leave out
            if words.max() >= modulus:
                kept = words[words < modulus]
                while len(kept) < self._degree:
                    more = self._draw() & mask
                    kept = np.concatenate([kept, more[more < modulus]])
                words[:] = kept[: self._degree]
        return rows

    def _draw(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._stream.update(self._zeros), "<u8")


def uniform(seed: bytes, index: int, moduli: Words, degree: int) -> Words:
    """Return a single polynomial of :class:`UniformHalf`."""
    return UniformHalf(seed, moduli, degree).polynomial(index)


def centred_binomial(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return (bits set among 21) - (bits set among the next 21) of each word: variance 10.5."""
    ones: NDArray[np.int64] = np.bitwise_count(words & _LOW).astype(np.int64)
    ones -= np.bitwise_count(words & (_LOW << np.uint64(_PAIRS)))
    return ones
