"""Where the randomness of a mechanism comes from.

``SecureSource`` draws from a stream cipher keyed by the operating system and cannot be seeded;
``FastSource`` is seeded, for reproducible research, and protects nobody from an adversary who
can guess its seed. Both serve the needs of DP-SGD, Gaussian noise and the Poisson sample, and give
the random words and integers of the discrete Gaussian (:mod:`fedpriv.privacy.discrete_gaussian`).
"""

import os
from abc import ABC, abstractmethod

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from fedpriv.seeding import generator


class RandomSource(ABC):
    """Uniform words, integers and numbers, and standard normal numbers, for a privacy mechanism."""

    name: str

    @abstractmethod
    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return ``count`` numbers uniform on [0, 1) with 53 random bits each."""

    @abstractmethod
    def normal(self, count: int) -> NDArray[np.float64]:
        """Return ``count`` independent standard normal numbers."""

    @abstractmethod
    def words(self, count: int) -> NDArray[np.uint64]:
        """Return ``count`` words of 64 random bits each."""

    def below(self, bound: int, count: int) -> NDArray[np.int64]:
        """Return ``count`` integers, each exactly uniform on [0, bound).

        Raises:
            ValueError: when ``bound`` is not in [1, 2^63].
        """
        if not 1 <= bound <= 1 << 63:
            raise ValueError(f"bound={bound} must lie between 1 and 2^63")
        if bound == 1:
            return np.zeros(count, np.int64)
        excess = np.uint64(64 - (bound - 1).bit_length())
        drawn = (self.words(count) >> excess).view(np.int64)
        if bound & (bound - 1):
            # a remainder would favour small numbers: what lies outside is drawn again
            while len(outside := np.flatnonzero(drawn >= bound)):
                drawn[outside] = (self.words(len(outside)) >> excess).view(np.int64)
        return drawn


class SecureSource(RandomSource):
    """ChaCha20 keystream (RFC 8439) under a fresh key of the operating system.

    Guarantee:
        - Two sources never share a keystream: the key is 256 bits from ``os.urandom``.
        - Nothing can seed it.

    Edge cases:
        - ``count=0`` returns an empty array.
        - Normals are Box-Muller transforms of 53-bit uniforms, so |x| <= 8.6; a Gaussian
          leaves that range with probability below 1e-17.
        - The result is floating point and so not immune to Mironov's attack on the least
          significant bits (Mironov, CCS 2012).
    """

    name = "secure"

    def __init__(self) -> None:
        """Draw a key from the operating system."""
        self._stream = Cipher(ChaCha20(os.urandom(32), os.urandom(16)), mode=None).encryptor()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """See :class:`RandomSource`."""
        return np.asarray((self.words(count) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)

    def words(self, count: int) -> NDArray[np.uint64]:
        """See :class:`RandomSource`."""
        return np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8")

    def normal(self, count: int) -> NDArray[np.float64]:
        """See :class:`RandomSource`."""
        half = (count + 1) // 2
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(half)))
        angle = 2.0 * np.pi * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


class FastSource(RandomSource):
    """A seeded PCG64 generator: the same seed and purpose give the same numbers.

    Guarantee:
        - Other purposes of one seed have other numbers.

    Edge cases:
        - It protects nobody from who knows, or guesses, the seed.
    """

    name = "fast"

    def __init__(self, seed: int, *purpose: str | int) -> None:
        """Derive the stream of ``purpose`` from the run's ``seed``."""
        self._random = generator(seed, "mechanism", *purpose)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """See :class:`RandomSource`."""
        return self._random.random(count)

    def normal(self, count: int) -> NDArray[np.float64]:
        """See :class:`RandomSource`."""
        return self._random.standard_normal(count)

    def words(self, count: int) -> NDArray[np.uint64]:
        """See :class:`RandomSource`."""
        return self._random.integers(0, 1 << 64, count, dtype=np.uint64)
