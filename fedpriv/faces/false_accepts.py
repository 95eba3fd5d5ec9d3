"""How often a model takes two people for one, by threshold: measured on people whom it was not trained on.

FAR(t) = #{impostor pairs with a cosine above t} / #{impostor pairs}. Pairs share people and pictures, so that
they say less than as many independent ones would: a rate that a handful of people gave is a rough one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.pairs import VerificationPairs
from fedpriv.seeding import generator

RATES = (0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""That thresholds are measured for."""
FAR = 1e-3
"""That a key holder decides by, unless told otherwise."""

_MOST_PICTURES = 3000
_STEP = 2.0**-20


@dataclass(frozen=True)
class FalseAccepts:
    """What was measured.

    Attributes:
        people: how many.
        pairs: of pictures of two of them.
        thresholds: (FAR, cosine), FAR falling: of all pairs at most that share is above the cosine. A rate
            that is not one pair of them or more is left out.
    """

    people: int
    pairs: int
    thresholds: tuple[tuple[float, float], ...]

    @classmethod
    def measured(cls, impostors: NDArray[np.float64], people: int) -> "FalseAccepts":
        """Measure from the scores of impostor pairs, (n,): cosines, which rounding may leave beyond 1."""
        ordered, found = np.sort(np.clip(impostors, -1.0, 1.0))[::-1], []
        for rate in RATES:
            # 1e-3 of 1,000 is one
            above = int(np.floor(rate * len(ordered) * (1 + 1e-9)))
            if 1 <= above < len(ordered):
                found.append((rate, float(np.ceil(ordered[above] / _STEP) * _STEP)))
        return cls(people, len(ordered), tuple(found))

    def at(self, rate: float) -> tuple[float, float] | None:
        """Return the largest FAR that is at most ``rate``, and its threshold.

        Where so few pairs do not resolve it, the smallest FAR that they do; None where they resolve none.
        """
        fitting = [each for each in self.thresholds if each[0] <= rate]
        return fitting[0] if fitting else self.thresholds[-1] if self.thresholds else None

    def shortfall(self, rate: float) -> str | None:
        """Say that :meth:`at` gives a larger FAR than ``rate``; None where it does not."""
        chosen = self.at(rate)
        if chosen is None or chosen[0] <= rate:
            return None
        return (
            f"--far {rate:g}: was not measured (on {self.pairs:,} impostor pairs of {self.people} people); "
            f"decides at FAR {chosen[0]:g}, which is above it"
        )

    def to_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "people": self.people,
            "pairs": self.pairs,
            "thresholds": [list(each) for each in self.thresholds],
        }

    @classmethod
    def from_json(cls, data: Any) -> "FalseAccepts":
        """Return what :meth:`to_json` made.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        found = tuple((float(rate), float(cosine)) for rate, cosine in data["thresholds"])
        rates = [rate for rate, _ in found]
        if not set(rates) <= set(RATES) or rates != sorted(set(rates), reverse=True):
            raise ValueError("rates")
        # up to a step above 1 was written where two people's pictures were the same to the model
        if not all(-1.0 <= cosine <= 1.0 + _STEP for _, cosine in found):
            raise ValueError("thresholds")
        clipped = tuple((rate, min(1.0, cosine)) for rate, cosine in found)
        return cls(int(data["people"]), int(data["pairs"]), clipped)


def impostor_scores(
    embeddings: NDArray[np.float64],
    subjects: NDArray[np.int64],
    pairs: VerificationPairs | None = None,
) -> NDArray[np.float64]:
    """Return the cosine of every two pictures of different people.

    Args:
        embeddings: (n, d), every row of length 1.
        subjects: (n,) who is on each.
        pairs: where the data publish some, these alone are taken.
    """
    if pairs is not None:
        left, right = pairs.left[~pairs.same], pairs.right[~pairs.same]
        return np.asarray(np.einsum("pd,pd->p", embeddings[left], embeddings[right]))
    different = np.triu(subjects[:, None] != subjects[None, :])
    return np.asarray((embeddings @ embeddings.T)[different])


def drawn(count: int, pairs: VerificationPairs | None) -> NDArray[np.int64]:
    """Return which of ``count`` pictures to measure with: all, or as many as their pairs fit in memory."""
    if pairs is not None or count <= _MOST_PICTURES:
        return np.arange(count)
    return np.sort(generator(0, "faces", "impostors").permutation(count)[:_MOST_PICTURES])


def in_words(measured: FalseAccepts, rate: float, chosen: Sequence[float]) -> str:
    """Say in one line by which threshold is decided, and what it was measured on."""
    far, threshold = chosen
    on = f"measured on {measured.pairs:,} impostor pairs of {measured.people} people"
    if far > rate:
        on += f", which resolve no {rate:g}"
    return f"threshold {threshold:.4f}: a stranger is accepted with probability {far:g} ({on})"
