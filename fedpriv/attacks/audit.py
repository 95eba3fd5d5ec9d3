"""The canary audit of one run: what an observer of every update can prove about the epsilon that it claims.

Training is real: the project's own DP-SGD, or its own clipping, rounding and discrete noise of client
updates, on synthetic eyes in one process (:mod:`fedpriv.attacks.audit_runs`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.attacks.audit_runs import (
    ROUNDS,
    STEPS,
    AuditSettings,
    train_by_dp_sgd,
    train_by_noisy_sums,
)
from fedpriv.errors import UserError
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
from fedpriv.privacy.canaries import coins
from fedpriv.privacy.plan import SamplePlan
from fedpriv.privacy.sum_plan import SumPlan

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        settings: what was audited.
        claimed: epsilon that the accountant claims for the run.
        lower_bound: epsilon that ANY mechanism with these guesses exceeds, with 95 % confidence.
        curve_bound: epsilon up to which the mechanism's own privacy curves are refuted, with 95 %
            confidence; a run with the claimed parameters has a curve of ``claimed`` or less.
        most: what ``curve_bound`` would be were every guess right. A claim beyond it is out of the
            audit's reach; more canaries reach farther.
        ways: the guesses.
        scores: (m,) positive where the canary looks included.
        included: (m,) the coins.
    """

    settings: AuditSettings
    claimed: Spent
    lower_bound: float
    curve_bound: float
    most: float
    ways: tuple[Guesses, ...]
    scores: NDArray[np.float64]
    included: NDArray[np.bool_]

    @property
    def refuted(self) -> bool:
        """Whether either bound passes the claim. An honest run's does with probability at most 0.1."""
        return max(self.lower_bound, self.curve_bound) > self.claimed.epsilon


@dataclass(frozen=True)
class _Curves:
    """The privacy curves of a mechanism by a scale that is large where noise is small.

    Attributes:
        claimed: what the accountant says of the run.
        scale: as claimed.
        least: scale -> curve.
        epsilon: scale, delta -> epsilon.
    """

    claimed: Spent
    scale: float
    least: Callable[[float], Least]
    epsilon: Callable[[float, float], float]


def audit(settings: AuditSettings) -> Audit:
    """Train once with canaries, guess their coins, and bound epsilon from below.

    Raises:
        UserError: when the claim is out of reach, or canaries outnumber the model's parameters.
    """
    included = coins(settings.canaries, settings.seed)
    try:
        if settings.level == "client":
            sum_plan, scores = train_by_noisy_sums(settings, included)
            curves = _of_sums(sum_plan)
        else:
            plan, scores = train_by_dp_sgd(settings, included)
            curves = _of_dp_sgd(plan)
    except ValueError as error:
        raise UserError(f"audit: {error}") from error
    scores = centred(scores)
    ways = guess_all_ways(scores, included)

    def bound(guesses: tuple[Guesses, ...]) -> float:
        scale = least_private_refuted(guesses, curves.least, curves.scale, 1.0 - CONFIDENCE)
        return curves.epsilon(scale, settings.delta) if scale else 0.0

    return Audit(
        settings,
        curves.claimed,
        epsilon_lower_bound(ways, settings.delta, CONFIDENCE),
        bound(ways),
        bound(tuple(Guesses(way.canaries, way.made, way.made) for way in ways)),
        ways,
        scores,
        included,
    )


def _of_dp_sgd(plan: SamplePlan) -> _Curves:
    rate = plan.sample_rate
    return _Curves(
        plan.spent(((plan.noise_multiplier, rate, STEPS),)),
        1.0 / plan.noise_multiplier,
        lambda scale: sampled_gaussian(1.0 / scale, rate, STEPS),
        lambda scale, delta: accounting.spent(((1.0 / scale, rate, STEPS),), delta).epsilon,
    )


def _of_sums(plan: SumPlan) -> _Curves:
    # integer noise of a deviation of hundreds of steps is as good as Gaussian
    return _Curves(
        plan.spent([plan.contributors] * ROUNDS),
        math.sqrt(ROUNDS) / plan.noise_multiplier,
        gaussian,
        gaussian_epsilon,
    )
