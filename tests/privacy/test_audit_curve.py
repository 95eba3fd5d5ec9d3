"""Auditing a privacy curve: against linear programs, exact laws, quadrature and another accountant."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.stats import binom, norm

from fedpriv.privacy import accounting
from fedpriv.privacy.audit import Guesses, epsilon_lower_bound
from fedpriv.privacy.audit_curve import (
    deltas_of_sampled_gaussian,
    from_pairs,
    gaussian,
    gaussian_epsilon,
    least_private_refuted,
    refutes,
    sampled_gaussian,
)


def largest_tail(pairs, canaries, made, correct):
    """The largest P[V >= v] over all laws of V that obey the theorem's inequalities, by linear programming.

    Unknowns p_0 .. p_r. For every j and pair: wrong_j >= exp(-e) (right_j - d) and
    wrong_j >= 1 - d - exp(e) (1 - right_j).
    """
    rows, limits = [], []
    for j in range(1, made + 1):
        right, wrong = np.zeros(made + 1), np.zeros(made + 1)
        for i in range(j, made + 1):
            right[i] += i / canaries
            wrong[i - 1] += (made - i + 1) / canaries
        for epsilon, delta in pairs:
            rows.append(math.exp(-epsilon) * right - wrong)
            limits.append(math.exp(-epsilon) * delta)
            rows.append(math.exp(epsilon) * right - wrong)
            limits.append(math.exp(epsilon) - 1 + delta)
    tail = np.zeros(made + 1)
    tail[correct:] = -1.0
    found = linprog(tail, np.array(rows), limits, np.ones((1, made + 1)), [1.0], bounds=(0, 1))
    return -found.fun


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 4), st.data())
def test_what_is_refuted_is_what_no_law_allows(made, idle, data):
    correct = data.draw(st.integers(1, made))
    pairs = data.draw(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 0.05)), min_size=1, max_size=3))
    largest = largest_tail(pairs, made + idle, made, correct)
    least = from_pairs(np.array([e for e, _ in pairs]), np.array([d for _, d in pairs]))
    guesses = Guesses(made + idle, made, correct)
    assert not refutes(least, guesses, largest * (1 - 1e-6))
    if largest < 0.999:
        assert refutes(least, guesses, min(1.0, largest * (1 + 1e-6) + 1e-9))


@given(st.integers(1, 60), st.floats(0.0, 4.0), st.data())
def test_randomised_response_is_never_refuted_at_its_own_tail(count, epsilon, data):
    correct = data.draw(st.integers(1, count))
    tail = binom.sf(correct - 1, count, 1 / (1 + math.exp(-epsilon)))
    least = from_pairs(np.array([epsilon]), np.zeros(1))
    assert not refutes(least, Guesses(count, count, correct), tail * (1 - 1e-9) - 1e-12)


@given(st.integers(1, 80), st.floats(0.01, 4.0), st.data())
def test_the_gaussian_mechanism_is_never_refuted_at_its_own_tail(count, mu, data):
    correct = data.draw(st.integers(1, count))
    tail = binom.sf(correct - 1, count, norm.cdf(mu / 2))
    assert not refutes(gaussian(mu), Guesses(count, count, correct), tail * (1 - 1e-9) - 1e-12)


def test_a_gaussian_is_overestimated_as_seldom_as_promised_and_better_known_than_by_one_pair():
    random, mu, count, runs = np.random.default_rng(5), 1.0, 400, 100
    over, sharper = 0, 0
    for _ in range(runs):
        coin = random.random(count) < 0.5
        scores = random.standard_normal(count) + mu * coin - mu / 2
        surest = np.argsort(-np.abs(scores))[:60]
        way = Guesses(count, 60, int(np.count_nonzero((scores[surest] > 0) == coin[surest])))
        found = least_private_refuted([way], gaussian, mu, 0.05)
        over += found > mu
        sharper += gaussian_epsilon(found, 1e-5) > epsilon_lower_bound([way], 1e-5)
    assert over <= binom.ppf(0.999, runs, 0.05)
    assert sharper > 0.8 * runs


def test_the_search_finds_the_edge_of_what_is_refuted():
    ways = [Guesses(500, 40, 39), Guesses(500, 400, 300)]
    for claimed in (0.1, 0.7, 5.0):
        found = least_private_refuted(ways, gaussian, claimed, 0.05)
        assert any(refutes(gaussian(found), way, 0.025) for way in ways)
        assert not any(refutes(gaussian(1.011 * found), way, 0.025) for way in ways)
    assert least_private_refuted([Guesses(500, 40, 20)], gaussian, 1.0, 0.05) == 0.0


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
def test_the_gaussians_epsilon_has_that_delta_by_quadrature(mu):
    epsilon = gaussian_epsilon(mu, 1e-5)
    edge = epsilon / mu + mu / 2
    above, _ = quad(lambda x: norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x), edge, edge + 15)
    assert above == pytest.approx(1e-5, rel=1e-3)


def test_the_gaussians_epsilon_at_the_ends():
    assert gaussian_epsilon(0.0, 1e-5) == 0.0
    assert gaussian_epsilon(1e-6, 1e-5) == 0.0
    assert gaussian_epsilon(math.inf, 1e-5) == math.inf
    with pytest.raises(ValueError, match="delta"):
        gaussian_epsilon(1.0, 0.0)


@pytest.mark.parametrize(("rate", "noise"), [(0.1, 1.0), (0.5, 2.0), (0.02, 0.6), (0.9, 0.3), (1e-3, 1.0)])
def test_one_sampled_step_has_the_delta_of_the_closed_form_and_never_less(rate, noise):
    epsilons = np.array([0.0, 0.0501, 0.2, 0.5, 1.0, 3.0])
    found = deltas_of_sampled_gaussian(epsilons, noise, rate, 1)
    # the most likely event: x beyond the point where the ratio of the densities is exp(epsilon)
    edges = noise**2 * np.log((np.exp(epsilons) - (1 - rate)) / rate) + 0.5
    outside = norm.sf(edges / noise)
    inside = (1 - rate) * outside + rate * norm.sf((edges - 1) / noise)
    exact = inside - np.exp(epsilons) * outside
    assert (found >= exact).all()
    assert (found <= exact + 1e-7).all()


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(1.1, 0.02, 60), (1.237, 0.25, 40), (2.5, 0.25, 40), (1.0, 0.03, 2000)]
)
def test_composed_steps_agree_with_the_accountant(noise, rate, steps):
    epsilon = accounting.spent(((noise, rate, steps),), 1e-5).epsilon
    around = deltas_of_sampled_gaussian(np.array([epsilon - 0.03, epsilon + 0.03]), noise, rate, steps)
    assert around[0] > 1e-5 > around[1]


def test_everything_sampled_is_a_gaussian():
    near, exact = sampled_gaussian(2.0, 1 - 1e-9, 10), sampled_gaussian(2.0, 1.0, 10)
    for probability in (0.01, 0.1, 0.5, 0.9):
        assert exact(probability) == pytest.approx(norm.cdf(norm.ppf(probability) - math.sqrt(10) / 2))
        assert near(probability) <= exact(probability)
        assert near(probability) == pytest.approx(exact(probability), rel=0.05)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_curves_rise_and_give_a_neighbour_no_more(one, other):
    low, high = sorted((one, other))
    for least in (gaussian(1.0), from_pairs(np.array([0.5, 2.0]), np.array([0.1, 0.001]))):
        assert 0.0 <= least(low) <= least(high) <= high + 1e-12
