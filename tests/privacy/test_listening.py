"""What is heard of canaries: each round counts alike, whatever its scale, and no round is heard by itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.privacy.listening import Heard, spread

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30).map(np.array)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0, 100.0], 1.0),
        ([-3.0, 0.0, 5.0], 3.0),
        ([0.0, 0.0, 0.0, 4.0], math.sqrt(3.0)),  # standard deviation: the median distance is 0
        ([7.0, 7.0], 1.0),
        ([7.0], 1.0),
    ],
)
def test_the_spread_is_the_median_distance_from_the_median(values, expected):
    assert spread(np.array(values)) == pytest.approx(expected)


@given(VALUES)
def test_a_spread_is_positive_so_that_it_can_divide(values):
    assert 0.0 < spread(values) < math.inf


def test_a_round_of_large_steps_counts_as_one_of_small_steps():
    random = np.random.default_rng(1)
    rounds = random.normal(size=(5, 40))
    alike, scaled = Heard(np.zeros(40)), Heard(np.zeros(40))
    for number, along in enumerate(rounds):
        alike, scaled = alike.hear(along), scaled.hear(along * 10.0 ** (number - 2))
    assert alike.rounds == scaled.rounds == 5
    np.testing.assert_allclose(scaled.sums, alike.sums, rtol=1e-12)
    np.testing.assert_allclose(alike.sums, sum(each / spread(each) for each in rounds))


def test_what_the_carrier_says_is_kept_and_never_falls():
    heard = Heard(np.zeros(2))
    assert heard.epsilon == 0.0
    for said, kept in [(1.5, 1.5), (0.5, 1.5), (math.nan, 1.5), (2.0, 2.0), (math.inf, math.inf)]:
        heard = heard.told(said)
        assert heard.epsilon == kept
