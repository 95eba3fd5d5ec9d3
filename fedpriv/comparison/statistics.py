"""Means over seeds, and paired tests where the same seeds were run twice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95
_ROUNDING = 1e-12
"""Deviation of differences, relative to the values, that may come from their rounding alone."""


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (divisor n - 1) of n values; no deviation of one value."""

    n: int
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Paired:
    """Differences of n pairs, one per seed.

    Attributes:
        n: pairs.
        difference: their mean.
        low: lower end of the 95 % confidence interval of the mean, None for one pair.
        high: its upper end.
        p: two-sided, of the paired t-test; None for one pair, and where all differences are alike: then
            their deviation, by which the test measures, is none.
    """

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None


def summarise(values: Sequence[float]) -> Summary | None:
    """Return mean and sample standard deviation of finite values; None of nothing."""
    if not values:
        return None
    numbers = np.array(values, np.float64)
    # one value repeated has no deviation, whatever its mean is rounded to
    if numbers.min() == numbers.max():
        return Summary(len(values), float(numbers[0]), 0.0 if len(values) > 1 else None)
    with np.errstate(over="ignore", invalid="ignore"):
        return Summary(len(values), float(numbers.mean()), float(numbers.std(ddof=1)))


def paired(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Paired | None:
    """Compare two groups on the seeds that both have; None where there is none.

    The differences are ours - theirs. The test is Student's for paired samples: t = mean / (s / sqrt(n)) with
    n - 1 degrees of freedom, and the interval is mean ± t_0.975 s / sqrt(n). It assumes that differences are
    normal, which few seeds cannot show.

    Args:
        ours: by seed, finite.
        theirs: by seed, finite.
    """
    seeds = [seed for seed in ours if seed in theirs]
    found = summarise([ours[seed] - theirs[seed] for seed in seeds])
    if found is None:
        return None
    largest = max(abs(values[seed]) for values in (ours, theirs) for seed in seeds)
    if found.deviation is not None and found.deviation <= _ROUNDING * largest:
        return Paired(found.n, found.mean, found.mean, found.mean, None)
    if found.deviation is None:
        return Paired(1, found.mean, None, None, None)
    error = found.deviation / math.sqrt(found.n)
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, found.n - 1)) * error
    p = 2.0 * float(student.sf(abs(found.mean) / error, found.n - 1)) if error else None
    return Paired(found.n, found.mean, found.mean - reach, found.mean + reach, p)


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979, Scandinavian Journal of Statistics 6, 65-70).

    The i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_(j)): whoever rejects what is below
    0.05 rejects any true hypothesis with a probability of at most 0.05.
    """
    corrected = [0.0] * len(ps)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = highest
    return corrected
