"""Additive secret sharing, n of n, in the rings of integers modulo 2^8, 2^32 and 2^64.

``n - 1`` shares are uniform and the last is ``x - s_1 - ... - s_(n-1)``. The ring is the array's type,
whose arithmetic wraps. Bytes suit images that one server puts together again; the larger rings suit
computing on the shares themselves (sums of shares are shares of the sum).
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.sharing.randomness import RandomBytes, secure_bytes

MAX_SHARES = 255
Ring = TypeVar("Ring", np.uint8, np.uint32, np.uint64)
_RINGS = (np.dtype(np.uint8), np.dtype(np.uint32), np.dtype(np.uint64))


def split(values: NDArray[Ring], n: int, random: RandomBytes = secure_bytes) -> NDArray[Ring]:
    """Cut ``values`` into ``n`` shares whose sum they are.

    Guarantee:
        - Any ``n - 1`` shares are uniform and independent of ``values``, given that ``random`` is uniform.

    Edge cases:
        - An empty array has empty shares; an array without axes has shares of shape ``(n,)``.

    Args:
        values: any shape, of dtype uint8, uint32 or uint64 in native byte order.
        n: how many shares, 2 to 255.
        random: where random bytes come from; anything but the default is for tests.

    Returns:
        ``(n, *shape)`` of the same dtype; share j is ``result[j]``.

    Raises:
        ValueError: for another dtype or ``n``.
    """
    _check(values.dtype, n)
    flat = np.ascontiguousarray(values).reshape(-1)
    shares = np.empty((n, flat.size), flat.dtype)
    shares[:-1] = np.frombuffer(random((n - 1) * flat.nbytes), flat.dtype).reshape(n - 1, flat.size)
    last = shares[-1]
    last[:] = flat
    for share in shares[:-1]:
        last -= share
    return shares.reshape(n, *values.shape)


def combine(shares: NDArray[Ring]) -> NDArray[Ring]:
    """Add all shares up.

    Edge cases:
        - A missing or wrong share is not noticed: the sum is then uniform noise.

    Args:
        shares: ``(n, *shape)``, every share once, in any order.

    Returns:
        An array of that shape and dtype.

    Raises:
        ValueError: for another dtype, or fewer than 2 or more than 255 shares.
    """
    _check(shares.dtype, len(shares) if shares.ndim else 0)
    total = np.add.reduce(shares.reshape(len(shares), -1), axis=0, dtype=shares.dtype)
    return np.asarray(total.reshape(shares.shape[1:]))


def _check(dtype: np.dtype[Ring], n: int) -> None:
    if dtype not in _RINGS:
        raise ValueError(f"dtype {dtype}: share uint8, uint32 or uint64 in native byte order")
    if not 2 <= n <= MAX_SHARES:
        raise ValueError(f"n={n}: must lie between 2 and {MAX_SHARES}")
