"""Canaries: contributions of known direction, in or out by a coin, that an audit looks for afterwards.

Each asks for far more than the clipping norm, so that an honest mechanism shortens it to exactly that
and one that does not clip gives it away. Directions are orthogonal: many canaries share one run.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from fedpriv.seeding import generator
from fedpriv.types import FloatVector

LOUDNESS = 10.0
"""Norm of an unclipped canary over the clipping norm."""


def coins(count: int, seed: int) -> NDArray[np.bool_]:
    """Return ``count`` independent fair coins: which canaries are in. The auditor scores without them."""
    return generator(seed, "audit", "coins").random(count) < 0.5


class SparseUpdate(NamedTuple):
    """An update that is zero but in a few coordinates.

    Attributes:
        places: (s,) those coordinates, each once.
        values: (s,) float32, what stands there.
    """

    places: NDArray[np.int64]
    values: FloatVector


class CanaryClients:
    """Updates of made-up clients, each of one norm and along its own direction.

    Canary i has +-1 / sqrt(s), signs at random, on its own s = floor(P / m) of the P coordinates, which
    are dealt out at random; so directions are orthonormal and every layer of the model is listened to
    (random directions of Andrew et al. 2023, arXiv 2302.03098, made exactly orthogonal).

    Attributes:
        count: m.
        dimension: P.
    """

    def __init__(self, count: int, dimension: int, seed: int) -> None:
        """Deal the coordinates out.

        Raises:
            ValueError: unless 1 <= count <= dimension.
        """
        if not 1 <= count <= dimension:
            raise ValueError(f"{count} canaries: need 1 to {dimension}, one coordinate each")
        self.count, self.dimension = count, dimension
        random, share = generator(seed, "audit", "directions"), dimension // count
        self._places = random.permutation(dimension)[: count * share].reshape(count, share)
        self._signs = np.where(random.random((count, share)) < 0.5, -1.0, 1.0) / math.sqrt(share)

    def update(self, canary: int, norm: float) -> FloatVector:
        """Return canary ``canary``'s update of L2 norm ``norm``, (P,) float32."""
        made = np.zeros(self.dimension, np.float32)
        made[self._places[canary]] = norm * self._signs[canary]
        return made

    def sparse(self, canary: int, norm: float) -> SparseUpdate:
        """Return the same without its zeros: values (s,) at places (s,)."""
        return SparseUpdate(self._places[canary], (norm * self._signs[canary]).astype(np.float32))

    def along(self, released: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the inner product of a released vector, (P,), with each direction, (m,)."""
        return np.asarray(np.einsum("ms,ms->m", released[self._places], self._signs), np.float64)


@dataclass(frozen=True)
class Canaries:
    """The canaries of a federated run: who carries them, where they point, and which are in.

    Attributes:
        carrier: number of the client that plants all of them.
        directions: of the federated parameters.
        included: (m,) the coins.
    """

    carrier: int
    directions: CanaryClients
    included: NDArray[np.bool_]

    @staticmethod
    def plant(count: int, carrier: int, parameters: int, seed: int) -> "Canaries":
        """Return ``count`` canaries of a model of so many parameters, as the run's seed has them.

        Raises:
            ValueError: unless 1 <= count <= parameters.
        """
        return Canaries(carrier, CanaryClients(count, parameters, seed), coins(count, seed))

    def updates(self, norm: float) -> list[SparseUpdate]:
        """Return the updates of those that are in, each :data:`LOUDNESS` x ``norm`` long."""
        return [
            self.directions.sparse(int(canary), LOUDNESS * norm) for canary in np.flatnonzero(self.included)
        ]


def log_likelihood_ratio(
    heard: NDArray[np.float64], noise: float, rate: float = 1.0, steps: int = 1
) -> NDArray[np.float64]:
    """Return log p(heard | in) - log p(heard | out), the most powerful score (Neyman and Pearson 1933).

    Out, what is heard is N(0, L noise^2); in, N(k, L noise^2) with k binomial of L trials of probability
    ``rate``: the steps whose sample held the canary. With x the value heard, the ratio is
    sum_k P(k) exp((2 k x - k^2) / (2 L noise^2)).

    Args:
        heard: any shape, in units of the clipping norm.
        noise: noise multiplier of one step, as claimed, > 0.
        rate: probability of being sampled in a step.
        steps: L, steps that one value sums up.
    """
    variance = steps * noise * noise
    if rate == 1.0:
        return steps * (heard - steps / 2.0) / variance
    times = np.arange(steps + 1, dtype=np.float64)
    chances = (
        gammaln(steps + 1.0)
        - gammaln(times + 1.0)
        - gammaln(steps - times + 1.0)
        + times * math.log(rate)
        + (steps - times) * math.log1p(-rate)
    )
    exponents = chances + times * (heard[..., np.newaxis] - times / 2.0) / variance
    return np.asarray(np.logaddexp.reduce(exponents, axis=-1), np.float64)
