"""Shamir secret sharing of bytes, t of n, over the field of the prime 2^31 - 1.

Three bytes make one element ``a``. It is the constant term of a random polynomial of degree ``t - 1``
whose values at 1, ..., n are the shares; any ``t`` give ``a`` back by Lagrange's formula at 0.
Three bytes and not one: a share then has 4 bytes for 3 of the secret, and is the field's own size.

Source: A. Shamir, "How to share a secret", CACM 22(11), 1979.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.sharing.randomness import RandomBytes, secure_bytes

PRIME = 2**31 - 1
MAX_SHARES = 255
_PRIME = np.uint64(PRIME)
_SECRETS = 1 << 24


def elements(length: int) -> int:
    """Return how many field elements ``length`` bytes take: ceil(length / 3)."""
    return -(-length // 3)


def split(data: NDArray[np.uint8], n: int, t: int, random: RandomBytes = secure_bytes) -> NDArray[np.uint32]:
    """Cut bytes into ``n`` shares of which any ``t`` give them back.

    Guarantee:
        - Any ``t - 1`` shares are uniform on [0, 2^31 - 1) and independent of ``data``, given that
          ``random`` is uniform.

    Edge cases:
        - No bytes have empty shares.
        - A length that is no multiple of 3 is filled up with zero bytes.

    Args:
        data: (..., L) uint8.
        n: how many shares, 2 to 255.
        t: how many of them suffice, 2 to n.
        random: where random bytes come from; anything but the default is for tests.

    Returns:
        (n, ..., ceil(L / 3)) uint32 below 2^31 - 1; ``result[j]`` is the polynomial's value at j + 1.

    Raises:
        ValueError: for another dtype, no axis, or numbers out of range.
    """
    if data.dtype != np.uint8 or not data.ndim:
        raise ValueError(f"{data.ndim} axes of {data.dtype}: give (..., L) uint8")
    if not 2 <= t <= n <= MAX_SHARES:
        raise ValueError(f"t={t}, n={n}: need 2 <= t <= n <= {MAX_SHARES}")
    count = elements(data.shape[-1])
    filled = np.zeros((*data.shape[:-1], 3 * count), np.uint8)
    filled[..., : data.shape[-1]] = data
    low, middle, high = (filled[..., part::3].reshape(-1).astype(np.uint64) for part in range(3))
    secret = low | middle << np.uint64(8) | high << np.uint64(16)
    coefficients = _uniform((t - 1) * secret.size, random).reshape(t - 1, secret.size)
    shares = np.empty((n, secret.size), np.uint32)
    for share in range(n):
        at = np.uint64(share + 1)
        value = coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            value = (value * at + coefficient) % _PRIME
        shares[share] = (value * at + secret) % _PRIME
    return shares.reshape(n, *data.shape[:-1], count)


def combine(shares: NDArray[np.uint32], indices: Sequence[int], length: int) -> NDArray[np.uint8]:
    """Give back the bytes that ``t`` shares determine.

    Edge cases:
        - Fewer than ``t`` shares, or a wrong one, are noticed only where an element is no three bytes
          (all but 1 in 128 of them); a commitment is what makes sure.
        - Any order of the shares will do, as long as ``indices`` has the same.

    Args:
        shares: (t, ..., ceil(length / 3)) uint32.
        indices: which share each is, from 0.
        length: how many bytes were shared.

    Returns:
        (..., length) uint8.

    Raises:
        ValueError: when indices repeat, lie outside [0, 255) or are not as many as the shares; when
            elements are not below 2^31 - 1, not as many as ``length`` asks for, or no bytes result.
    """
    if shares.dtype != np.uint32 or shares.ndim < 2 or shares.shape[-1] != elements(length):
        raise ValueError(f"shares {shares.shape} of {shares.dtype}: give (t, ..., {elements(length)}) uint32")
    if len(indices) != len(shares) or len(shares) < 2 or len(set(indices)) != len(indices):
        raise ValueError(f"indices {list(indices)}: give one for each of {len(shares)} shares, none twice")
    if min(indices) < 0 or max(indices) >= MAX_SHARES:
        raise ValueError(f"indices {list(indices)}: each lies between 0 and {MAX_SHARES - 1}")
    if shares.size and int(shares.max()) >= PRIME:
        raise ValueError("shares: an element is not below 2^31 - 1")
    total = np.zeros(shares.shape[1:], np.uint64)
    for share, weight in zip(shares, _weights([index + 1 for index in indices]), strict=True):
        total += share * np.uint64(weight) % _PRIME
    secret = total % _PRIME
    if secret.size and int(secret.max()) >= _SECRETS:
        raise ValueError("shares: they determine no bytes; one is wrong or too few were shared")
    packed = secret.astype("<u4")[..., np.newaxis].view(np.uint8)[..., :3]
    return np.ascontiguousarray(packed.reshape(*secret.shape[:-1], 3 * secret.shape[-1])[..., :length])


def _weights(points: list[int]) -> list[int]:
    """Return Lagrange's coefficients at 0: the product of x_k / (x_k - x_j) over all k but j."""
    weights = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return weights


def _uniform(count: int, random: RandomBytes) -> NDArray[np.uint64]:
    """Return ``count`` numbers uniform on [0, 2^31 - 1): 31 random bits, drawn again when all are ones."""
    drawn = np.frombuffer(random(4 * count), np.uint32) & np.uint32(PRIME)
    while len(outside := np.flatnonzero(drawn == PRIME)):
        drawn[outside] = np.frombuffer(random(4 * len(outside)), np.uint32) & np.uint32(PRIME)
    return drawn.astype(np.uint64)
