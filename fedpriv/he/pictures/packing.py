"""Several 8-bit values in each slot of a ciphertext, so that differences never borrow from a neighbour.

k values a_0 .. a_(k-1) become the slot sum_j a_j B^j with B = 511. The difference of two slots is
sum_j (a_j - b_j) B^j, whose digits lie in -255..255: B values each, so that no two differences have the same
sum. Its magnitude is at most 255 (B^k - 1) / (B - 1) = (B^k - 1) / 2, which (-t/2, t/2] holds if B^k <= t.
Adding (B^k - 1) / 2, that is 255 to every digit, makes the digits 0..510, and reading them is division by B.
"""

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.users.sets import ParameterSet

LARGEST = 255
"""Of a value."""
BASE = 2 * LARGEST + 1


class ValuePacking:
    """Packs vectors of 8-bit values for a BFV parameter set.

    Attributes:
        per_slot: k, the most that fit: floor(log_511 t); 4 for t = 2^40.
        per_ciphertext: k times the number of slots.
    """

    def __init__(self, parameters: ParameterSet) -> None:
        """Derive k.

        Raises:
            ValueError: for CKKS, or a plaintext modulus below 511.
        """
        plain_modulus = parameters.seal.plain_modulus
        self.per_slot = values_per_slot(plain_modulus) if not parameters.ckks else 0
        if not self.per_slot:
            raise ValueError(f"{parameters.name}: plaintext modulus {plain_modulus}, at least {BASE} needed")
        self._slots = parameters.slots
        self.per_ciphertext = self.per_slot * self._slots
        self._half = (BASE**self.per_slot - 1) // 2

    def ciphertexts(self, values: int) -> int:
        """Return how many ciphertexts ``values`` values take."""
        return -(-values // self.per_ciphertext)

    def pack(self, values: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Return the slots, (slots,) uint64, of (n,) values, n <= :attr:`per_ciphertext`; the rest is zero.

        Value i is digit i // slots of slot i % slots: whole digits are copied at a time.
        """
        if len(values) > self.per_ciphertext:
            raise ValueError(f"{len(values)} values, at most {self.per_ciphertext}")
        digits = np.zeros(self.per_ciphertext, np.uint64)
        digits[: len(values)] = values
        slots: NDArray[np.uint64] = np.zeros(self._slots, np.uint64)
        for digit in digits.reshape(self.per_slot, self._slots)[::-1]:
            slots *= np.uint64(BASE)
            slots += digit
        return slots

    def unpack(self, slots: NDArray[np.int64], count: int) -> NDArray[np.int16]:
        """Return the first ``count`` differences, int16 in -255..255, of decrypted slots, (slots,) int64.

        Raises:
            UserError: when the slots are no differences of packed values: one is too large, or one of those
                after ``count``, which were zero in both pictures, is not zero.
        """
        if not 0 <= count <= self.per_ciphertext or slots.shape != (self._slots,):
            raise ValueError(f"{count} values in slots {slots.shape}")
        remaining = slots + np.int64(self._half)
        if remaining.min() < 0 or remaining.max() > 2 * self._half:
            raise _no_difference()
        found = np.empty((self.per_slot, self._slots), np.int16)
        for digit in found:
            quotient = remaining // BASE
            digit[:] = remaining - quotient * BASE - LARGEST
            remaining = quotient
        flat = found.reshape(-1)
        if flat[count:].any():
            raise _no_difference()
        return flat[:count]


def values_per_slot(plain_modulus: int) -> int:
    """Return the largest k with 511^k <= t."""
    count = 0
    while BASE ** (count + 1) <= plain_modulus:
        count += 1
    return count


def _no_difference() -> UserError:
    return UserError("server's answer: decrypts to no difference of two pictures; do not trust this server")
