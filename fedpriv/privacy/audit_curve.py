"""Auditing a whole privacy curve in one run: sharper than one pair of epsilon and delta.

A mechanism promises more than (epsilon, delta): its trade-off function bounds the probability of EVERY
event under a neighbour. Asked whether m right or wrong guesses fit the curve that a mechanism's own
parameters imply, an audit can refute far larger epsilons than :mod:`fedpriv.privacy.audit`, which
must allow for any mechanism (Mahloujifar, Melis, Chaudhuri 2024, arXiv 2410.22235).

Why it is so. Let p_i be the probability of exactly i right guesses of r, and flip one random coin: a
right guess among i becomes a wrong one with i - 1 right. With g(x) the least probability that a
neighbour can give an event of probability x, and for every j (g is convex, coins are fair),

    sum_{i >= j} (r - i + 1)/m p_{i-1}  >=  g(sum_{i >= j} i/m p_i).

So a tail P[V >= v] needs mass below it, and that needs more mass below; where it all passes 1 the tail
was impossible.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from fedpriv.privacy.audit import Guesses

Least: TypeAlias = Callable[[float], float]
"""g: probability of an event -> the least that a neighbour can give it; convex, rising, g(x) <= x."""

_HALF, _WIDEST = 1 << 18, 48.0
"""Of the grid of privacy losses: its points on either side of 0, and its end."""
_LEAST = 1e-12
"""Mass between two points of the grid that is rounded up whole: floating-point numbers cannot divide it."""
_NOTHING = 1e-100
"""Mass that is 0: no sum shows it, and processors are slow at the smallest numbers that there are."""
_EPSILONS = np.concatenate([np.linspace(0.0, 4.0, 81), np.linspace(4.1, 20.0, 160), np.arange(20.5, 40.0)])


def refutes(least: Least, guesses: Guesses, level: float) -> bool:
    """Tell whether as many right guesses have a probability below ``level`` under the curve.

    Args:
        least: g of the hypothesis, for neighbours by one canary added or removed, either way.
        guesses: of a way that was fixed before the run.
        level: in (0, 1).
    """
    canaries, made = guesses.canaries, guesses.made
    # the least that a tail of this probability can do: all of it at exactly v right guesses
    right = level * guesses.correct / canaries
    wrong = level * (made - guesses.correct) / canaries
    for fewer in range(guesses.correct - 1, -1, -1):
        needed = least(right)
        if needed > wrong:
            right += fewer / (made - fewer) * (needed - wrong)
            wrong = needed
            if right + wrong > made / canaries:
                return True
    return False


def gaussian(mu: float) -> Least:
    """Return g of mu-Gaussian privacy, Phi(Phi^-1(x) - mu) (Dong, Roth, Su 2019, arXiv 1905.02383)."""

    def least(probability: float) -> float:
        return float(ndtr(ndtri(probability) - mu))

    return least


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the epsilon of mu-Gaussian privacy at ``delta``, to 10^-6.

    The solution of Phi(-e/mu + mu/2) - exp(e) Phi(-e/mu - mu/2) = delta (Balle and Wang 2018, arXiv
    1805.06530, Theorem 8).

    Raises:
        ValueError: when delta does not lie between 0 and 1, or mu is negative.
    """
    if not 0.0 < delta < 1.0 or not mu >= 0.0:
        raise ValueError(f"mu={mu}, delta={delta}: need mu >= 0 and delta between 0 and 1")
    if mu in (0.0, math.inf):
        return mu

    def beyond(epsilon: float) -> bool:
        left = float(ndtr(-epsilon / mu + mu / 2.0))
        return left - math.exp(epsilon + float(log_ndtr(-epsilon / mu - mu / 2.0))) > delta

    if not beyond(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while beyond(high):
        low, high = high, 2.0 * high
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        low, high = (middle, high) if beyond(middle) else (low, middle)
    return low


def from_pairs(epsilons: NDArray[np.float64], deltas: NDArray[np.float64]) -> Least:
    """Return g of a mechanism that is (epsilon, delta)-private for every pair, either way round.

    g(x) = max over pairs of exp(-epsilon) (x - delta) and 1 - delta - exp(epsilon) (1 - x), and 0.
    """
    factors = np.exp(epsilons)

    def least(probability: float) -> float:
        low = ((probability - deltas) / factors).max()
        high = (1.0 - deltas - factors * (1.0 - probability)).max()
        return max(0.0, float(low), float(high))

    return least


@lru_cache(maxsize=256)
def sampled_gaussian(noise: float, rate: float, steps: int) -> Least:
    """Return g of ``steps`` Poisson-subsampled Gaussians, from :func:`deltas_of_sampled_gaussian`.

    Args:
        noise: noise multiplier, > 0.
        rate: probability of an example to be in a step's sample, in (0, 1].
        steps: of the whole run.
    """
    if rate == 1.0:
        return gaussian(math.sqrt(steps) / noise)
    return from_pairs(_EPSILONS, deltas_of_sampled_gaussian(_EPSILONS, noise, rate, steps))


def deltas_of_sampled_gaussian(
    epsilons: NDArray[np.float64], noise: float, rate: float, steps: int
) -> NDArray[np.float64]:
    """Return an upper bound on delta at each epsilon of ``steps`` Poisson-subsampled Gaussians.

    One step's privacy loss, log(1 - q + q exp((2x - 1) / (2 noise^2))) with x from the mixture
    (1 - q) N(0, noise^2) + q N(1, noise^2), is put on a grid and convolved ``steps`` times by Fourier
    transform (Koskela, Jaelkoe, Honkela 2020, arXiv 1906.03049). What lies between two points of the grid is
    divided between them so that it keeps its probability under both laws: the step's delta is exact at the
    points and too large between them, by the square of their distance (Doroshenko et al. 2022, arXiv
    2207.04380). The removal of an example costs more than its addition (Zhu, Dong, Wang 2022, arXiv
    2106.08567), so this holds for both.

    Guarantee:
        - Never below the true delta, but for 10^-9.

    Edge cases:
        - Losses beyond the grid's end, 48, count as infinite.

    Args:
        epsilons: in [0, 40].
        noise: noise multiplier, > 0.
        rate: q, in (0, 1).
        steps: > 0.
    """
    half, step = _HALF, _WIDEST / _HALF
    losses = np.arange(-half, half) * step
    least = math.log1p(-rate)
    # no loss is smaller; half of all points are spared by it
    first = int(np.searchsorted(losses, least, "right"))
    reached = losses[first:]
    # log((exp(l) - (1 - q)) / q)
    points = noise * noise * (reached + np.log(-np.expm1(least - reached)) - math.log(rate)) + 0.5
    without = _between(points, 0.0, noise)
    mixed = (1.0 - rate) * without + rate * _between(points, 1.0, noise)
    up = (mixed - without * np.exp(reached - step)) / -math.expm1(-step)
    up = np.where(mixed < _LEAST, mixed, np.clip(up, 0.0, mixed))
    masses = np.zeros(len(losses))
    masses[first:] = up
    masses[first - 1 : -1] += mixed - up
    masses[masses < _NOTHING] = 0.0
    last = float(points[-1])
    over = (1.0 - rate) * float(ndtr(-last / noise)) + rate * float(ndtr((1.0 - last) / noise))
    beyond = -math.expm1(steps * math.log1p(-over)) if over < 1.0 else 1.0
    # what leaves the grid at one end comes in at the other: at most this (Chernoff)
    wrapped, moments = 1.0, np.exp(0.25 * losses[first - 1 :])
    for order in (0.25, 0.5, 1.0):
        moment = float(np.sum(masses[first - 1 :] * moments))
        wrapped = min(wrapped, math.exp(min(0.0, steps * math.log(moment) - order * half * step)))
        moments *= moments
    # a transform begins with the losses from 0 on, and only those lie above an epsilon
    composed = np.maximum(np.fft.irfft(_power(np.fft.rfft(np.roll(masses, -half)), steps), len(losses)), 0.0)
    composed = composed[:half]
    # sum over losses above epsilon of mass (1 - exp(epsilon - loss))
    above = np.append(np.cumsum(composed[::-1])[::-1], 0.0)
    weighted = np.append(np.cumsum((composed * np.exp(-losses[half:]))[::-1])[::-1], 0.0)
    next_up = np.searchsorted(losses[half:], epsilons)
    deltas = above[next_up] - np.exp(epsilons) * weighted[next_up] + beyond + wrapped
    return np.asarray(np.clip(deltas + 1e-10, 0.0, 1.0), np.float64)


def _power(spectrum: NDArray[np.complex128], steps: int) -> NDArray[np.complex128]:
    """Return ``spectrum ** steps`` with 0 for what is below 10^-40, which is most of it.

    That is below the rounding of anything it is added to, and processors are slow at the smallest numbers.
    """
    raised = np.zeros_like(spectrum)
    large = np.flatnonzero(spectrum.real**2 + spectrum.imag**2 > 10.0 ** (-80.0 / steps))
    raised[large] = spectrum[large] ** steps
    return raised


def _between(points: NDArray[np.float64], mean: float, deviation: float) -> NDArray[np.float64]:
    """Return a Gaussian's mass between each of rising points and the one before; the first has all below."""
    scaled = (points - mean) / deviation
    left = int(np.searchsorted(scaled, 0.0, "right"))
    masses = np.empty_like(scaled)
    masses[:left] = np.diff(ndtr(scaled[:left]), prepend=0.0)
    # right of the mean from above, where what is left is small and exact
    before = ndtr(-scaled[left - 1]) if left else 1.0
    masses[left:] = -np.diff(ndtr(-scaled[left:]), prepend=before)
    return masses


def least_private_refuted(
    ways: Sequence[Guesses], family: Callable[[float], Least], claimed: float, level: float
) -> float:
    """Return the largest scale s at which the guesses refute the curve ``family(s)``.

    A family's privacy falls with s: mu, or one over the noise multiplier. Each way is tested at
    level / len(ways).

    Guarantee:
        - A mechanism with the curve of scale s gets a result above s with probability at most ``level``.

    Edge cases:
        - 0 where not even a 64th of the claimed scale is refuted; at most 64 times the claimed scale.

    Args:
        ways: all ways of guessing, fixed before the run.
        family: scale -> curve.
        claimed: scale at which the search begins.
        level: probability of a result too large.

    Returns:
        A scale that is refuted, within 1 % of one that is not.
    """

    def refuted(scale: float) -> bool:
        least = family(scale)
        return any(refutes(least, way, level / len(ways)) for way in ways)

    low = high = claimed
    if refuted(claimed):
        while refuted(2.0 * low):
            low *= 2.0
            if low >= 64.0 * claimed:
                return low
        high = 2.0 * low
    else:
        while not refuted(low / 2.0):
            low /= 2.0
            if low <= claimed / 64.0:
                return 0.0
        low, high = low / 2.0, low
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
