"""Additive shares against plain integers and, for bytes, every random value there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedpriv.sharing import additive

RINGS = [np.uint8, np.uint32, np.uint64]


@settings(deadline=None)
@given(data=st.data(), n=st.integers(2, 255))
def test_the_sum_of_the_shares_modulo_the_ring_is_the_secret(data, n):
    dtype = data.draw(st.sampled_from(RINGS))
    values = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
    shares = additive.split(values, n)
    assert shares.shape == (n, *values.shape)
    assert shares.dtype == dtype
    modulus = 1 << 8 * np.dtype(dtype).itemsize
    sums = sum(share.astype(object) for share in shares) % modulus if values.size else values
    assert np.array_equal(sums, values)
    assert np.array_equal(additive.combine(shares), values)
    assert np.array_equal(additive.combine(shares[data.draw(st.permutations(range(n)))]), values)


def test_the_extremes_of_each_ring_wrap():
    for dtype in RINGS:
        values = np.array([0, 1, np.iinfo(dtype).max, np.iinfo(dtype).max // 2 + 1], dtype)
        ones = additive.split(values, 3, lambda count: b"\xff" * count)
        assert np.array_equal(ones[2], values + dtype(2))  # minus twice minus one
        assert np.array_equal(additive.combine(ones), values)


@pytest.mark.parametrize("secret", [0, 1, 127, 255])
@pytest.mark.parametrize("known", list(itertools.combinations(range(3), 2)))
def test_any_two_of_three_shares_take_every_pair_of_values_exactly_once(secret, known):
    every_pair = np.array(list(itertools.product(range(256), repeat=2)), np.uint8).T.tobytes()
    shares = additive.split(np.full(65536, secret, np.uint8), 3, lambda count: every_pair)
    first, second = shares[list(known)].astype(np.int64)
    assert np.array_equal(np.bincount(first * 256 + second), np.ones(65536, np.int64))


def test_the_default_randomness_differs_each_time():
    values = np.zeros(64, np.uint8)
    assert not np.array_equal(additive.split(values, 2), additive.split(values, 2))


def test_sums_of_shares_are_shares_of_the_sum():
    a, b = (np.random.default_rng(seed).integers(0, 2**64, 9, np.uint64) for seed in (1, 2))
    assert np.array_equal(additive.combine(additive.split(a, 3) + additive.split(b, 3)), a + b)


@pytest.mark.parametrize("dtype", ["int32", "uint16", "float64", ">u4", "bool"])
def test_other_types_are_refused(dtype):
    with pytest.raises(ValueError, match="dtype"):
        additive.split(np.zeros(3, dtype), 3)
    with pytest.raises(ValueError, match="dtype"):
        additive.combine(np.zeros((3, 3), dtype))


@pytest.mark.parametrize("n", [-1, 0, 1, 256])
def test_numbers_of_shares_that_protect_nothing_or_do_not_fit_are_refused(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        additive.split(np.zeros(3, np.uint8), n)


@pytest.mark.parametrize("shape", [(), (0, 4), (1, 4), (256, 1)])
def test_combining_too_few_or_too_many_shares_is_refused(shape):
    with pytest.raises(ValueError, match="n="):
        additive.combine(np.zeros(shape, np.uint8))


def test_one_missing_share_leaves_noise():
    values = np.zeros(4096, np.uint8)
    left = additive.combine(additive.split(values, 4)[1:])
    assert len(np.unique(left)) > 200
