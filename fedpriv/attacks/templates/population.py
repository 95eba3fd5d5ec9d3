"""Faces as the attacker knows them in general: what embeddings of strangers look like."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.seeding import generator

Vectors = NDArray[np.float64]

_DECAY = 0.5
_PAIRS_OF = 3000


@dataclass(frozen=True)
class Population:
    """Unit vectors x / |x| of normal x with this covariance.

    Attributes:
        roots: (d,) square roots of the eigenvalues; axes are those of the coordinates.
    """

    roots: Vectors

    @classmethod
    def simulated(cls, dimension: int) -> "Population":
        """Eigenvalues k^-0.5, k = 1 ... d.

        Embeddings of faces do not fill their space evenly, which is what lets an attacker start from a good
        guess; at d = 128 this one has an effective dimension (sum squared over sum of squares) of 83.
        """
        values = np.arange(1, dimension + 1) ** -_DECAY
        return cls(np.sqrt(values / values.sum()))

    def draw(self, count: int, random: np.random.Generator) -> Vectors:
        """Return (count, d) faces of strangers."""
        return unit_rows(random.standard_normal((count, len(self.roots))) * self.roots)

    def threshold(self, rate: float, seed: int) -> float:
        """Return the cosine that two strangers exceed with probability ``rate``, from 4.5 million pairs.

        Raises:
            ValueError: for a rate that so many pairs do not resolve.
        """
        if not 1e-5 <= rate < 0.5:
            raise ValueError(f"rate {rate}: 1e-5 to below 0.5 is resolved")
        faces = self.draw(_PAIRS_OF, generator(seed, "templates", "pairs"))
        return float(np.quantile((faces @ faces.T)[np.triu_indices(_PAIRS_OF, 1)], 1.0 - rate))


def unit_rows(vectors: Vectors) -> Vectors:
    """Return each row, or the one vector, divided by its length."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
