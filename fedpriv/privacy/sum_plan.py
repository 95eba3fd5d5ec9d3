"""The plan of a noisy sum of integers: sensitivity, discrete noise and accounting in one frozen object.

What one round releases is the sum of the clients' weighted, clipped, integer updates plus discrete
Gaussian noise, drawn either in shares by the clients or at once by the server. Those who draw the
noise and those who account for it read the same :class:`SumPlan`.

Sources: Kairouz, Liu, Steinke 2021, arXiv 2102.06387 (sections 4 and 5: conditional rounding, sums
of discrete Gaussians); Canonne, Kamath, Steinke 2020, arXiv 2004.00010 (the discrete Gaussian, from
concentrated to approximate differential privacy). Noise that is correlated over rounds:
:mod:`fedpriv.privacy.matrix_noise`.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.concentrated import ARITHMETIC, epsilon_of, loss_of_sum
from fedpriv.privacy.discrete_gaussian import (
    DISTANCE,
    DiscreteGaussian,
    variance_at_least,
)
from fedpriv.privacy.matrix_mechanism import INDEPENDENT, BandedToeplitz
from fedpriv.privacy.matrix_noise import NoiseMemory, NoiseRow
from fedpriv.privacy.noise import RandomSource
from fedpriv.privacy.sum_sensitivity import reach, sensitivity

__all__ = ["SumPlan", "plan_sum", "sensitivity", "update_length"]

_SHARE_FOR_DISTANCE = 2.0**-10
"""Part of delta kept for the distance between the sampler and the exact law."""
_FINEST = 1 << 10
"""Largest refinement: what rounding adds to a sensitivity is then below a thousandth of it."""
_FINE_ENOUGH = 1 << 46
"""Variance of a row, in squared units, that a refinement may lead to: beyond it variances are too coarse."""


@dataclass(frozen=True)
class SumPlan:
    """Sums of integer updates with discrete Gaussian noise, at the level of a client.

    Each client clips its weighted update to L2 norm ``clipping_norm``, rounds it at random to whole
    steps until the norm of the INTEGERS is at most ``norm_bound``
    (:func:`fedpriv.he.packing.quantise`), and the sum is released with noise: one share of parameter
    ``variance`` from each client (``where="clients"``), or one draw by the server
    (``where="server"``). Neighbours differ by one client added or removed, its integers then being
    zero: the L2 sensitivity of the sum is ``norm_bound``. (One client replaced by another: twice that.)

    With a ``vote`` the last coordinate is none of the update's but +vote or -vote
    (:mod:`fedpriv.privacy.adaptive_clipping`); vector and vote are one, and are bounded and paid for as one.

    With a ``separation`` of b a client takes part in at most one of any b rounds, so in no more than
    ceil(rounds / b), and pays for those alone. With a ``matrix`` of several bands, at most b, the server's
    noise is correlated over rounds, and each participation pays for all the rounds that it reaches: the
    losses add up, for no two participations of one client reach the same round.

    Guarantee:
        - Releases with ``counts`` noisy contributors that a client took part in are together
          (spent(counts).epsilon, delta)-differentially private for it, adaptively composed.
        - ``spent`` covers the distance of the sampler from the exact law, ``DISTANCE`` a sample.
        - The loss of a round never rises with the number of noisy contributors.
        - ``may_release`` is False for a round that would pass the target, or in which fewer than
          ``contributors`` clients added noise.

    Edge cases:
        - Rounds with fewer than ``contributors`` are accounted for what they really cost.
        - A round without a single share of noise costs infinity.
        - No amplification is claimed for clients drawn at random.
        - A client that tells its noise to an adversary takes its share away, as does one that adds
          none: set ``contributors`` to the honest ones only.
        - Noise by the server protects against those who see the result, not against the server.
        - Correlated noise that is drawn without the rows before it is refused, not drawn.

    Attributes:
        clipping_norm: C, bound on the L2 norm of one client's weighted update, units of coordinates.
        step: distance of neighbouring integers in units of coordinates.
        dimension: d, coordinates of an update as it is sent, the vote's among them.
        where: ``clients`` or ``server``.
        contributors: least number of noisy contributions in a released sum; 1 with ``server``.
        rounds: planned number of releases.
        delta: probability of the bound failing, for all rounds together.
        variance: sigma^2 of one draw (of each client, or of the server), in squared steps; of z with bands.
        target_epsilon: what all rounds may cost; None without a target.
        vote: w, in steps; 0 without votes.
        matrix: C, how the server's noise is correlated over rounds; one band is not at all.
        separation: b, of any b rounds in a row a client takes part in one at most.
        refinement: q, a power of two: the units of correlated noise are 1/q of a step.
        relation: between cohorts that epsilon tells apart, for records and people.
    """

    relation: ClassVar[str] = "one client added or removed"

    clipping_norm: float
    step: float
    dimension: int
    where: str
    contributors: int
    rounds: int
    delta: float
    variance: Fraction
    target_epsilon: float | None = None
    vote: int = 0
    matrix: BandedToeplitz = INDEPENDENT
    separation: int = 1
    refinement: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        _check(self.clipping_norm, self.step, self.delta)
        for name in ("dimension", "contributors", "rounds", "separation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.where not in ("clients", "server"):
            raise ValueError(f"where={self.where!r} must be clients or server")
        if self.where == "server" and self.contributors != 1:
            raise ValueError(f"contributors={self.contributors} must be 1 where the server draws the noise")
        if self.vote < 0:
            raise ValueError(f"vote={self.vote} must not be negative")
        if self.refinement not in [1 << bits for bits in range(_FINEST.bit_length())]:
            raise ValueError(f"refinement={self.refinement} must be a power of two up to {_FINEST}")
        if self.matrix.bands == 1 < self.refinement:
            raise ValueError(f"refinement={self.refinement} must be 1 where noise is not correlated")
        if self.matrix.bands > 1 and self.where != "server":
            raise ValueError(f"where={self.where!r}: only the server knows the noise of the rounds before")
        if self.matrix.bands > self.separation:
            raise ValueError(
                f"bands={self.matrix.bands} must be at most the {self.separation} rounds in which a client "
                "takes part once"
            )

    @property
    def norm_bound(self) -> float:
        """L2 sensitivity in steps: what the integers of one client may measure, see :func:`sensitivity`."""
        return sensitivity(math.hypot(self.clipping_norm / self.step, self.vote), self.dimension)

    @property
    def reach(self) -> float:
        """L2 sensitivity, in steps, of all rounds together to one participation; see the module's sources."""
        return reach(self.norm_bound, self.dimension, self.matrix, self.refinement)

    @property
    def participations(self) -> int:
        """Most rounds that one client takes part in."""
        return -(-self.rounds // self.separation)

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise of ``contributors`` draws over ``reach``."""
        return math.sqrt(self.contributors * self.variance) / self.reach

    def planned(self) -> Spent:
        """Bound what all planned rounds, with ``contributors`` shares of noise each, cost one client."""
        return self.spent([self.contributors] * self.participations)

    def lasts(self) -> bool:
        """Tell whether all planned rounds, with ``contributors`` shares of noise each, meet the target."""
        return self.target_epsilon is None or self.planned().epsilon <= self.target_epsilon

    def apart(self, last: int | None, number: int) -> bool:
        """Tell whether a client that last took part in round ``last`` may take part in round ``number``.

        Edge cases:
            - Never before: yes. Without a separation: in any round.
        """
        return last is None or self.separation == 1 or number - last >= self.separation

    @cached_property
    def noise(self) -> DiscreteGaussian:
        """The sampler of one draw, in units of 1 / ``refinement`` of a step."""
        return DiscreteGaussian(self.variance * self.refinement**2)

    def memory(self) -> NoiseMemory:
        """Return what the server keeps of the noise of earlier rounds, before the first of them."""
        growth = self.matrix.growth_with_gaps(self.rounds)
        return NoiseMemory(self.matrix, self.refinement, self.dimension, growth)

    @property
    def client_noise_bound(self) -> int:
        """Largest magnitude, in steps, of what a client adds to a coordinate."""
        return self.noise.bound if self.where == "clients" else 0

    @property
    def server_noise_bound(self) -> int:
        """Largest magnitude, in steps, of what the server adds to a coordinate."""
        if self.where != "server":
            return 0
        if self.matrix.bands == 1:
            return self.noise.bound
        # rounding adds half a unit to each draw, and once half a step
        units = (self.noise.bound + 0.5) * self.matrix.growth_with_gaps(self.rounds) * ARITHMETIC
        return math.floor(units / self.refinement + 0.5) + 1

    def draw(self, count: int, source: RandomSource) -> NDArray[np.int64]:
        """Return noise for ``count`` coordinates, in steps: one client's share, or the server's whole.

        Raises:
            TypeError: when the noise is correlated and ``source`` knows nothing of the rounds before, see
                :meth:`memory`.
        """
        drawn = self.noise.draw(count, source)
        if self.matrix.bands == 1:
            return drawn
        if not isinstance(source, NoiseRow):
            raise TypeError("noise: is correlated over rounds, and was to be drawn for one alone")
        return source.correlated(drawn)

    def rho(self, count: int) -> float:
        """Return the concentrated privacy loss, to one that takes part, of a release with ``count`` noises.

        With bands, the loss of all the rounds that its part reaches. With ``server``, ``count`` is of no
        account.
        """
        shares = 1 if self.where == "server" else count
        return loss_of_sum(self.reach, self.dimension, float(self.variance), shares)

    def distance(self, count: int) -> float:
        """Return the distance of the samples that one participation reaches from their exact law."""
        draws = self.matrix.bands if self.where == "server" else count
        return draws * self.dimension * DISTANCE

    def spent(self, counts: Sequence[int]) -> Spent:
        """Bound the privacy loss of releases to a client that took part in all of them.

        Args:
            counts: for each such round, how many clients' noise the sum holds.

        Returns:
            An infinite epsilon, of accountant ``none``, where the sampler's distance is not covered.
        """
        if not counts:
            return Spent(0.0, self.delta, "zcdp")
        rho = sum(rounds * self.rho(count) for count, rounds in Counter(counts).items()) * ARITHMETIC
        epsilon = epsilon_of(rho, self.delta * (1.0 - _SHARE_FOR_DISTANCE))
        # samplers at distance T from (epsilon, delta) give (epsilon, delta + (1 + e^epsilon) T)
        distance = sum(rounds * self.distance(count) for count, rounds in Counter(counts).items())
        if epsilon > 700.0 or (1.0 + math.exp(epsilon)) * distance > self.delta * _SHARE_FOR_DISTANCE:
            epsilon = math.inf
        return Spent(epsilon, self.delta, "zcdp" if epsilon < math.inf else "none")

    def may_release(self, counts: Sequence[int], count: int) -> bool:
        """Tell whether a sum with ``count`` noisy contributions may follow those that its clients were in."""
        if self.where == "clients" and count < self.contributors:
            return False
        if self.target_epsilon is None:
            return True
        return self.spent((*counts, count)).epsilon <= self.target_epsilon


def plan_sum(
    *,
    clipping_norm: float,
    step: float,
    dimension: int,
    contributors: int,
    rounds: int,
    delta: float,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    where: str = "clients",
    vote: int = 0,
    matrix: BandedToeplitz = INDEPENDENT,
    separation: int = 1,
) -> SumPlan:
    """Plan the noise of all sums of a run before its first round.

    Args:
        clipping_norm: bound on the L2 norm of one client's weighted update.
        step: distance of neighbouring integers.
        dimension: coordinates of an update, the vote's among them.
        contributors: least number of clients whose noise a released sum holds; with ``server`` it is
            of no account.
        rounds: planned number of releases.
        delta: probability of the bound failing.
        epsilon: what all rounds with exactly ``contributors`` may cost; None when
            ``noise_multiplier`` is given.
        noise_multiplier: standard deviation of the whole noise over ``reach``; None when ``epsilon`` is
            given.
        where: who draws: ``clients`` or ``server``.
        vote: size of the vote in an update's last coordinate, in steps; 0 without votes.
        matrix: how the server's noise is correlated over rounds.
        separation: of so many rounds in a row a client takes part in one at most.

    Raises:
        ValueError: when not exactly one of epsilon and noise_multiplier is given, a value is out of
            range, or the target is out of reach.
    """
    if (epsilon is None) == (noise_multiplier is None):
        raise ValueError("need exactly one of epsilon and noise_multiplier")
    for name, value in (("epsilon", epsilon), ("noise_multiplier", noise_multiplier)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be positive and finite")
    _check(clipping_norm, step, delta)
    asked = f"noise_multiplier={noise_multiplier}" if epsilon is None else f"epsilon={epsilon}"
    shares = 1 if where == "server" else contributors
    norm_bound = sensitivity(math.hypot(clipping_norm / step, vote), max(1, dimension))

    # what correlation makes of a draw must still fit where a draw does
    room = matrix.growth_with_gaps(max(1, rounds)) ** 2

    def plan(multiplier: float) -> SumPlan:
        refinement = 1 if matrix.bands == 1 else _FINEST
        while True:
            deviation = multiplier * reach(norm_bound, max(1, dimension), matrix, refinement)
            wanted = deviation * deviation / max(1, shares)
            if refinement == 1 or wanted * room * refinement**2 <= _FINE_ENOUGH:
                break
            refinement //= 2
        try:
            variance_at_least(wanted * room)
            variance = variance_at_least(wanted * refinement**2) / refinement**2
        except ValueError as error:
            raise ValueError(
                f"{asked}: noise of standard deviation {math.sqrt(wanted):.4g} steps per draw is out of "
                f"reach; use a larger step (fewer bits), or less noise"
            ) from error
        return SumPlan(
            clipping_norm,
            step,
            dimension,
            where,
            shares,
            rounds,
            delta,
            variance,
            epsilon,
            vote,
            matrix,
            separation,
            refinement,
        )

    if noise_multiplier is not None:
        return plan(noise_multiplier)
    return plan(_smallest(lambda multiplier: plan(multiplier).lasts()))


def update_length(parameters: int, plan: SumPlan | None) -> int:
    """Return the coordinates of an update as it is sent: the parameters, and a vote where there is one."""
    return parameters if plan is None else plan.dimension


def _smallest(fits: Callable[[float], bool]) -> float:
    """Return a noise multiplier that fits, at most 0.01 % above one that does not.

    Raises:
        ValueError: when none up to the largest that can be drawn fits.
    """
    high = 1.0
    while not fits(high):
        high *= 2.0
    low = high / 2.0
    while fits(low):
        high, low = low, low / 2.0
    while high > 1.0001 * low:
        middle = math.sqrt(low * high)
        if fits(middle):
            high = middle
        else:
            low = middle
    return high


def _check(clipping_norm: float, step: float, delta: float) -> None:
    """Refuse numbers out of range."""
    for name, value in (("clipping_norm", clipping_norm), ("step", step)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be positive and finite")
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta} must lie between 0 and 1")
