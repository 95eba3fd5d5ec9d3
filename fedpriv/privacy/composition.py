"""What releases of different kinds cost together: sampled Gaussians and concentrated ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpriv.privacy import accounting
from fedpriv.privacy.accounting import History, Spent
from fedpriv.privacy.concentrated import ARITHMETIC, epsilon_of

MOST_FOR_PRV = 16
"""Different mechanisms up to which PRV is tried: its time grows with them, 0.1 s each and more."""
_SHARE_FOR_DISTANCE = 2.0**-10
"""Part of delta kept for the distance between samplers and their exact laws, as for one run's sums."""


@dataclass(frozen=True)
class Loss:
    """All that one unit (an example, a client) has been exposed to.

    Attributes:
        history: sampled Gaussians; each mechanism once, in ascending order, so that equal losses are equal.
        rho: of all concentrated releases together (Bun and Steinke 2016, arXiv 1605.02065).
        distance: statistical distance of all their noise from the law that rho was derived for.
    """

    history: History = ()
    rho: float = 0.0
    distance: float = 0.0


def spent(loss: Loss, delta: float) -> Spent:
    """Bound the privacy loss of everything in ``loss`` together, adaptively composed.

    Sampled Gaussians alone: :func:`fedpriv.privacy.accounting.spent`. Concentrated releases alone:
    :func:`fedpriv.privacy.concentrated.epsilon_of`. Both: rho-zCDP is (a, rho a)-Renyi privacy at every
    order a, and Renyi losses add up order by order (Mironov 2017, arXiv 1702.07476).

    Guarantee:
        - One kind alone costs what its own accountant says.
        - The value never falls when anything is added, but as :func:`fedpriv.privacy.accounting.spent` may.
        - The distance of samplers is covered: (epsilon, delta) at distance T is
          (epsilon, delta + (1 + e^epsilon) T).

    Edge cases:
        - nothing at all costs nothing: epsilon 0.
        - rho infinite, or a noise multiplier below :data:`fedpriv.privacy.accounting.LEAST_NOISE`:
          epsilon infinite.
        - more than :data:`MOST_FOR_PRV` different mechanisms, or both kinds: the RDP bound, and it says so.

    Raises:
        ValueError: when delta does not lie between 0 and 1.
    """
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta={delta} must lie between 0 and 1")
    history = accounting.within_reach(loss.history)
    if loss.rho == 0.0 and loss.distance == 0.0:
        if len(history) <= MOST_FOR_PRV:
            return accounting.spent(history, delta)
        return Spent(_rdp(history, 0.0, delta), delta, "rdp")
    kind = "rdp" if history else "zcdp"
    rest = delta * (1.0 - _SHARE_FOR_DISTANCE)
    epsilon = _rdp(history, loss.rho, rest) if history else epsilon_of(loss.rho * ARITHMETIC, rest)
    if epsilon > 700.0 or (1.0 + math.exp(epsilon)) * loss.distance > delta * _SHARE_FOR_DISTANCE:
        epsilon = math.inf
    return Spent(epsilon, delta, kind if epsilon < math.inf else "none")


def upper(loss: Loss, delta: float) -> float:
    """Return an epsilon that :func:`spent` does not exceed, without PRV, which takes seconds."""
    if loss.rho or loss.distance:
        return spent(loss, delta).epsilon
    return _rdp(accounting.within_reach(loss.history), 0.0, delta)


def within(losses: Sequence[Loss], epsilon: float, delta: float) -> bool:
    """Tell whether no loss passes ``epsilon``; accountants are asked only where :func:`upper` does.

    Guarantee:
        - True exactly where the epsilon of :func:`greatest` is at most ``epsilon``.

    Edge cases:
        - an epsilon that is no number allows nothing, but to nobody.
    """
    return all(upper(loss, delta) <= epsilon or spent(loss, delta).epsilon <= epsilon for loss in losses)


def greatest(losses: Sequence[Loss], delta: float) -> Spent:
    """Return what the unit with the greatest epsilon has spent; nothing is spent by nobody.

    Guarantee:
        - No unit has spent more.

    Edge cases:
        - where one has an infinite loss, so has the whole.

    Only losses whose upper bound passes the best so far are computed in full.
    """
    best = spent(Loss(), delta)
    for bound, loss in sorted(((upper(loss, delta), loss) for loss in losses), key=lambda pair: -pair[0]):
        if bound <= best.epsilon:
            break
        best = max(best, spent(loss, delta), key=lambda found: found.epsilon)
    return best


def _rdp(history: History, rho: float, delta: float) -> float:
    if any(noise <= 0.0 for noise, _, _ in history) or rho == math.inf:
        return math.inf
    from opacus.accountants import RDPAccountant

    orders = np.asarray(RDPAccountant.DEFAULT_ALPHAS, np.float64)
    loss = rho * ARITHMETIC * orders
    with np.errstate(all="ignore"):
        for noise, rate, steps in history:
            loss = loss + steps * accounting.renyi(noise, rate)
        # from Renyi to approximate privacy: Balle et al. 2020, arXiv 1905.09982, Theorem 21
        bounds = loss - (math.log(delta) + np.log(orders)) / (orders - 1.0) + np.log1p(-1.0 / orders)
    found = bounds[~np.isnan(bounds)]
    return max(0.0, float(found.min())) if len(found) else math.inf
