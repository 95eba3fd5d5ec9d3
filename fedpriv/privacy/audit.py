"""What a single run proves about its epsilon: lower bounds from guessing which canaries it contained.

m canaries are each put in or left out by an independent fair coin; the run is made ONCE; every canary
gets a score that is high where it looks included. Where scores are most extreme the auditor guesses the
coin. Differential privacy limits how many guesses can be right, so many right guesses prove that
epsilon is not small (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846).

This bound knows nothing of the mechanism. It cannot pass log(p / (1 - p)) at p = (1 - confidence)^(1/r)
for r guesses, all right: 3.5 for 100, 5.8 for 1000. :mod:`fedpriv.privacy.audit_curve` tests more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

FRACTIONS = (0.05, 0.15, 0.4, 1.0)
"""Shares of the canaries whose coins are guessed; fixed before any score is seen."""


@dataclass(frozen=True)
class Guesses:
    """How one way of guessing went.

    Attributes:
        canaries: m, each included by an independent fair coin.
        made: r, guesses; the other canaries are abstained from. Fixed before the run.
        correct: v, guesses that were right.

    Raises:
        ValueError: unless 0 <= correct <= made <= canaries.
    """

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        """Check the order of the counts."""
        if not 0 <= self.correct <= self.made <= self.canaries:
            raise ValueError(f"guesses: {self.correct} right of {self.made} made on {self.canaries} canaries")


def centred(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return scores less a threshold between high and low ones, found without the coins.

    The threshold is midway between the mean of what lies above it and the mean of what does not, begun at
    the median (Ridler and Calvard 1978). It is near 0 for log-likelihood ratios of a mechanism that does
    what it claims, and in the gap for one that does not.

    Args:
        scores: (m,), m > 0.
    """
    threshold = float(np.median(scores))
    for _ in range(100):
        above = scores > threshold
        if not above.any() or above.all():
            break
        moved = (float(scores[above].mean()) + float(scores[~above].mean())) / 2.0
        if moved == threshold:
            break
        threshold = moved
    return np.asarray(scores - threshold, np.float64)


def guess(scores: NDArray[np.floating], included: NDArray[np.bool_], made: int) -> Guesses:
    """Guess the ``made`` canaries whose scores are farthest from 0: "in" above it, "out" below.

    How many guesses are "in" may depend on the scores, for they are made from what was released; how
    many there are may not. Ties are broken by position, which the coins do not depend on.

    Args:
        scores: (m,) positive where the canary looks included, see :func:`centred`.
        included: (m,) the coins.
        made: r, at most m.

    Raises:
        ValueError: for shapes that differ, scores that are not numbers, or ``made`` out of range.
    """
    if scores.shape != included.shape or scores.ndim != 1:
        raise ValueError(f"scores of shape {scores.shape} for coins of shape {included.shape}")
    if np.isnan(scores).any():
        raise ValueError("scores: not numbers")
    if not 0 < made <= len(scores):
        raise ValueError(f"made={made}: guess on 1 to {len(scores)} canaries")
    surest = np.argsort(-np.abs(scores), kind="stable")[:made]
    return Guesses(len(scores), made, int(np.count_nonzero((scores[surest] > 0) == included[surest])))


def guess_all_ways(
    scores: NDArray[np.floating], included: NDArray[np.bool_], fractions: Sequence[float] = FRACTIONS
) -> tuple[Guesses, ...]:
    """Guess once for each fraction of the canaries, at least one; see :func:`guess`.

    All ways must be handed to one call of a bound: choosing the best of them afterwards would make
    the bound fail more often than it says.
    """
    numbers = sorted({max(1, round(fraction * len(scores))) for fraction in fractions})
    return tuple(guess(scores, included, made) for made in numbers)


def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Return a bound on the probability of as many right guesses under (epsilon, delta)-privacy.

    P[V >= v] <= P[W >= v] + 2 m delta max_{1 <= i <= v} P[v > W >= v - i] / i, with W binomial of r
    trials of probability e^epsilon / (1 + e^epsilon) (Steinke et al. 2023, Theorem 5.2). Neighbours
    differ by one canary added or removed.

    Args:
        guesses: of one way, chosen before the scores were seen.
        epsilon: at least 0.
        delta: in [0, 1].

    Raises:
        ValueError: for epsilon or delta out of range.
    """
    if not epsilon >= 0.0 or not 0.0 <= delta <= 1.0:
        raise ValueError(f"epsilon={epsilon}, delta={delta}: need epsilon >= 0 and delta in [0, 1]")
    from scipy.stats import binom  # on use: half a second to import

    right = float(expit(epsilon))
    bound = float(binom.sf(guesses.correct - 1, guesses.made, right))
    if delta > 0.0 and guesses.correct > 0:
        fewer = np.arange(1, guesses.correct + 1)
        just_below = np.cumsum(binom.pmf(guesses.correct - fewer, guesses.made, right))
        bound += 2.0 * guesses.canaries * delta * float((just_below / fewer).max())
    return min(1.0, bound)


def epsilon_lower_bound(ways: Sequence[Guesses], delta: float, confidence: float = 0.95) -> float:
    """Return an epsilon that the run's mechanism exceeds, at this delta.

    The largest epsilon that one of the ways refutes at level (1 - confidence) / len(ways): the union
    bound pays for taking the best.

    Guarantee:
        - A mechanism that is (epsilon, delta)-private gets a bound above its epsilon with
          probability at most 1 - confidence, over the coins and its own randomness.

    Edge cases:
        - 0 where nothing is proven.
        - no ways: 0.

    Raises:
        ValueError: when confidence does not lie between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence} must lie between 0 and 1")
    level = (1.0 - confidence) / max(1, len(ways))
    return max((_refuted(way, delta, level) for way in ways), default=0.0)


def _refuted(way: Guesses, delta: float, level: float) -> float:
    """Return the largest epsilon with a p-value below ``level``, from below to 10^-6."""
    if p_value(way, 0.0, delta) >= level:
        return 0.0
    low, high = 0.0, 1.0
    while p_value(way, high, delta) < level:
        low, high = high, 2.0 * high
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        if p_value(way, middle, delta) < level:
            low = middle
        else:
            high = middle
    return low
