import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy.optimize import brentq
from scipy.stats import norm

from fedpriv.privacy import accounting
from fedpriv.privacy.accounting import extend, from_json, noise_for, spent, to_json

DELTA = 1e-5


def balle_wang(noise: float, delta: float) -> float:
    """Exact epsilon of the Gaussian mechanism (Balle, Wang 2018, arXiv 1805.06083, Theorem 8)."""

    def excess(epsilon: float) -> float:
        a, b = 0.5 / noise, epsilon * noise
        return float(norm.cdf(a - b) - math.exp(epsilon + norm.logcdf(-a - b)) - delta)

    return float(brentq(excess, 0.0, 500.0, xtol=1e-10))


@pytest.fixture
def broken_prv(monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("Discrete mean differs")

    monkeypatch.setattr(PRVAccountant, "get_epsilon", fail)
    spent.cache_clear()
    yield
    spent.cache_clear()


def test_the_published_prv_epsilon_is_met():
    found = spent(((1.1, 0.02, 300),), DELTA)
    assert (round(found.epsilon, 3), found.accountant, found.delta) == (1.810, "prv", DELTA)


@pytest.mark.parametrize(
    "history",
    [
        ((1.1, 0.02, 300),),
        ((0.7, 1.0, 2),),
        ((2.5, 1e-4, 7),),
        ((1.0, 0.1, 20), (2.0, 0.05, 7)),
        ((3.0, 0.3, 40), (0.9, 0.01, 1), (3.0, 0.2, 5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_guarantee_both_bounds_are_those_of_opacus_to_the_bit(history, delta):
    """Losses that are kept from an earlier question change no answer."""
    straight = RDPAccountant(), PRVAccountant()
    for accountant in straight:
        accountant.history = list(history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = tuple(accountant.get_epsilon(delta) for accountant in straight)
    assert (accounting._rdp(history, delta), accounting._prv(history, delta)) == expected


def test_when_prv_fails_the_published_rdp_epsilon_is_returned_and_named(broken_prv):
    found = spent(((1.1, 0.02, 300),), DELTA)
    assert (round(found.epsilon, 3), found.accountant) == (2.073, "rdp")


def test_epsilon_is_cumulative_over_rounds():
    history = ()
    after = {}
    for number in range(1, 101):
        history = extend(history, (1.0, 0.032, 31))
        after[number] = history
    found = [spent(after[number], DELTA).epsilon for number in (1, 10, 50, 100)]
    assert found == pytest.approx([1.53, 3.66, 8.37, 12.47], abs=0.025)


def test_equal_steps_are_merged_and_others_kept_in_order():
    history = extend(extend(extend((), (1.0, 0.1, 2)), (1.0, 0.1, 3)), (2.0, 0.1, 1))
    assert history == ((1.0, 0.1, 5), (2.0, 0.1, 1))


def test_the_order_of_mechanisms_does_not_matter():
    steps = ((1.0, 0.1, 5), (2.0, 0.05, 7))
    assert spent(steps, DELTA).epsilon == pytest.approx(spent(steps[::-1], DELTA).epsilon, abs=1e-6)


@settings(max_examples=5, deadline=None)
@given(
    noise=st.floats(0.6, 50.0),
    rate=st.floats(0.001, 1.0),
    steps=st.integers(1, 60),
    more=st.tuples(st.floats(0.5, 100.0), st.floats(0.001, 1.0), st.integers(1, 50)),
)
def test_guarantee_epsilon_never_falls_when_steps_are_added(noise, rate, steps, more):
    before = ((noise, rate, steps),)
    assert spent(extend(before, more), DELTA).epsilon >= spent(before, DELTA).epsilon - 1e-6


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (2.0, 4), (5.0, 100), (4.0, 30)])
def test_guarantee_without_sampling_epsilon_is_an_upper_bound_close_to_the_exact_gaussian(noise, steps):
    # n compositions of noise s are one Gaussian mechanism of noise s / sqrt(n); sensitivity 1 is
    # what one example added or removed changes
    exact = balle_wang(noise / math.sqrt(steps), DELTA)
    assert exact <= spent(((noise, 1.0, steps),), DELTA).epsilon <= exact + 0.03


def test_edge_an_empty_history_costs_nothing():
    assert spent((), DELTA).epsilon == 0.0
    assert spent(((1.0, 0.1, 0),), DELTA).epsilon == 0.0


def test_edge_no_noise_gives_infinity():
    found = spent(((1.0, 0.1, 5), (0.0, 0.1, 1)), DELTA)
    assert (found.epsilon, found.accountant) == (math.inf, "none")


@pytest.mark.parametrize(
    "history",
    [((accounting.LEAST_NOISE / 2, 0.5, 1),), ((1e-160, 0.5, 3), (1.0, 0.5, 1)), ((5e-324, 1e-300, 2**52),)],
)
def test_edge_noise_too_small_for_the_accountants_gives_infinity_and_ends(history):
    found = spent(history, DELTA)
    assert (found.epsilon, found.accountant) == (math.inf, "none")


def test_the_least_noise_that_is_computed_is_far_beyond_any_protection():
    found = spent(((accounting.LEAST_NOISE, 1e-9, 1),), DELTA)
    assert 1e5 < found.epsilon < math.inf


def test_edge_where_delta_alone_covers_the_loss_epsilon_is_zero():
    # total variation between neighbours is q (2 Phi(1 / (2 sigma)) - 1): (0, delta) holds from there on
    history, distance = ((50.0, 0.01, 1),), 0.01 * (2.0 * norm.cdf(0.01) - 1.0)
    assert spent(history, 0.5) == accounting.Spent(0.0, 0.5, "rdp")
    assert spent(history, distance / 2.0).epsilon > 0.0


@settings(max_examples=8, deadline=None)
@given(noise=st.floats(1.0, 80.0), rate=st.floats(0.001, 1.0), delta=st.floats(0.05, 0.95))
def test_guarantee_a_single_step_is_covered_at_any_delta(noise, rate, delta):
    # the exact delta of one step at epsilon, adding an example: integral of (p - e^epsilon r)+
    epsilon = spent(((noise, rate, 1),), delta).epsilon
    z = np.linspace(-12.0 * noise, 12.0 * noise + 1.0, 200_001)
    r, p = norm.pdf(z, 0.0, noise), norm.pdf(z, 1.0, noise)
    mixed = (1.0 - rate) * r + rate * p
    for one, other in ((mixed, r), (r, mixed)):
        assert np.trapezoid(np.maximum(one - math.exp(epsilon) * other, 0.0), z) <= delta


@pytest.mark.parametrize(
    "mechanism",
    [(1e90, 0.5, 2**40), (1e9, 1.0, 2**40), (1.0, 1e-90, 2**40), (1e-3, 1e-90, 1), (1e90, 1e-90, 2**52)],
)
def test_mechanisms_out_of_the_accountants_reach_end_and_are_bounded_by_weaker_ones(mechanism):
    assert 0.0 <= spent((mechanism,), DELTA).epsilon < 1e6


@pytest.mark.parametrize(
    "history",
    [
        ((0.2, 0.1, 1000),),
        ((0.01, 0.5, 1000),),
        ((0.5, 1.0, 1000),),
        ((1e5, 1.0, accounting.MOST_STEPS_FOR_PRV), (1e5, 0.5, 1)),
    ],
)
def test_edge_above_the_bounds_prv_is_not_even_tried(history, monkeypatch):
    def refuse(*_args, **_kwargs):
        pytest.fail("PRV takes minutes here")

    monkeypatch.setattr(PRVAccountant, "get_epsilon", refuse)
    spent.cache_clear()
    found = spent(history, DELTA)
    assert found.accountant == "rdp"
    steps = sum(step[2] for step in history)
    assert found.epsilon > accounting.LARGEST_FOR_PRV or steps > accounting.MOST_STEPS_FOR_PRV


@pytest.mark.parametrize("nonsense", [math.nan, -1.0, math.inf])
def test_edge_a_senseless_prv_value_is_not_believed(nonsense, monkeypatch):
    monkeypatch.setattr(PRVAccountant, "get_epsilon", lambda *_args, **_kwargs: nonsense)
    spent.cache_clear()
    found = spent(((1.1, 0.02, 300),), DELTA)
    spent.cache_clear()
    assert (round(found.epsilon, 3), found.accountant) == (2.073, "rdp")


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_senseless_delta_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        spent(((1.0, 0.1, 5),), delta)


@pytest.mark.parametrize(
    ("epsilon", "rate", "steps"),
    [(8.0, 0.1, 200), (1.0, 0.02, 500), (3.0, 1.0, 20), (0.05, 0.1, 10), (200.0, 0.1, 100)],
)
def test_noise_for_meets_the_target_and_does_not_waste_it(epsilon, rate, steps):
    noise = noise_for(epsilon, DELTA, rate, steps)
    assert 0.99 * epsilon <= spent(((noise, rate, steps),), DELTA).epsilon <= epsilon
    assert spent(((0.99 * noise, rate, steps),), DELTA).epsilon > epsilon * 0.995


def test_noise_for_a_target_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"epsilon=0\.001 .* out of reach for 10 steps"):
        noise_for(0.001, DELTA, 0.1, 10)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_noise_for_a_senseless_target_is_refused(epsilon):
    with pytest.raises(ValueError, match="positive and finite"):
        noise_for(epsilon, DELTA, 0.1, 10)


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(0, 1, exclude_min=True), st.integers(0, 2**40)), max_size=5
    )
)
def test_a_history_survives_json_exactly(steps):
    assert from_json(to_json(tuple(steps))) == tuple(steps)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "3",
        "null",
        "[1]",
        "[[1, 2]]",
        '[["1.0", 0.1, 5]]',
        "[[1.0, 0.1, 2.5]]",
        "[[1.0, 0.1, true]]",
        "[[1.0, 0.1, -1]]",
        "[[-1.0, 0.1, 5]]",
        "[[NaN, 0.1, 5]]",
        "[[Infinity, 0.1, 5]]",
        "[[1.0, 0.0, 5]]",
        "[[1.0, 1.5, 5]]",
        "[[1.0, NaN, 5]]",
        "[" * 100_000,
        json.dumps([[1.0, 0.1, 5]] * 200_000),
    ],
    ids=lambda text: text[:16],
)
def test_a_damaged_history_is_refused(text):
    with pytest.raises(ValueError, match="privacy history is damaged"):
        from_json(text)
