"""A clipping norm that follows a quantile of the norms of the clients' updates.

Andrew, Thakkar, McMahan, Ramaswamy 2021, Differentially Private Learning with Adaptive Clipping, arXiv
1905.03871: C_{t+1} = C_t exp(-eta (b_t - gamma)), where b_t is the noisy fraction of the clients whose
(weighted) update is no longer than C_t.

Each client sends its vote on that as one more coordinate of its update, +w or -w, in the same noisy sum.
And every vector is sent in units of C_t / C_0, so that its norm is at most hypot(C_0, w) in every round:
sensitivity, noise and steps are those of one :class:`~fedpriv.privacy.sum_plan.SumPlan`, whatever C_t is
and whoever chose it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.privacy.sum_plan import SumPlan
from fedpriv.types import FloatVector

COST = 0.05
"""By this share the noise of an update grows, for votes and update together cost what one of them did."""
VOTE = math.sqrt((1.0 + COST) ** 2 - 1.0)
"""w / C_0, so that hypot(C_0, w) = (1 + COST) C_0."""
REACH = 1e3
"""The norm stays within this factor of C_0."""


@dataclass(frozen=True)
class AdaptiveClipping:
    """The rule by which the norm moves.

    Guarantee:
        - Without noise the norm comes to rest where the fraction ``quantile`` of the norms is within it.
        - No round moves it by more than a factor e^rate, whatever the votes were, and no number of rounds
          beyond a factor :data:`REACH` of ``start``.

    Edge cases:
        - Noise of standard deviation s on the fraction makes log C_t a walk of steps eta s that is drawn
          back by eta (b - gamma): with few clients and much noise the norm wanders, see :func:`read_sum`.

    Attributes:
        start: C_0, units of coordinates.
        quantile: gamma, in (0, 1); 0.5 is the median.
        rate: eta > 0; at the paper's 0.2 and the median a round moves the norm by a tenth at most.
    """

    start: float
    quantile: float = 0.5
    rate: float = 0.2

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 < self.start < math.inf:
            raise ValueError(f"clipping_norm={self.start} must be positive and finite")
        if not 0 < self.quantile < 1:
            raise ValueError(f"target_quantile={self.quantile} must lie between 0 and 1")
        if not 0 < self.rate <= math.log(REACH):
            raise ValueError(f"clipping_rate={self.rate} must be positive and at most {math.log(REACH):.2g}")

    def holds(self, norm: float) -> bool:
        """Tell whether the norm of a round can be this."""
        return self.start / REACH <= norm <= self.start * REACH

    def next(self, norm: float, within: float) -> float:
        """Return C_{t+1} = C_t exp(-eta (b_t - gamma)), b_t - gamma cut to [-1, 1].

        True fractions never reach that cut; noise does, and votes that a client has made up.

        Args:
            norm: C_t.
            within: b_t; NaN leaves the norm as it is.
        """
        if math.isnan(within):
            return norm
        off = min(1.0, max(-1.0, within - self.quantile))
        moved = norm * math.exp(-self.rate * off)
        return min(self.start * REACH, max(self.start / REACH, moved))


def vote_of(clipping_norm: float, step: float) -> int:
    """Return w in steps, at least 1: the size of a vote beside updates of norm ``clipping_norm``."""
    return max(1, math.floor(VOTE * clipping_norm / step))


def clip_with_vote(update: FloatVector, norm: float, plan: SumPlan) -> FloatVector:
    """Return update * C_0 / max(norm, ||update||_2) and, behind it, the vote: +w where ||update||_2 <= norm.

    Guarantee:
        The update's part is no longer than C_0, but for the rounding to float32; the codec bounds the norm
        of all integers together, the vote's among them.

    Edge cases:
        NaN or infinity anywhere: they stay there for the codec to refuse.

    Args:
        update: (P,) float32; already weighted.
        norm: C_t > 0.
        plan: of the sums; its dimension is P + 1.

    Returns:
        (P + 1,) float32, in units of C_t / C_0.
    """
    # a sum in a fixed order, unlike that of a threaded library: the same bits on every machine
    length = math.sqrt(float(np.sum(np.square(update, dtype=np.float64))))
    sent = np.empty(len(update) + 1, np.float32)
    scale = plan.clipping_norm / max(norm, length) if math.isfinite(length) else 1.0
    np.multiply(update, np.float64(scale), out=sent[:-1], casting="same_kind")
    sent[-1] = plan.step * (plan.vote if length <= norm else -plan.vote)
    return sent


def read_sum(
    total: NDArray[np.float64], norm: float, plan: SumPlan, count: int
) -> tuple[NDArray[np.float64], float]:
    """Take an opened sum apart.

    Guarantee:
        b_t has a mean of the true fraction (but for a vote that rounding or a malicious client changed) and
        the noise's standard deviation over 2 w n: at ``plan.contributors`` answers, with the noise
        multiplier z, that is z (1 + COST) / (2 VOTE n), about 1.64 z / n.

    Args:
        total: (P + 1,), the sum of what :func:`clip_with_vote` returned, with its noise.
        norm: C_t, which all of them were made with.
        plan: of the sums.
        count: n, how many they were.

    Returns:
        The sum of the clipped updates, (P,), and b_t = (1 + total[P] / (n w)) / 2. Noise can take b_t out
        of [0, 1].
    """
    updates = total[:-1] * (norm / plan.clipping_norm)
    return updates, 0.5 * (1.0 + float(total[-1]) / (count * plan.vote * plan.step))
