"""The bound that holds for any mechanism: published values, exact laws, and what it may not do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from fedpriv.privacy.audit import (
    Guesses,
    centred,
    epsilon_lower_bound,
    guess,
    guess_all_ways,
    p_value,
)


@st.composite
def guesses(draw, most=400):
    canaries = draw(st.integers(1, most))
    made = draw(st.integers(1, canaries))
    return Guesses(canaries, made, draw(st.integers(0, made)))


@pytest.mark.parametrize(
    ("counts", "delta", "published"),
    [
        ((1000, 100, 75), 1e-4, 0.673),  # Steinke et al. 2023, appendix D
        ((100_000, 1510, 1439), 1e-5, 2.675),  # section 7; printed without rounding
    ],
)
def test_published_bounds_are_reproduced(counts, delta, published):
    assert epsilon_lower_bound([Guesses(*counts)], delta) == pytest.approx(published, abs=1e-3)


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_perfect_guesses_without_delta_give_the_closed_form(count):
    right = 0.05 ** (1 / count)
    closed = max(0.0, math.log(right / (1 - right)))
    assert epsilon_lower_bound([Guesses(count, count, count)], 0.0) == pytest.approx(closed, abs=1e-5)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_randomised_response_is_overestimated_as_seldom_as_promised_and_nearly_reached(epsilon):
    random, count, runs = np.random.default_rng(1), 500, 400
    right = 1 / (1 + math.exp(-epsilon))
    bounds = np.array(
        [
            epsilon_lower_bound([Guesses(count, count, int(correct))], 0.0)
            for correct in random.binomial(count, right, runs)
        ]
    )
    assert np.mean(bounds > epsilon) <= binom.ppf(0.999, runs, 0.05) / runs
    assert bounds.mean() > 0.6 * epsilon


@given(
    count=st.integers(1, 60),
    epsilon=st.floats(0.0, 4.0),
    delta=st.floats(1e-9, 0.2),
    data=st.data(),
)
def test_mechanisms_that_sometimes_tell_all_stay_within_the_p_value(count, epsilon, delta, data):
    correct = data.draw(st.integers(0, count))
    found = p_value(Guesses(count, count, correct), epsilon, delta)
    right = 1 / (1 + math.exp(-epsilon))
    # with probability delta every coin is told, else randomised response
    assert delta + (1 - delta) * binom.sf(correct - 1, count, right) <= found * (1 + 1e-9) + 1e-12
    # each coin by itself is told with probability delta
    assert binom.sf(correct - 1, count, delta + (1 - delta) * right) <= found * (1 + 1e-9) + 1e-12


@given(guesses(), st.floats(0, 6), st.floats(0, 6), st.floats(0, 0.01))
def test_the_p_value_rises_with_epsilon(made, one, other, delta):
    low, high = sorted((one, other))
    if p_value(made, high, delta) < 0.5:
        assert p_value(made, low, delta) <= p_value(made, high, delta) + 1e-12


@given(guesses(), st.floats(0, 0.01), st.floats(0, 0.01), st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_the_bound_falls_with_delta_with_confidence_and_with_each_wrong_guess(made, d1, d2, c1, c2):
    few, many = sorted((d1, d2))
    weak, strong = sorted((c1, c2))
    bound = epsilon_lower_bound([made], few, weak)
    assert epsilon_lower_bound([made], many, weak) <= bound + 1e-5
    assert epsilon_lower_bound([made], few, strong) <= bound + 1e-5
    if made.correct:
        worse = Guesses(made.canaries, made.made, made.correct - 1)
        assert epsilon_lower_bound([worse], few, weak) <= bound + 1e-5
    idle = Guesses(made.canaries + 100, made.made, made.correct)
    assert epsilon_lower_bound([idle], few, weak) <= bound + 1e-5


def test_several_ways_pay_for_the_choice_among_them():
    ways = [Guesses(500, 50, 49), Guesses(500, 500, 400)]
    together = epsilon_lower_bound(ways, 1e-5)
    alone = [epsilon_lower_bound([way], 1e-5, confidence=0.975) for way in ways]
    assert together == pytest.approx(max(alone), abs=2e-6)
    assert together < max(epsilon_lower_bound([way], 1e-5) for way in ways)


def test_bounds_are_zero_without_proof_and_finite_at_any_confidence():
    assert epsilon_lower_bound([], 1e-5) == 0.0
    assert epsilon_lower_bound([Guesses(100, 100, 50)], 1e-5) == 0.0
    assert epsilon_lower_bound([Guesses(5, 5, 5)], 0.0, confidence=1e-300) < 40


def test_guesses_are_right_where_scores_tell():
    included = np.random.default_rng(2).random(101) < 0.5
    assert guess(np.where(included, 1.0, -1.0), included, 101).correct == 101
    assert guess(np.where(included, -1.0, 1.0), included, 101).correct == 0
    # the sure ones come first
    scores = np.where(included, 1.0, -1.0) * np.linspace(1, 2, 101)
    scores[:50] *= -1
    assert [way.correct for way in guess_all_ways(scores, included, (0.3, 1.0))] == [30, 51]


def test_the_choice_of_guesses_does_not_depend_on_the_coins():
    random = np.random.default_rng(3)
    scores, coin = random.normal(size=200), random.random(200) < 0.5
    for made in (10, 77, 200):
        assert guess(scores, coin, made).correct + guess(scores, ~coin, made).correct == made


@given(st.integers(0, 2**32), st.floats(-1e3, 1e3), st.floats(1, 50))
def test_the_threshold_lies_in_the_gap_however_uneven_the_sides(seed, shift, width):
    random = np.random.default_rng(seed)
    included = random.random(100) < random.uniform(0.35, 0.65)
    scores = shift + random.uniform(-0.1, 0.1, 100) + width * included
    assert guess(centred(scores), included, 100).correct == 100


def test_equal_scores_are_centred_to_nothing():
    assert not centred(np.full(7, 3.5)).any()


@pytest.mark.parametrize(
    ("scores", "made"), [(np.zeros(4), 4), (np.array([0, np.nan, 1]), 2), (np.zeros(3), 0), (np.zeros(3), 4)]
)
def test_guesses_that_cannot_be_made_are_refused(scores, made):
    with pytest.raises(ValueError, match=r"scores|made"):
        guess(scores, np.zeros(3, np.bool_), made)


@pytest.mark.parametrize("counts", [(3, 4, 1), (4, 3, 4), (4, 3, -1)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="guesses"):
        Guesses(*counts)


@pytest.mark.parametrize(("epsilon", "delta"), [(-1, 0.1), (1, -0.1), (1, 1.1), (math.nan, 0.1)])
def test_values_out_of_range_are_refused(epsilon, delta):
    with pytest.raises(ValueError, match="epsilon"):
        p_value(Guesses(3, 2, 1), epsilon, delta)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_a_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        epsilon_lower_bound([Guesses(3, 2, 1)], 0.0, confidence)
