"""Waiting times as a histogram: those of several clients add up, and percentiles follow from the sum."""

import math
from collections.abc import Iterable, Sequence

BINS = 336
_FIRST_MS, _PER_DOUBLING = 0.1, 16


def histogram(seconds: Iterable[float]) -> tuple[int, ...]:
    """Count waiting times; bin i ends at 0.1 ms * 2^(i / 16), so each is 4.4 % wide, and the last at 201 s.

    Shorter times are in the first bin, longer ones in the last.
    """
    counts = [0] * BINS
    for each in seconds:
        steps = _PER_DOUBLING * math.log2(max(1000.0 * each, _FIRST_MS) / _FIRST_MS)
        counts[min(math.ceil(steps), BINS - 1)] += 1
    return tuple(counts)


def percentile_ms(counts: Sequence[int], share: float) -> float:
    """Return the upper edge, in ms, of the bin of the ``share``-quantile (nearest rank); NaN without counts.

    Args:
        counts: of :func:`histogram`, added up.
        share: e.g. 0.95.
    """
    rank, reached = max(1, math.ceil(share * sum(counts))), 0
    for number, count in enumerate(counts):
        reached += count
        if reached >= rank:
            return float(_FIRST_MS * 2 ** (number / _PER_DOUBLING))
    return math.nan
