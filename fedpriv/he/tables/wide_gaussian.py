"""Discrete Gaussians wider than the sampler's table: two of them, one on a grid.

With g = 2^11, g Y1 + Y2 with independent discrete Gaussians Y1, Y2 of standard deviations of at least
sqrt(2) g eta / sqrt(2 pi), eta = 4.95 the smoothing parameter of the integers for 2^-110, is within 2^-109
of the discrete Gaussian of variance g^2 s1^2 + s2^2 (Micciancio and Walter 2017, eprint 2017/259, corollary
4.1, for the vector (g, 1)).
"""

import functools
import math
from fractions import Fraction

from fedpriv.errors import UserError
from fedpriv.he.tables.sums import Integers
from fedpriv.privacy.discrete_gaussian import DISTANCE, DiscreteGaussian, variance_at_least
from fedpriv.privacy.noise import RandomSource

WIDE_DISTANCE = 16 * DISTANCE
"""Statistical distance of one sample from the discrete Gaussian: of at most 4 samples and of their sums."""

_NARROW = 1 << 51
_FINE = Fraction(1 << 50)
_GRID = 1 << 11
_LARGEST = 1 << 108


class WideGaussian:
    """A sampler of a discrete Gaussian of mean 0, of a standard deviation of up to 2^54.

    Guarantee:
        - Its variance is at least what was asked for, and less than 1 + 2^-6 times that.
    """

    def __init__(self, variance: Fraction) -> None:
        """Build the tables.

        Raises:
            UserError: when the variance is too large.
        """
        if variance > _LARGEST:
            raise UserError(
                "--epsilon: the noise is too wide; raise it, or give closer bounds to the columns"
            )
        self._coarse: WideGaussian | None = None
        if variance <= _NARROW:
            self._fine = DiscreteGaussian(_upward(variance))
        else:
            self._fine = DiscreteGaussian(_FINE)
            self._coarse = WideGaussian((variance - _FINE) / _GRID**2)

    def draw(self, count: int, source: RandomSource) -> Integers:
        """Return (count,) int64 independent samples."""
        fine = self._fine.draw(count, source)
        return fine if self._coarse is None else fine + _GRID * self._coarse.draw(count, source)


@functools.lru_cache(maxsize=1024)
def wide_gaussian(variance: Fraction) -> WideGaussian:
    """Return the sampler of a variance; building one takes milliseconds."""
    return WideGaussian(variance)


def _upward(variance: Fraction) -> Fraction:
    return variance_at_least(math.nextafter(float(variance), math.inf))
