"""What an observer hears of canaries in released vectors, round after round, without knowing their coins."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Heard:
    """What was heard so far.

    A round counts as much as any other, whatever optimiser, step size and noise it had: what is heard of the
    canaries is divided by how far it spreads among them in that round.

    Attributes:
        sums: (m,) float64, over rounds, of the inner products of what was released with the canaries'
            directions, each round's by its :func:`spread`.
        rounds: how many they are.
        epsilon: that the canaries' carrier says it has spent; 0 where it says nothing.
    """

    sums: NDArray[np.float64]
    rounds: int = 0
    epsilon: float = 0.0

    def hear(self, along: NDArray[np.float64]) -> "Heard":
        """Add a round.

        Args:
            along: (m,), see :meth:`fedpriv.privacy.canaries.CanaryClients.along`; finite.
        """
        return replace(self, sums=self.sums + along / spread(along), rounds=self.rounds + 1)

    def told(self, epsilon: float) -> "Heard":
        """Take the carrier's word for what it has spent, the most of it; NaN is no word."""
        return replace(self, epsilon=epsilon) if epsilon > self.epsilon else self


def spread(values: NDArray[np.float64]) -> float:
    """Return the median distance from the median, which a few loud canaries do not move.

    Edge cases:
        - More than half of the values equal: their standard deviation; all of them: 1.

    Args:
        values: (m,), m > 0.
    """
    distance = float(np.median(np.abs(values - np.median(values))))
    return distance or float(values.std()) or 1.0
