import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.he.tables.packing import ACROSS, Packing

DEGREE = 16 * 6


def product(first, second):
    """Return first * second modulo X^N + 1, by the definition."""
    whole = np.convolve(first.astype(object), second.astype(object))
    folded = whole[:DEGREE].copy()
    folded[: len(whole) - DEGREE] -= whole[DEGREE:]
    return folded


@settings(max_examples=60, deadline=None)
@given(
    left=st.integers(1, ACROSS),
    right=st.integers(1, ACROSS),
    rows=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_targets_of_a_product_hold_the_inner_products(left, right, rows, seed):
    random, packing = np.random.default_rng(seed), Packing(DEGREE)
    a, b = (random.integers(-(2**20), 2**20, (count, rows)) for count in (left, right))
    found = product(packing.left(a), packing.right(b))[packing.targets(left, right)]
    assert (found == a.astype(object) @ b.astype(object).T).all()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, ACROSS), rows=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_ones_sum_and_weights_weigh_every_row(count, rows, seed):
    random, packing = np.random.default_rng(seed), Packing(DEGREE)
    a, w = random.integers(-99, 99, (count, rows)), random.integers(-99, 99, count)
    summed = product(packing.left(a), packing.ones())[packing.targets(count, 1)]
    assert (summed[:, 0] == a.sum(axis=1)).all()
    scored = product(packing.left(a), packing.weights(w))[packing.weighted()]
    assert (scored[:rows] == w @ a).all()
    assert (scored[rows:] == 0).all()


def test_chunks_hold_all_rows():
    packing = Packing(16384)
    assert packing.chunk == 1024
    assert [packing.chunks(rows) for rows in (1, 1024, 1025, 4238)] == [1, 1, 2, 5]
