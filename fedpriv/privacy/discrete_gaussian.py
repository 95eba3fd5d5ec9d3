"""Sampling of the discrete Gaussian: P(x) proportional to exp(-x^2 / (2 variance)) on the integers.

The noise of sums of integers (Canonne, Kamath, Steinke 2020, arXiv 2004.00010). Every decision is
made on integers: no floating-point number touches a sample, so the least significant bits carry
nothing (Mironov, CCS 2012), and equal random words give equal samples on every machine.

A magnitude is split as |x| = anchor + step, where anchor is a multiple of the width B = 2^b, with
b the smallest that leaves sqrt(variance) / B below 32:

1. (sign, anchor) is drawn with probability proportional to exp(-anchor^2 / (2 variance)), by an
   alias table (Walker 1977) of probabilities rounded to multiples of 2^-128;
2. step is uniform on [0, B);
3. the pair is kept with probability exp(-step (2 anchor + step) / (2 variance)), decided by
   Algorithm 1 of Canonne, Kamath and Steinke (von Neumann's trick) in exact 64-bit integers.

Steps 2 and 3 are exact. Step 1 is not: the table is rounded, and it ends ``REACH`` standard
deviations from zero. Together the samples stay within :data:`DISTANCE` of the true law.
"""

import decimal
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedpriv.privacy.noise import RandomSource

DISTANCE = 2.0**-110
"""Statistical distance of one sample from the discrete Gaussian, at most.

Mass beyond REACH standard deviations: below 2 Q(12.5) < 2^-116. Rounding of at most 1024 table
entries: 1024 * 2^-128, at most three times that after step 3, which keeps more than 9 of 10 pairs.
"""
REACH = Fraction(25, 2)
"""Standard deviations after which the table ends."""
LARGEST_VARIANCE = 1 << 52
_TERM_BITS = 60
_COLUMN_BITS = 10
_PROBABILITY_BITS = 128
_BLOCK = 1 << 14


class DiscreteGaussian:
    """A sampler of the discrete Gaussian of mean 0.

    Guarantee:
        - Samples are independent, and each is within :data:`DISTANCE` of the law.
        - No sample exceeds ``bound`` in magnitude.

    Edge cases:
        - ``variance`` is the parameter sigma^2. The samples' own variance never exceeds it, and is
          clearly less only where it is below 1 (Canonne et al. 2020, section 3).
        - ``count=0`` returns an empty array.

    Attributes:
        variance: sigma^2, exact.
        bound: largest magnitude of a sample, at most 12.63 sigma + 1.
    """

    def __init__(self, variance: Fraction) -> None:
        """Build the table, a few milliseconds.

        Args:
            variance: sigma^2, in (0, 2^52]; from 32^2 on with a numerator of at most 2^60, see
                :func:`variance_at_least`.

        Raises:
            ValueError: when the variance is out of range.
        """
        if not 0 < variance <= LARGEST_VARIANCE:
            raise ValueError(f"variance={float(variance)} must be positive and at most 2^52")
        self.variance = variance
        numerator, denominator = variance.as_integer_ratio()
        width_bits = 0
        while variance >= 1 << 2 * (width_bits + 5):
            width_bits += 1
        if width_bits and numerator > 1 << _TERM_BITS:
            raise ValueError(f"variance: numerator {numerator} exceeds 2^60; round with variance_at_least")
        self._width = 1 << width_bits
        anchors = _root_above(REACH**2 * variance / self._width**2) + 1
        self.bound = anchors * self._width - 1
        self._numerator, self._denominator = numerator, denominator

        magnitudes = [self._width * index for index in range(anchors)]
        # with steps, -0 must stay a possible anchor: it leads to -1, -2, ...
        negative = magnitudes if width_bits else magnitudes[1:]
        self._anchors = _padded([*magnitudes, *negative])
        self._signs = _padded([1] * anchors + [-1] * len(negative))
        self._high, self._low, self._alias = _alias_table(
            [_weight(anchor, variance) for anchor in (*magnitudes, *negative)]
        )

    def draw(self, count: int, source: RandomSource) -> NDArray[np.int64]:
        """Return ``count`` independent samples."""
        drawn = np.empty(count, np.int64)
        filled = 0
        while filled < count:
            wanted = count - filled
            spare = 0 if self._width == 1 else wanted // 24 + 8
            fresh = self._candidates(min(wanted + spare, _BLOCK), source)[:wanted]
            drawn[filled : filled + len(fresh)] = fresh
            filled += len(fresh)
        return drawn

    def _candidates(self, count: int, source: RandomSource) -> NDArray[np.int64]:
        """Return the samples of ``count`` attempts, of which about 97 % succeed."""
        entry = self._entries(count, source)
        anchor, sign = self._anchors[entry], self._signs[entry]
        if self._width == 1:
            return anchor * sign
        step = source.below(self._width, count)
        kept = self._keeps(anchor, step, source)
        magnitude = anchor + step
        # zero has one sign only
        kept &= (magnitude > 0) | (sign > 0)
        return (magnitude * sign)[kept]

    def _entries(self, count: int, source: RandomSource) -> NDArray[np.int64]:
        """Draw table entries: a column by 10 bits, then the column's own entry or its alias by 118 bits."""
        words = source.words(count)
        column = (words & np.uint64((1 << _COLUMN_BITS) - 1)).view(np.int64)
        rest = words >> np.uint64(_COLUMN_BITS)
        high = self._high[column]
        own = rest < high
        ties = np.flatnonzero(rest == high)
        if len(ties):
            own[ties] = source.words(len(ties)) < self._low[column[ties]]
        return np.where(own, column, self._alias[column])

    def _keeps(
        self, anchor: NDArray[np.int64], step: NDArray[np.int64], source: RandomSource
    ) -> NDArray[np.bool_]:
        """Decide with probability exp(-g), g = step (2 anchor + step) / (2 variance) < 1, exactly.

        Trial k = 1, 2, ... succeeds with probability g / k; the answer is whether the first failure
        has an odd k. All terms are below 2^62: g < 0.8 and 2 * numerator <= 2^61.
        """
        below = step * (2 * anchor + step) * self._denominator
        total = 2 * self._numerator
        kept = np.ones(len(step), np.bool_)
        active = np.flatnonzero(source.below(total, len(step)) < below)
        trial = 1
        while len(active):
            # a failure at the next trial is odd exactly if this trial was even
            kept[active] = trial % 2 == 0
            trial += 1
            again = source.below(total, len(active)) < below[active]
            again &= source.below(trial, len(active)) == 0
            active = active[again]
        return kept


def variance_at_least(variance: float) -> Fraction:
    """Return the smallest 2^60 / q, q whole, that is not below ``variance``.

    For those the sampler needs no rejection of random words. The result exceeds ``variance`` by a
    factor below 1 + variance / 2^59.

    Raises:
        ValueError: when the variance is not in (0, 2^52].
    """
    if not 0 < variance <= LARGEST_VARIANCE:
        raise ValueError(f"variance={variance} must be positive and at most 2^52")
    return Fraction(1 << _TERM_BITS, math.floor((1 << _TERM_BITS) / Fraction(variance)))


def _root_above(square: Fraction) -> int:
    """Return the smallest integer whose square is at least ``square``."""
    whole = math.ceil(square)
    root = math.isqrt(whole)
    return root if root * root == whole else root + 1


def _weight(anchor: int, variance: Fraction) -> int:
    """Return exp(-anchor^2 / (2 variance)) in units of 2^-160, computed to 60 digits and rounded down."""
    exponent = -(anchor**2) / (2 * variance)
    with decimal.localcontext(decimal.Context(prec=60, traps=[])):
        value = (Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp()
        return int(value * (1 << 160))


def _alias_table(weights: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Build Walker's table (Vose 1991) in exact integers.

    Returns:
        For each of the 1024 columns: the threshold below which its own entry is taken, 118 bits as
        the upper 54 (the value 2^54 included) and the lower 64, and the entry taken otherwise.
    """
    total = sum(weights)
    shares = [(weight << _PROBABILITY_BITS) // total for weight in weights]
    shares[0] += (1 << _PROBABILITY_BITS) - sum(shares)
    shares += [0] * ((1 << _COLUMN_BITS) - len(shares))
    full = 1 << (_PROBABILITY_BITS - _COLUMN_BITS)
    alias = list(range(len(shares)))
    poor = [index for index, share in enumerate(shares) if share < full]
    rich = [index for index, share in enumerate(shares) if share > full]
    while poor:
        index, giver = poor.pop(), rich[-1]
        alias[index] = giver
        shares[giver] -= full - shares[index]
        if shares[giver] <= full:
            rich.pop()
            if shares[giver] < full:
                poor.append(giver)
    low = (1 << 64) - 1
    return (
        np.array([share >> 64 for share in shares], np.uint64),
        np.array([share & low for share in shares], np.uint64),
        np.array(alias, np.int64),
    )


def _padded(values: list[int]) -> NDArray[np.int64]:
    """Return the values, filled up with zeros to one for each column."""
    return np.array(values + [0] * ((1 << _COLUMN_BITS) - len(values)), np.int64)
