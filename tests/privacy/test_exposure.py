import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.privacy.charge import Charge, Concentrated, SampledGaussian
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.exposure import Exposure, loss_of

SHARE = of_digests(np.arange(3, dtype=np.uint64))


def exposed(*mechanisms, run="r", number=1):
    exposure = Exposure(SHARE)
    for mechanism in mechanisms:
        exposure = exposure.with_charge(Charge(SHARE, mechanism, run, number, 1e-5))
    return exposure


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.sampled_from([1.0, 2.0])), min_size=1, max_size=4))
def test_parts_of_one_gaussian_release_cost_what_moving_them_all_costs(parts):
    # contribution i is bounded by c_i, noise is N(0, 1): rho_i = c_i^2 / 2; moved together the sum moves
    # by at most sum f_i c_i, and two Gaussians that far apart have a Renyi divergence of (sum)^2 / 2 a order
    found = loss_of([(exposed(Concentrated(bound**2 / 2)), factor) for bound, factor in parts], "sample")
    assert found.rho == pytest.approx(sum(bound * factor for bound, factor in parts) ** 2 / 2, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=3),
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=3),
)
def test_a_repeated_round_costs_as_much_as_the_dearest_way_its_contributions_could_have_met(first, second):
    parts = [
        (exposed(*map(Concentrated, first)), 1.0),
        (exposed(*map(Concentrated, second)), 2.0),
    ]
    length = max(len(first), len(second))
    one = first + [0.0] * (length - len(first))
    two = second + [0.0] * (length - len(second))
    ways = [
        sum((math.sqrt(a) + 2.0 * math.sqrt(b)) ** 2 for a, b in zip(one, order, strict=True))
        for order in itertools.permutations(two)
    ]
    assert loss_of(parts, "client").rho == pytest.approx(max(ways), rel=1e-12, abs=1e-300)


def test_other_rounds_and_other_runs_are_other_releases():
    parts = [
        (exposed(Concentrated(0.5, 1e-20)), 1.0),
        (exposed(Concentrated(0.5, 1e-20), number=2), 1.0),
        (exposed(Concentrated(0.5, 1e-20), run="s"), 1.0),
    ]
    found = loss_of(parts, "sample")
    assert found.rho == pytest.approx(1.5)
    assert found.distance == pytest.approx(3e-20)


def test_steps_of_equal_mechanisms_add_up_in_one_order():
    one, two = SampledGaussian(2.0, 0.1, 3), SampledGaussian(1.0, 0.1, 4)
    for parts in ([(exposed(one, two, one), 2.0)], [(exposed(two, one), 2.0), (exposed(one, number=5), 2.0)]):
        assert loss_of(parts, "sample").history == ((1.0, 0.1, 4), (2.0, 0.1, 6))


def test_a_client_is_not_protected_by_a_mechanism_for_examples():
    parts = [(exposed(SampledGaussian(5.0, 0.1, 1), Concentrated(0.1)), 1.0)]
    assert loss_of(parts, "client").rho == math.inf
    assert loss_of(parts, "sample").rho == pytest.approx(0.1)


def test_a_charge_in_thought_leaves_what_is_written_as_it_was():
    before = exposed(Concentrated(0.1), SampledGaussian(1.0, 1.0, 1))
    before.with_charge(Charge(SHARE, Concentrated(0.2), "r", 1, 1e-5))
    before.with_charge(Charge(SHARE, SampledGaussian(1.0, 1.0, 7), "r", 1, 1e-5))
    assert loss_of([(before, 1.0)], "sample").rho == pytest.approx(0.1)
    assert loss_of([(before, 1.0)], "sample").history == ((1.0, 1.0, 1),)


def test_the_largest_losses_overflow_to_infinity_and_not_to_an_error():
    parts = [(exposed(*[Concentrated(9e99)] * 3), 2.0)] * 3
    assert loss_of(parts, "sample").rho > 9e99
