"""Statistics from exact sums: fractions until the last step, then float64.

Means, variances (n - 1 in the denominator), covariances and correlations are those of pandas: a pair of
columns is taken over the rows where both have a value.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.tables.schema import Column
from fedpriv.he.tables.sums import Sums

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Of one part of a table, columns in the schema's order; NaN where there are too few values.

    Attributes:
        names: of the columns.
        counts: values there are.
        means: (columns,).
        variances: of a sample, (columns,).
        deviations: their square roots.
        covariances: (columns, columns) of a sample; None without sums of pairs.
        correlations: (columns, columns), Pearson's; likewise.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    means: Floats
    variances: Floats
    deviations: Floats
    covariances: Floats | None = None
    correlations: Floats | None = None


def statistics_of(sums: Sums, scope: int) -> Statistics:
    """Return the statistics of one scope.

    Each is within 2 units in the last place of the exact value.

    Edge cases:
        - No values: every statistic is NaN. One value: a mean and no variance.
        - A constant column has variance 0 and no correlation.
        - Noisy sums may give a variance below 0: it is NaN.
    """
    columns = sums.schema.columns
    triples = [
        (int(n), int(total), int(square))
        for n, total, square in zip(sums.counts[scope], sums.totals[scope], sums.squares[scope], strict=True)
    ]
    means = [_mean(column, n, total) for column, (n, total, _) in zip(columns, triples, strict=True)]
    variances = np.array([_variance(c, *triple) for c, triple in zip(columns, triples, strict=True)])
    of_pairs = _of_pairs(sums, scope) if sums.pairs else (None, None)
    return Statistics(
        tuple(column.name for column in columns),
        tuple(n for n, _, _ in triples),
        np.array(means),
        variances,
        np.sqrt(variances),
        *of_pairs,
    )


def weighted_means(sums: Sums, scope: int, weight: int) -> Floats:
    """Return sum w x / sum w of each column, over the rows where both x and the weight w are there.

    Args:
        sums: with those of pairs.
        scope: number of the part.
        weight: number of the column that is the weight.
    """
    columns = sums.schema.columns
    w = columns[weight]
    found = []
    for i, column in enumerate(columns):
        n, product = int(sums.counts_of_pairs[scope, i, weight]), int(sums.products[scope, i, weight])
        total, weights = (int(sums.totals_of_pairs[scope, a, b]) for a, b in ((i, weight), (weight, i)))
        true_weights = weights + n * w.offset
        weighted = product + w.offset * total + column.offset * true_weights
        found.append(float(Fraction(weighted, true_weights * column.unit)) if true_weights > 0 else math.nan)
    return np.array(found)


def _mean(column: Column, n: int, total: int) -> float:
    return float((Fraction(total, n) + column.offset) / column.unit) if n > 0 else math.nan


def _variance(column: Column, n: int, total: int, square: int) -> float:
    if n < 2:
        return math.nan
    value = Fraction(n * square - total * total, n * (n - 1) * column.unit**2)
    return float(value) if value >= 0 else math.nan


def _of_pairs(sums: Sums, scope: int) -> tuple[Floats, Floats]:
    columns = sums.schema.columns
    covariances, correlations = np.full((2, len(columns), len(columns)), math.nan)
    for i, first in enumerate(columns):
        for j in range(i, len(columns)):
            n, xy = int(sums.counts_of_pairs[scope, i, j]), int(sums.products[scope, i, j])
            if n < 2:
                continue
            x, y = (int(sums.totals_of_pairs[scope, a, b]) for a, b in ((i, j), (j, i)))
            xx, yy = (int(sums.squares_of_pairs[scope, a, b]) for a, b in ((i, j), (j, i)))
            if i == j:
                xx = yy = xy  # noisy ones would differ
            moment = n * xy - x * y
            covariance = float(Fraction(moment, n * (n - 1) * first.unit * columns[j].unit))
            covariances[i, j] = covariances[j, i] = covariance
            left, right = n * xx - x * x, n * yy - y * y
            if left > 0 and right > 0:
                correlations[i, j] = correlations[j, i] = _ratio_to_root(moment, left * right)
    return covariances, correlations


def _ratio_to_root(numerator: int, square: int) -> float:
    """Return numerator / sqrt(square), at most 1 in magnitude."""
    # enough digits that the root's own rounding does not show
    shift = max(0, 128 - square.bit_length() // 2)
    root = math.isqrt(square << 2 * shift)
    return max(-1.0, min(1.0, float(Fraction(numerator << shift, root))))
