"""Cumulative privacy loss of the Poisson-subsampled Gaussian mechanism.

The history of one client is a tuple of ``(noise multiplier, sample rate, steps)``; it is what
is kept across rounds, and epsilon is always computed from the whole of it. Opacus, seconds to
import, is imported where it is used: runs without differential privacy never need it.
"""

import json
import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

Step: TypeAlias = tuple[float, float, int]
History: TypeAlias = tuple[Step, ...]


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


@lru_cache(maxsize=4096)
def spent(history: History, delta: float) -> Spent:
    """Bound the privacy loss of everything in ``history`` together.

    PRV accountant (Gopi, Lee, Wutschitz 2021, arXiv 2106.02848), upper bound; where its
    discretisation fails (tiny noise, large epsilon), RDP (Mironov, Talwar, Zhang 2019, arXiv
    1908.10530), and the result says so.

    Guarantee:
        - The value never falls when steps are added.
        - Neighbouring data sets differ by one example added or removed.

    Edge cases:
        - an empty history costs nothing: epsilon 0.
        - noise multiplier 0 gives infinity.
    """
    steps = tuple(step for step in history if step[2] > 0)
    if not steps:
        return Spent(0.0, delta, "prv")
    if any(noise <= 0.0 for noise, _, _ in steps):
        return Spent(math.inf, delta, "none")
    from opacus.accountants import PRVAccountant, RDPAccountant

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            prv = PRVAccountant()
            prv.history = list(steps)
            epsilon = float(prv.get_epsilon(delta))
            if math.isfinite(epsilon) and epsilon >= 0.0:
                return Spent(epsilon, delta, "prv")
        except (ValueError, RuntimeError, MemoryError, OverflowError, FloatingPointError):
            pass
        rdp = RDPAccountant()
        rdp.history = list(steps)
        return Spent(float(rdp.get_epsilon(delta)), delta, "rdp")


@lru_cache(maxsize=4096)
def noise_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Return a noise multiplier whose ``steps`` steps cost at most ``epsilon`` at ``delta``.

    Raises:
        ValueError: when no noise multiplier up to 10^6 meets the target.
    """
    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for accountant in ("prv", "rdp"):
            try:
                noise = float(
                    get_noise_multiplier(
                        target_epsilon=epsilon,
                        target_delta=delta,
                        sample_rate=sample_rate,
                        steps=steps,
                        accountant=accountant,
                    )
                )
            except (ValueError, RuntimeError, MemoryError, OverflowError, FloatingPointError):
                continue
            if spent(((noise, sample_rate, steps),), delta).epsilon <= epsilon:
                return noise
    raise ValueError(f"epsilon={epsilon} at delta={delta} is out of reach for {steps} steps")


def to_json(history: History) -> str:
    """Serialise a history."""
    return json.dumps([list(step) for step in history])


def from_json(text: str) -> History:
    """Read what :func:`to_json` wrote.

    Raises:
        ValueError: when the text is not such a history.
    """
    try:
        return tuple((float(noise), float(rate), int(steps)) for noise, rate, steps in json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError("privacy history is damaged") from error
