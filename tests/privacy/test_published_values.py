"""Epsilons that others have published, each with its source."""

import math

import numpy as np
import pytest
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy.integrate import quad

from fedpriv.privacy import accounting
from fedpriv.privacy.accounting import extend, from_json, spent, to_json

DELTA = 1e-5


def first_conversion(noise, rate, steps):
    """The Renyi loss that our bounds are made of, converted as until 2020: min loss + log(1/delta) / (a - 1).

    Mironov 2017, arXiv 1702.07476, Proposition 3; Abadi et al. 2016 convert their moments in the same way.
    """
    orders = np.asarray(RDPAccountant.DEFAULT_ALPHAS)
    loss = steps * accounting.renyi(noise, rate)
    return float(np.nanmin(loss + math.log(1.0 / DELTA) / (orders - 1.0)))


PUBLISHED = {
    "Abadi et al. 2016, arXiv 1607.00133, Figure 2 at 100 epochs": (4.0, 0.01, 10_000, 1.26),
    "Abadi et al. 2016, arXiv 1607.00133, Figure 2 at 400 epochs": (4.0, 0.01, 40_000, 2.55),
    "TensorFlow Privacy, classification_privacy.ipynb, 2019 to 2022: n=60000, batch 250, 15 epochs": (
        1.3,
        250 / 60_000,
        3_600,
        1.18,
    ),
    # tutorials/README.md of TensorFlow Privacy, tables and expected output: 60000 // 256 = 234 steps an epoch
    "TensorFlow Privacy tutorials, after 1 epoch": (1.12, 256 / 60_000, 234, 1.00),
    "TensorFlow Privacy tutorials, after 2 epochs": (1.12, 256 / 60_000, 2 * 234, 1.04),
    "TensorFlow Privacy tutorials, after 60 epochs": (1.12, 256 / 60_000, 60 * 234, 2.92),
    "TensorFlow Privacy tutorials, noise 0.6, 30 epochs": (0.6, 256 / 60_000, 30 * 234, 9.74),
    "TensorFlow Privacy tutorials, noise 1.2, 10 epochs": (1.2, 256 / 60_000, 10 * 234, 1.20),
}


@pytest.mark.parametrize("source", PUBLISHED)
def test_a_published_epsilon_is_reproduced_with_its_conversion_and_ours_is_below_it(source):
    noise, rate, steps, published = PUBLISHED[source]
    assert first_conversion(noise, rate, steps) == pytest.approx(published, rel=0.01)
    rdp, found = accounting._rdp(((noise, rate, steps),), DELTA), spent(((noise, rate, steps),), DELTA)
    assert 0.25 * published < found.epsilon <= rdp < published


def test_the_moments_of_abadi_et_al_integrated_from_their_definition_give_the_same():
    noise, rate, steps = 4.0, 0.01, 10_000

    def moment(order):
        """Logarithm of E[(p/r)^order] over z from r = N(0, noise^2), with p = (1 - q) r + q N(1, noise^2)."""

        def integrand(z):
            ratio = 1.0 - rate + rate * math.exp((2.0 * z - 1.0) / (2.0 * noise**2))
            return ratio**order * math.exp(-(z**2) / (2.0 * noise**2)) / (noise * math.sqrt(2.0 * math.pi))

        return math.log(quad(integrand, -60.0, 60.0, limit=500, epsabs=1e-13, epsrel=1e-13)[0])

    def bound(order):
        return (steps * moment(order) + math.log(1.0 / DELTA)) / (order - 1)

    integrated = min(bound(order) for order in range(2, 34))
    assert integrated == pytest.approx(1.26, rel=0.01)
    assert integrated == pytest.approx(first_conversion(noise, rate, steps), rel=1e-6)


@pytest.mark.parametrize(("steps", "published"), [(10_000, 9.34), (40_000, 24.22)])
def test_the_strong_composition_that_abadi_et_al_compare_with_is_reproduced(steps, published):
    """Figure 2 and section 5.1: q = 0.01, sigma = 4, delta = 1e-5 after 100 and 400 epochs.

    A step is (e, d)-private by sigma = sqrt(2 log(1.25 / d)) / e (Dwork and Roth 2014, Theorem A.1), sampled
    (s, q d)-private with s = q e, and k of them are (sqrt(2 k log(1 / d')) s + k s (exp(s) - 1), k q d + d')-
    private (Dwork, Rothblum, Vadhan 2010, Theorem III.3). The paper does not say how it divides delta between
    k q d and d': the best way gives its figures to 0.2 %, and so do halves.
    """
    noise, rate = 4.0, 0.01

    def composed(share, sampled):
        epsilon = math.sqrt(2.0 * math.log(1.25 * steps * rate / (share * DELTA))) / noise
        own = sampled(epsilon)
        rest = math.log(1.0 / ((1.0 - share) * DELTA))
        return math.sqrt(2.0 * steps * rest) * own + steps * own * math.expm1(own)

    def best(sampled):
        return min(composed(share, sampled) for share in np.linspace(0.01, 0.99, 99))

    found = best(lambda epsilon: rate * epsilon)
    assert found == pytest.approx(published, rel=0.0025)
    assert composed(0.5, lambda epsilon: rate * epsilon) == pytest.approx(published, rel=0.0025)
    # q e is the first term of a series: what is proven of a sampled step gives more
    assert best(lambda epsilon: math.log1p(rate * math.expm1(epsilon))) > 2.5 * published
    assert spent(((noise, rate, steps),), DELTA).epsilon < 0.15 * published


@pytest.mark.parametrize(("rounds", "published"), [(1, 1.53), (10, 3.66), (50, 8.37), (100, 12.47)])
def test_epsilon_carried_from_round_to_round_is_that_of_one_accountant_straight_through(rounds, published):
    """31 steps a round at q=0.032, sigma 1: an engine made anew each round would always say 1.53."""
    kept = "[]"
    for _ in range(rounds):
        kept = to_json(extend(from_json(kept), (1.0, 0.032, 31)))
    straight = PRVAccountant()
    for _ in range(31 * rounds):
        straight.step(noise_multiplier=1.0, sample_rate=0.032)
    found = spent(from_json(kept), DELTA)
    assert found.epsilon == straight.get_epsilon(DELTA)
    assert found.epsilon == pytest.approx(published, rel=0.01)
    assert found.accountant == "prv"


def test_the_two_bounds_of_one_run_are_the_published_ones():
    history = ((1.1, 0.02, 300),)
    assert accounting._rdp(history, DELTA) == pytest.approx(2.073, rel=1e-3)
    assert accounting._prv(history, DELTA) == pytest.approx(1.810, rel=1e-3)
