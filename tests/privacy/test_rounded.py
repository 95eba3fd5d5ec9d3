"""A bound in few digits is still a bound."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.privacy.rounded import at_least, at_most


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        (7.9799, "7.98", "7.97"),
        (10.7398, "10.8", "10.7"),
        (1.0000001, "1.01", "1"),
        (7.98, "7.98", "7.98"),
        (8.0, "8", "8"),
        (0.1, "0.1", "0.1"),
        (1e-5, "1e-05", "1e-05"),
        (285.04, "286", "285"),
        (999.5, "1e+03", "999"),
        (0.0, "0", "0"),
        (math.inf, "inf", "inf"),
        (math.nan, "nan", "nan"),
    ],
)
def test_what_is_spent_is_rounded_up_and_what_is_proven_down(value, up, down):
    assert (at_most(value), at_least(value)) == (up, down)


@given(st.just(0.0) | st.floats(1e-300, 1e300), st.integers(1, 6))
def test_it_holds_for_any_number_and_is_near_it(value, digits):
    exact = Fraction(repr(value))
    up, down = Fraction(at_most(value, digits)), Fraction(at_least(value, digits))
    assert down <= exact <= up
    assert up - down <= exact * Fraction(10, 10**digits)
