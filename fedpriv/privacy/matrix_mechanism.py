"""Banded lower-triangular Toeplitz matrices C, and what noise C^{-1} z of a run's rounds costs and spoils.

A matrix mechanism releases C x + z for the rounds' sums x, one row after the other, as x + C^{-1} z: each
round's noise takes back part of the noise of the rounds before, so that the model, which is a prefix sum of
all of them, ends up with less. What a client is exposed to is how far C x moves with it.

Sources: Denisov, McMahan, Rush, Smith, Thakurta 2022, arXiv 2202.08312 (one Gaussian mechanism, also where
each row is chosen after the ones before); Fichtenberger, Henzinger, Upadhyay 2023, arXiv 2205.11894 (the
square root of the prefix-sum matrix); Choquette-Choo et al. 2023, arXiv 2306.08153 (bands, and clients that
take part every so many rounds); Kalinin, Lampert 2024, arXiv 2405.13763 (the banded square root).
"""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

BITS = 20
"""Coefficients are whole multiples of 2^-BITS, so that noise is computed in integers."""
MOST_BANDS = 512
"""Bands up to which a sum of products of coefficients and rows stays far within 64 bits."""
_GAPS = 2.25
_ONE = 1 << BITS


@dataclass(frozen=True)
class BandedToeplitz:
    """A matrix C with C[t, s] = c_{t-s} for 0 <= t - s < bands, and 0 elsewhere; c_0 = 1.

    Guarantee:
        - Its inverse's first column h is absolutely summable, and C^{-1} of rows within [-1, 1] lies within
          +-``growth(rows)``.

    Edge cases:
        - One band is the identity: noise that is independent from round to round.

    Attributes:
        numerators: c_j 2^BITS: 2^BITS first, then positive and smaller every time.

    Raises:
        ValueError: when they are something else, or too many.
    """

    numerators: tuple[int, ...] = (_ONE,)

    def __post_init__(self) -> None:
        """Check the values: decreasing ones have all zeros beyond the unit circle (Enestroem and Kakeya)."""
        given = self.numerators
        if not 1 <= len(given) <= MOST_BANDS:
            raise ValueError(f"bands={len(given)} must lie between 1 and {MOST_BANDS}")
        falls = all(late < early for early, late in itertools.pairwise(given))
        if given[0] != _ONE or given[-1] < 1 or not falls:
            raise ValueError("numerators: must begin with 2^20, be positive and decrease")

    @property
    def bands(self) -> int:
        """Number of coefficients."""
        return len(self.numerators)

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """c_j, (bands,), exact."""
        return np.array(self.numerators, np.float64) / _ONE

    def inverse(self, rows: int) -> NDArray[np.float64]:
        """Return the first column h of C^{-1}, (rows,): h_0 = 1, h_t = -sum_{j>=1} c_j h_{t-j}."""
        later = self.coefficients[1:]
        found = np.zeros(rows)
        found[0] = 1.0
        for row in range(1, rows):
            before = found[max(0, row - len(later)) : row][::-1]
            found[row] = -float(before @ later[: len(before)])
        return found

    def growth(self, rows: int) -> float:
        """Return sum_t |h_t|: how much larger than the rows of z those of C^{-1} z can be."""
        return 1.0 if self.bands == 1 else float(np.abs(self.inverse(rows)).sum())

    def growth_with_gaps(self, rows: int) -> float:
        """Return what the rows may grow by where some of them are left out, and are zero.

        The row after a gap takes back less, and may grow by more than ``growth``: for square roots of 2 to 32
        bands a search for the worst gaps found 2.151. Nothing rests on that being the worst:
        :class:`~fedpriv.privacy.matrix_noise.NoiseMemory` forgets its rows before they grow by more.
        """
        return 1.0 if self.bands == 1 else max(_GAPS, self.growth(rows))

    def spread(self, norm: float, rounding: float = 0.0) -> float:
        """Return how far all rows of C x move together by one row of x, moved by ``norm``.

        sqrt(norm^2 + sum_{j>=1} (c_j norm + rounding)^2).

        Args:
            norm: L2 norm.
            rounding: L2 norm of what is added to each later row's movement.
        """
        later = self.coefficients[1:] * norm + rounding
        return math.hypot(norm, *later.tolist())

    def sensitivity(self, rows: int, separation: int) -> float:
        """Return how far C x moves, in L2, by any rows of x that are ``separation`` apart, each by norm 1.

        ||sum_i C[:, i separation]||: for coefficients that are not negative and do not increase, the first
        columns, as close as may be, are the worst (Kalinin and Lampert 2024, Theorem 2). With ``bands <=
        separation`` no two columns overlap and it is at most sqrt(ceil(rows / separation)) ``spread(1)``
        (Choquette-Choo et al. 2023, Theorem 2), less only for columns that the last row cuts off.

        Args:
            rows: of C.
            separation: least distance of two rows that one client takes part in.
        """
        moved = np.zeros(rows)
        for start in range(0, rows, separation):
            end = min(rows, start + self.bands)
            moved[start:end] += self.coefficients[: end - start]
        return float(np.linalg.norm(moved))

    def error(self, rows: int) -> float:
        """Return the root mean square, over all rows, of the noise of prefix sums, for z of variance 1.

        Row t of A C^{-1}, A the matrix of prefix sums, is h_0 + ... + h_j for j <= t.
        """
        squares = np.cumsum(np.cumsum(self.inverse(rows)) ** 2)
        return math.sqrt(float(squares.mean()))


INDEPENDENT = BandedToeplitz()
"""The identity."""


def square_root(bands: int) -> BandedToeplitz:
    """Return the first ``bands`` coefficients of the square root of the matrix of prefix sums.

    c_j = binom(2j, j) / 4^j = 1, 1/2, 3/8, 5/16, ...: those of (1 - x)^(-1/2), rounded to multiples of
    2^-BITS. With as many bands as rounds between two turns the error at one epsilon is within 2 % of that of
    the best coefficients that numerical optimisation found (30 rounds with 10, 64 with 16, 100 with 20).

    Raises:
        ValueError: when ``bands`` is out of range.
    """
    if not 1 <= bands <= MOST_BANDS:
        raise ValueError(f"bands={bands} must lie between 1 and {MOST_BANDS}")
    exact = [Fraction(1)]
    for index in range(1, bands):
        exact.append(exact[-1] * (2 * index - 1) / (2 * index))
    return BandedToeplitz(tuple(round(value * _ONE) for value in exact))
