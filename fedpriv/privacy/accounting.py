"""Cumulative privacy loss of the Poisson-subsampled Gaussian mechanism.

The history of one client is a tuple of ``(noise multiplier, sample rate, steps)``; it is what
is kept across rounds, and epsilon is always computed from the whole of it. Opacus, seconds to
import, is imported where it is used: runs without differential privacy never need it.
"""

import json
import math
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Step: TypeAlias = tuple[float, float, int]
History: TypeAlias = tuple[Step, ...]

LARGEST_FOR_PRV = 32.0
"""RDP epsilon above which PRV is not tried: its grid, and its time (a minute at 2000), grow with epsilon."""
MOST_STEPS_FOR_PRV = 100_000
"""Steps above which PRV is not tried: its grid grows with their root, to gigabytes at a million."""
LEAST_DELTA_FOR_PRV = 1e-8
"""Delta below which PRV is not tried: the rounding of its Fourier transforms, up to 10^-11 after 100,000
steps, is no longer small beside delta, and what it returns falls below the truth (by 0.8 at 10^-12)."""
LEAST_NOISE = 1e-3
"""Noise multiplier below which no accountant is asked: epsilon is above 10^5 and they may not end."""
_MOST_NOISE, _LEAST_RATE = 1e6, 1e-9
LONGEST_JSON = 1 << 20
"""Characters of a serialised history that :func:`from_json` is willing to parse."""


@dataclass(frozen=True)
class Spent:
    """Privacy spent so far: an upper bound ``epsilon`` at ``delta``, and how it was found."""

    epsilon: float
    delta: float
    accountant: str


def extend(history: History, step: Step) -> History:
    """Append steps; equal mechanisms in a row are merged."""
    if history and history[-1][:2] == step[:2]:
        return (*history[:-1], (step[0], step[1], history[-1][2] + step[2]))
    return (*history, step)


def at_least(history: History, other: History) -> History:
    """Return ``history`` with the steps of each mechanism that ``other`` has more of."""
    have, need = _steps(history), _steps(other)
    for (noise, rate), steps in need.items():
        if steps > have[noise, rate]:
            history = extend(history, (noise, rate, steps - have[noise, rate]))
    return history


def _steps(history: History) -> Counter[tuple[float, float]]:
    counted: Counter[tuple[float, float]] = Counter()
    for noise, rate, steps in history:
        counted[noise, rate] += steps
    return counted


@lru_cache(maxsize=4096)
def spent(history: History, delta: float) -> Spent:
    """Bound the privacy loss of everything in ``history`` together.

    The smaller of two upper bounds: RDP (Mironov, Talwar, Zhang 2019, arXiv 1908.10530) and, up to
    :data:`LARGEST_FOR_PRV` and :data:`MOST_STEPS_FOR_PRV` and from :data:`LEAST_DELTA_FOR_PRV` on, PRV (Gopi,
    Lee, Wutschitz 2021, arXiv 2106.02848). The result names the one it came from.

    Guarantee:
        - The value never falls when steps are added, but for 10^-3 of PRV's arithmetic, and where PRV
          failed before them and does not after.
        - Neighbouring data sets differ by one example added or removed.

    Edge cases:
        - an empty history costs nothing: epsilon 0.
        - noise multiplier 0, or below :data:`LEAST_NOISE`, gives infinity.
        - where delta alone covers the loss, epsilon is 0.
        - above :data:`LARGEST_FOR_PRV` or :data:`MOST_STEPS_FOR_PRV`, below :data:`LEAST_DELTA_FOR_PRV`, and
          wherever PRV fails, the RDP bound is returned.

    Raises:
        ValueError: when delta does not lie between 0 and 1.
    """
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta={delta} must lie between 0 and 1")
    steps = within_reach(history)
    if not steps:
        return Spent(0.0, delta, "prv")
    if any(noise <= 0.0 for noise, _, _ in steps):
        return Spent(math.inf, delta, "none")
    rdp = _rdp(steps, delta)
    few = sum(step[2] for step in steps) <= MOST_STEPS_FOR_PRV
    if rdp <= LARGEST_FOR_PRV and few and delta >= LEAST_DELTA_FOR_PRV:
        prv = _prv(steps, delta)
        if prv is not None and prv <= rdp:
            return Spent(prv, delta, "prv")
    return Spent(rdp, delta, "rdp")


def within_reach(history: History) -> History:
    """Replace mechanisms that the accountants cannot compute by ones that protect less; drop empty ones."""
    return tuple(
        (min(noise, _MOST_NOISE) if noise >= LEAST_NOISE else 0.0, max(rate, _LEAST_RATE), steps)
        for noise, rate, steps in history
        if steps > 0
    )


def _rdp(steps: History, delta: float) -> float:
    """Return the RDP bound, 0 where the conversion gives a negative epsilon.

    The conversion to delta (Balle et al. 2020, arXiv 1905.09982, Theorem 21) falls as epsilon grows: where
    it gives delta at an epsilon below 0, it gives no more than delta at 0. That 0 is a bound follows without
    it too: P(S) <= e^epsilon Q(S) + delta <= Q(S) + delta.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        epsilon = _converted(steps, delta)
    return math.inf if math.isnan(epsilon) else max(0.0, epsilon)


def _converted(steps: History, delta: float) -> float:
    """Return what ``RDPAccountant.get_epsilon`` returns, to the bit."""
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis import rdp

    loss = sum(renyi(noise, rate) * count for noise, rate, count in steps)
    return float(rdp.get_privacy_spent(orders=RDPAccountant.DEFAULT_ALPHAS, rdp=loss, delta=delta)[0])


@lru_cache(maxsize=4096)
def renyi(noise: float, rate: float) -> NDArray[np.float64]:
    """Return the Renyi loss of one step at Opacus' orders (Mironov, Talwar, Zhang 2019, arXiv 1908.10530)."""
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis import rdp

    orders = RDPAccountant.DEFAULT_ALPHAS
    with np.errstate(all="ignore"):
        loss = np.asarray(rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=orders), np.float64)
    loss.setflags(write=False)
    return loss


def _prv(steps: History, delta: float) -> float | None:
    """Return PRV's upper bound, None where its discretisation fails."""
    from opacus.accountants import PRVAccountant
    from opacus.accountants.analysis.prv import Domain

    def domain(*, eps_error: float, delta_error: float, **_: object) -> Domain:
        # as Opacus' own, which computes the Renyi loss of a step anew each time: nine tenths of PRV's time
        total = sum(count for _, _, count in steps)
        single = (_converted(((noise, rate, 1),), delta_error / (8 * total)) for noise, rate, _ in steps)
        end = max(_converted(steps, delta_error / 4), *single, eps_error) + 3
        mesh = eps_error / np.sqrt(total * np.log(12 / delta_error) / 2)
        return Domain.create_aligned(-end, end, mesh)

    accountant = PRVAccountant()
    accountant.history = list(steps)
    accountant._get_domain = domain
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            epsilon = float(accountant.get_epsilon(delta))
        except (ValueError, RuntimeError, MemoryError, ArithmeticError):
            return None
    return epsilon if math.isfinite(epsilon) and epsilon >= 0.0 else None


@lru_cache(maxsize=4096)
def noise_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Return a noise multiplier whose ``steps`` steps cost at most ``epsilon`` at ``delta``.

    A bracketing search over :func:`spent`, so that what is promised is what will be reported. The
    result costs at least 99.5 % of ``epsilon``, or no noise multiplier smaller by more than 0.1 %
    meets the target.

    Raises:
        ValueError: when no noise multiplier up to 10^6 meets the target, or epsilon is not a
            positive finite number.
    """
    if not 0.0 < epsilon < math.inf:
        raise ValueError(f"epsilon={epsilon} must be positive and finite")

    def cost(noise: float) -> float:
        return spent(((noise, sample_rate, steps),), delta).epsilon

    high, at_high = 1.0, cost(1.0)
    low, at_low = high, at_high
    while at_high > epsilon:
        if high > 1e6:
            raise ValueError(f"epsilon={epsilon} at delta={delta} is out of reach for {steps} steps")
        low, at_low = high, at_high
        high, at_high = 2.0 * high, cost(2.0 * high)
    while at_low <= epsilon:
        high, at_high = low, at_low
        low, at_low = low / 2.0, cost(low / 2.0)
    while at_high < 0.995 * epsilon and high > 1.001 * low:
        # epsilon is close to a power of the noise, so a straight line in logarithms finds it fast
        share = (
            math.log(at_low / (0.998 * epsilon)) / math.log(at_low / at_high) if at_low < math.inf else 0.5
        )
        middle = low * (high / low) ** min(max(share, 0.1), 0.9)
        if (at_middle := cost(middle)) <= epsilon:
            high, at_high = middle, at_middle
        else:
            low, at_low = middle, at_middle
    return high


def to_json(history: History) -> str:
    """Serialise a history."""
    return json.dumps([list(step) for step in history])


def from_json(text: str) -> History:
    """Read what :func:`to_json` wrote.

    Raises:
        ValueError: when the text is longer than :data:`LONGEST_JSON` or is not such a history: a
            list of [noise multiplier >= 0, sample rate in (0, 1], whole number of steps >= 0].
    """
    if len(text) > LONGEST_JSON:
        raise ValueError(f"privacy history is damaged: {len(text)} characters, at most {LONGEST_JSON}")
    try:
        return tuple(_checked(*step) for step in json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("privacy history is damaged") from error


def _checked(noise: float, rate: float, steps: int) -> Step:
    numbers = all(type(value) in (int, float) for value in (noise, rate)) and type(steps) is int
    if not (numbers and 0.0 <= noise < math.inf and 0.0 < rate <= 1.0 and steps >= 0):
        raise ValueError("step out of range")
    return float(noise), float(rate), steps
