"""Clipping of whole updates, and the charge for a sum that nobody knows of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedpriv.privacy.client_level import ClientLevel, clip, cost_of_lost_release
from fedpriv.privacy.noise import SecureSource
from fedpriv.privacy.sum_plan import plan_sum

ANY = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**127), 2.0**127, width=32))


def plan(contributors=3, rounds=4, epsilon=6.0, where="clients"):
    return plan_sum(
        clipping_norm=1.0,
        step=2.0**-12,
        dimension=50,
        contributors=contributors,
        rounds=rounds,
        delta=1e-5,
        epsilon=epsilon,
        where=where,
    )


@given(update=ANY, norm=st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_no_update_is_longer_than_the_norm_and_its_direction_stays(update, norm):
    made = clip(update.copy(), norm)
    length = np.linalg.norm(update.astype(np.longdouble))
    assert made.dtype == np.float32
    # what is smaller than float32's least normal number is rounded by up to half of the least one
    tiny = 2.0**-149 * np.sqrt(len(update))
    assert np.linalg.norm(made.astype(np.longdouble)) <= norm * (1 + 2.0**-23) + tiny
    if length <= norm * (1 - 1e-12):
        assert made.tobytes() == update.tobytes()
    else:
        expected = update.astype(np.longdouble) * min(1.0, norm / length)
        np.testing.assert_allclose(made, expected, rtol=1e-6, atol=2.0**-149)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_for_the_codec_to_refuse(bad):
    made = clip(np.array([1.0, bad, 3.0], np.float32), 0.1)
    assert not np.isfinite(made).all()


def test_a_seed_gives_each_purpose_a_noise_of_its_own_and_no_seed_the_operating_systems():
    fast = ClientLevel(plan(), seed=3)
    purposes = [(0, 1), (1, 0), (1, 1), ("server", 1)]
    drawn = [fast.plan.draw(50, fast.source(*purpose)) for purpose in purposes]
    again = [fast.plan.draw(50, fast.source(*purpose)) for purpose in purposes]
    assert np.array_equal(drawn, again)
    assert len({noise.tobytes() for noise in drawn}) == 4
    assert ClientLevel(plan(), seed=4).source(0, 1).words(4).tolist() != fast.source(0, 1).words(4).tolist()
    assert isinstance(ClientLevel(plan()).source(0, 1), SecureSource)


@pytest.mark.parametrize("where", ["clients", "server"])
@pytest.mark.parametrize("before", [[], [3], [8, 8], [3, 3, 3], [8] * 4, [3, 3, 3, 3]])
def test_a_lost_release_costs_at_least_what_any_possible_one_did_and_never_passes_the_target(where, before):
    made = plan(where=where)
    cost = cost_of_lost_release(made, before, most=8)
    possible = [count for count in range(1, 9) if made.may_release(before, count)]
    if cost is None:
        assert not possible
        return
    charged = made.spent([*before, cost]).epsilon
    assert charged <= 6.0
    assert all(made.spent([*before, count]).epsilon <= charged for count in possible)
    assert possible


def test_a_lost_release_that_only_many_could_have_made_is_charged_as_one_of_the_fewest_who_could():
    made = plan(contributors=2, rounds=4)
    before = [2, 2, 2, 4]
    assert not made.may_release(before, 2)
    assert cost_of_lost_release(made, before, most=8) == 4
    assert cost_of_lost_release(made, before, most=3) is None
