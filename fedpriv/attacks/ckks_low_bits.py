"""The last bits of floating-point flooding: Mironov, CCS 2012, turned on CKKS releases.

A release y = v + c x adds noise x, a double, to the exact slot v, of which an adversary wants to know the
part that is the ciphertext's error. Where v is tiny (an update of zeros: frozen layers), y has all bits of
c x, and not every double is c times some output of the generator. The normals of
:class:`fedpriv.privacy.noise.SecureSource` come in pairs by Box and Muller from two uniforms of 53 bits,

    x_a = r cos(2 pi w),  x_b = r sin(2 pi w),  r = sqrt(-2 log(1 - u)),

so a candidate v explains a pair of answers only if some u and w on their grid give exactly these bits. The
right one always does; a wrong one for about one pair in twenty. So each pair tells some 4 bits of the error,
however large the flooding is: no key by itself, but the statistical distance that flooding is chosen for is
gone. Rounding answers to a grid that is coarse against the last bits and fine against the noise brings it
back: then every cell of the grid holds very many doubles.
"""

import numpy as np
from numpy.typing import NDArray

_REACH = 3
"""Neighbours on the grid of the uniforms that are tried: more than the rounding errors of the inversion."""


def explained(
    answers: NDArray[np.float64], exact: NDArray[np.float64], factor: float, grid: float = 0.0
) -> float:
    """Return the share of pairs of answers that a candidate for the exact slots explains to the last bit.

    Args:
        answers: (P,) of one call to ``SecureSource.normal``, P even.
        exact: (P,) candidate slots before flooding.
        factor: c, as the key holder computes it.
        grid: what answers were rounded to multiples of; 0 for no rounding.

    Returns:
        1 for the right candidate; for a wrong one, the lower the more the answers tell.
    """
    half = len(answers) // 2
    # 64 bits of significand: the inversion must not lose what it looks for
    noise = (answers.astype(np.longdouble) - exact) / np.longdouble(factor)
    first, second = noise[:half], noise[half:]
    turn = 2 * np.arctan2(np.longdouble(0), np.longdouble(-1))
    u = np.rint(-np.expm1(-(first**2 + second**2) / 2) * 2.0**53).astype(np.float64)
    w = np.rint(np.arctan2(second, first) / turn % 1 * 2.0**53).astype(np.float64)
    found = np.zeros(half, np.bool_)
    for step in range(-_REACH, _REACH + 1):
        possible = (u + step >= 0) & (u + step < 2.0**53)
        radius = np.sqrt(-2.0 * np.log1p(-np.where(possible, u + step, 0) * 2.0**-53))
        for other in range(-_REACH, _REACH + 1):
            angle = 2.0 * np.pi * ((w + other) * 2.0**-53)
            pair = radius * np.cos(angle), radius * np.sin(angle)
            released = _rounded(exact + factor * np.concatenate(pair), grid)
            found |= possible & (released == answers).reshape(2, half).all(axis=0)
    return float(found.mean())


def _rounded(values: NDArray[np.float64], grid: float) -> NDArray[np.float64]:
    """Return the nearest multiples of ``grid``."""
    return np.rint(values / grid) * grid if grid else values
