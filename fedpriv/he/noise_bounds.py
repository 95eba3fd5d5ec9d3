"""How far ciphertext noise can reach, and how wide the smudging must be that hides it.

All bounds are 12 standard deviations, which a Gaussian leaves with probability below 2^-107.
"""

import math

ERROR_VARIANCE = 10.5
"""Of one coefficient of SEAL's fresh error: centred binomial of 21 pairs of bits."""
TAIL_DEVIATIONS = 12.0
SHORTEST_PRIME = 36
"""Bits of the special prime from which on :func:`public_key_noise` holds."""


def symmetric_noise(clients: int) -> float:
    """Bound a coefficient of the noise of a sum of ``clients`` symmetric ciphertexts."""
    return TAIL_DEVIATIONS * math.sqrt(ERROR_VARIANCE * clients) + clients / 2


def public_key_noise(clients: int, degree: int, holders: int) -> float:
    """Bound a coefficient of the noise of a sum of ``clients`` public-key ciphertexts.

    SEAL encrypts under all primes, where the error is e u + e1 + e2 s, and divides by the special prime,
    of at least 36 bits, which leaves less than 1/2 of it and adds r0 + r1 s with r uniform on
    [-1/2, 1/2]. The joint key s is the sum of ``holders`` ternary polynomials, so a coefficient of r1 s has
    the variance N * holders * (2/3) / 12. The rounding of the plaintext adds at most 1/2 a client.
    """
    variance = 1 / 12 + degree * holders * (2 / 3) / 12
    return TAIL_DEVIATIONS * math.sqrt(variance * clients) + clients


def smudging_log2(noise: float, smudging_bits: int) -> int:
    """Return w: smudging is uniform on [-2^(w-1), 2^(w-1)), with 2^(w-1) >= 2^smudging_bits * noise."""
    return math.ceil(math.log2(noise)) + smudging_bits + 1
