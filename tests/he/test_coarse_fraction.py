"""The share of an update that rounding drowns, counted coordinate by coordinate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.he.packing import plan_packing, quantise
from fedpriv.he.packing_plan import coarse_fraction


@given(
    values=st.lists(st.sampled_from([0.0, 0.1, -0.24, 0.25, -0.25, 0.26, 3.0, -1e-30]), min_size=1),
)
def test_it_counts_what_is_there_and_nearer_than_half_a_step(values):
    there = [value for value in values if value != 0.0]
    near = [value for value in there if abs(value) < 0.25]
    expected = len(near) / len(there) if there else 0.0
    assert coarse_fraction(np.array(values, np.float32), 0.5) == expected


def test_a_long_vector_is_counted_whole():
    vector = np.ones(200_001, np.float32)
    vector[::4] = 1e-3
    vector[1::4] = 0.0
    assert coarse_fraction(vector, 0.5) == 50_001 / 150_001


@pytest.mark.parametrize("value_range", [0.01, 10.0])
def test_where_it_is_one_most_levels_are_zero_and_where_it_is_none_hardly_any(value_range):
    """Judged by the quantiser itself."""
    plan = plan_packing(8, 2, value_range=value_range)
    random = np.random.default_rng(5)
    update = (random.choice([-1, 1], 20_000) * random.uniform(0.001, 0.009, 20_000)).astype(np.float32)
    levels, _ = quantise(update, plan, random)
    zeros = np.mean(levels.astype(np.int64) == plan.offset)
    assert coarse_fraction(update, plan.step) == (1.0 if value_range == 10.0 else 0.0)
    assert zeros > 0.85 if value_range == 10.0 else zeros < 0.01
