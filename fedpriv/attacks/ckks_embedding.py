"""CKKS plaintexts by hand: slots, integer coefficients and residues, with numpy and Python's integers only.

Slot j of a real polynomial m of degree below N is m(exp(i pi 3^j / N)), j = 0 ... N/2 - 1, in SEAL's order
(Cheon, Kim, Kim, Song, ASIACRYPT 2017, eprint 2016/421).
"""

import functools
import math
import operator
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.ring import Ring
from fedpriv.he.wire import Words


def evaluate(polynomial: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Return the (N / 2,) slots of a real polynomial, (N,) coefficients, lowest first."""
    degree = len(polynomial)
    return 2 * degree * np.fft.ifft(polynomial, 2 * degree)[_exponents(degree)]


def doubled_real_part(slots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of m + m*, (N,), for the m whose slots have these real parts, (N / 2,).

    (m + m*)_k = (4 / N) sum_j slots_j cos(pi k 3^j / N), where m*(X) = m(1/X). The real parts know no more.
    """
    degree = 2 * len(slots)
    spread = np.zeros(2 * degree)
    spread[_exponents(degree)] = slots
    return 4 / degree * np.fft.fft(spread).real[:degree]


def residues(polynomial: Iterable[int], ring: Ring) -> Words:
    """Return N signed integers of any size as residues, (L, N)."""
    numbers = list(polynomial)
    return np.array(
        [[number % prime for number in numbers] for prime in ring.moduli[:, 0].tolist()], np.uint64
    )


def lifted(words: Words, ring: Ring) -> list[int]:
    """Return the N integers between -q/2 and q/2 that have these residues."""
    primes = ring.moduli[:, 0].tolist()
    q = math.prod(primes)
    factors = [q // prime * pow(q // prime, -1, prime) for prime in primes]
    sums = (sum(map(operator.mul, column, factors)) % q for column in words.T.tolist())
    return [number - q if number > q // 2 else number for number in sums]


@functools.cache
def _exponents(degree: int) -> NDArray[np.int64]:
    """Return 3^j mod 2 N for the N / 2 slots."""
    return np.array([pow(3, slot, 2 * degree) for slot in range(degree // 2)])
