"""The verdict of an audit: what right guesses prove about the epsilon that is claimed.

The bounds on epsilon from below are two. One holds for any mechanism (:mod:`fedpriv.privacy.audit`), one
asks whether the guesses fit the privacy curve of the mechanism that is claimed
(:mod:`fedpriv.privacy.audit_curve`). The larger of the two is what is told, so each is judged at half the
level: both hold at once with 95 % confidence.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.privacy import accounting
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.audit import Guesses, centred, epsilon_lower_bound, guess_all_ways
from fedpriv.privacy.audit_curve import (
    Least,
    gaussian,
    gaussian_epsilon,
    least_private_refuted,
    sampled_gaussian,
)
from fedpriv.privacy.plan import SamplePlan
from fedpriv.privacy.sum_plan import SumPlan

CONFIDENCE = 0.95
"""That both bounds hold at once."""
_OF_EACH = 1.0 - (1.0 - CONFIDENCE) / 2.0


@dataclass(frozen=True)
class Curves:
    """The privacy curves of a mechanism by a scale that is large where noise is small.

    Attributes:
        scale: as claimed; where the search for the truth begins.
        least: scale -> curve.
        epsilon: scale, delta -> epsilon.
    """

    scale: float
    least: Callable[[float], Least]
    epsilon: Callable[[float, float], float]


@dataclass(frozen=True)
class Verdict:
    """What an audit found; both bounds hold at once with 95 % confidence.

    Attributes:
        claimed: epsilon that is claimed for the run.
        lower_bound: epsilon that ANY mechanism with these guesses exceeds, with 97.5 % confidence.
        curve_bound: epsilon up to which the mechanism's own privacy curves are refuted, with 97.5 %
            confidence; a run with the claimed parameters has a curve of ``claimed`` or less.
        most: what ``curve_bound`` would be were every guess right. A claim beyond it is out of the
            audit's reach; more canaries reach farther.
        ways: the guesses.
        scores: (m,) positive where the canary looks included.
        included: (m,) the coins.
    """

    claimed: Spent
    lower_bound: float
    curve_bound: float
    most: float
    ways: tuple[Guesses, ...]
    scores: NDArray[np.float64]
    included: NDArray[np.bool_]

    @property
    def bound(self) -> float:
        """The larger of the two bounds, with 95 % confidence."""
        return max(self.lower_bound, self.curve_bound)

    @property
    def refuted(self) -> bool:
        """Whether either bound passes the claim. An honest run's does with probability at most 0.05."""
        return self.bound > self.claimed.epsilon


def judge(
    scores: NDArray[np.float64], included: NDArray[np.bool_], claimed: Spent, curves: Curves
) -> Verdict:
    """Guess the coins from the scores, and bound epsilon from below.

    Args:
        scores: (m,) higher where a canary looks included, found without the coins; their zero is found here.
        included: (m,) the coins.
        claimed: what is audited; bounds are stated at its delta.
        curves: of the mechanism that is claimed.

    Raises:
        ValueError: for shapes that differ, or scores that are not numbers.
    """
    scores = centred(scores)
    ways = guess_all_ways(scores, included)

    def bound(guesses: tuple[Guesses, ...]) -> float:
        scale = least_private_refuted(guesses, curves.least, curves.scale, 1.0 - _OF_EACH)
        return curves.epsilon(scale, claimed.delta) if scale else 0.0

    return Verdict(
        claimed,
        epsilon_lower_bound(ways, claimed.delta, _OF_EACH),
        bound(ways),
        bound(tuple(Guesses(way.canaries, way.made, way.made) for way in ways)),
        ways,
        scores,
        included,
    )


def curves_of_dp_sgd(plan: SamplePlan, steps: int) -> Curves:
    """Return the curves of so many steps of DP-SGD, by one over the noise multiplier."""
    rate = plan.sample_rate
    return Curves(
        1.0 / plan.noise_multiplier,
        lambda scale: sampled_gaussian(1.0 / scale, rate, steps),
        lambda scale, delta: accounting.spent(((1.0 / scale, rate, steps),), delta).epsilon,
    )


def curves_of_sums(plan: SumPlan, rounds: int) -> Curves:
    """Return the curves of so many noisy sums that a client is in, by mu of Gaussian privacy.

    Integer noise of a deviation of hundreds of steps is as good as Gaussian.
    """
    return Curves(math.sqrt(rounds) / plan.noise_multiplier, gaussian, gaussian_epsilon)
