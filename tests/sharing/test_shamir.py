"""Shamir shares against polynomials over Python's integers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedpriv.sharing import shamir

P = 2**31 - 1


def words(*values):
    """A source that gives these coefficients."""
    packed = b"".join(int(value).to_bytes(4, "little") for value in values)
    return lambda count: packed[:count]


def at_zero(points):
    """Lagrange's formula as it stands in books."""
    total = 0
    for j, (x, y) in enumerate(points):
        term = y
        for k, (other, _) in enumerate(points):
            if k != j:
                term = term * other * pow(other - x, -1, P) % P
        total += term
    return total % P


@settings(deadline=None)
@given(
    data=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=7)),
    n=st.integers(2, 12),
    draw=st.data(),
)
def test_any_t_shares_in_any_order_give_the_bytes_back(data, n, draw):
    t = draw.draw(st.integers(2, n))
    shares = shamir.split(data, n, t)
    assert shares.shape == (n, *data.shape[:-1], -(-data.shape[-1] // 3))
    assert shares.dtype == np.uint32
    assert not shares.size or shares.max() < P
    chosen = draw.draw(st.permutations(range(n)))[: draw.draw(st.integers(t, n))]
    assert np.array_equal(shamir.combine(shares[chosen], chosen, data.shape[-1]), data)


def test_the_largest_number_of_shares_works():
    data = np.arange(9, dtype=np.uint8)
    shares = shamir.split(data, 255, 255)
    assert np.array_equal(shamir.combine(shares, range(255), 9), data)


def test_shares_are_the_polynomials_values_at_1_to_n():
    data = np.array([1, 2, 3, 250, 251], np.uint8)
    secrets = [1 + 2 * 256 + 3 * 65536, 250 + 251 * 256]
    coefficients = [[5, P - 1], [2**30 + 7, 3]]  # of x^1, x^2; one row per power
    shares = shamir.split(data, 4, 3, words(*coefficients[0], *coefficients[1]))
    for j, element in itertools.product(range(4), range(2)):
        x = j + 1
        expected = secrets[element] + coefficients[0][element] * x + coefficients[1][element] * x * x
        assert shares[j, element] == expected % P


@settings(deadline=None)
@given(
    ours=st.integers(0, 2**24 - 1),
    other=st.integers(0, 2**24 - 1),
    t=st.integers(2, 5),
    draw=st.data(),
)
def test_t_minus_1_shares_fit_every_other_secret_with_equally_many_polynomials(ours, other, t, draw):
    """For what t - 1 parties see there is exactly one polynomial for each secret: perfect secrecy."""
    n = 6
    known = draw.draw(st.permutations(range(n)))[: t - 1]
    data = np.frombuffer(ours.to_bytes(3, "little"), np.uint8)
    shares = shamir.split(data, n, t)
    points = [(0, other), *((j + 1, int(shares[j, 0])) for j in known)]
    # the one polynomial of degree t - 1 through them, by Gauss elimination over the field
    rows = [[pow(x, power, P) for power in range(t)] + [y] for x, y in points]
    for column in range(t):
        pivot = next(row for row in range(column, t) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        inverse = pow(rows[column][column], -1, P)
        rows[column] = [value * inverse % P for value in rows[column]]
        for row in range(t):
            if row != column:
                factor = rows[row][column]
                rows[row] = [(a - factor * b) % P for a, b in zip(rows[row], rows[column], strict=True)]
    polynomial = [row[-1] for row in rows]
    assert polynomial[0] == other
    again = shamir.split(np.frombuffer(other.to_bytes(3, "little"), np.uint8), n, t, words(*polynomial[1:]))
    assert np.array_equal(again[list(known)], shares[list(known)])


def test_combining_is_lagrange_at_zero():
    data = np.array([9, 8, 7], np.uint8)
    shares = shamir.split(data, 5, 3)
    points = [(j + 1, int(shares[j, 0])) for j in (4, 0, 2)]
    assert at_zero(points) == 9 + 8 * 256 + 7 * 65536


def test_a_draw_of_31_ones_is_drawn_again_so_that_coefficients_are_uniform():
    draws = iter([b"\xff\xff\xff\xff\x05\x00\x00\x80", b"\xff\xff\xff\x7f", b"\x09\x00\x00\x00"])
    shares = shamir.split(np.zeros(6, np.uint8), 2, 2, lambda count: next(draws))
    assert shares[0].tolist() == [9, 5]


@pytest.mark.parametrize(
    "indices", [[0], [0, 0], [0, 1, 2], [-1, 0], [0, 255]], ids=["few", "twice", "many", "below", "above"]
)
def test_wrong_or_duplicate_indices_are_refused(indices):
    shares = shamir.split(np.zeros(3, np.uint8), 3, 2)
    with pytest.raises(ValueError, match="indices"):
        shamir.combine(shares[:2], indices, 3)


def test_one_share_alone_is_refused():
    with pytest.raises(ValueError, match="indices"):
        shamir.combine(np.zeros((1, 1), np.uint32), [0], 3)


@pytest.mark.parametrize("shape", [(2,), (2, 2), (2, 0)])
def test_shares_of_another_length_are_refused(shape):
    with pytest.raises(ValueError, match=r"shares \("):
        shamir.combine(np.zeros(shape, np.uint32), [0, 1], 3)


def test_shares_of_another_type_are_refused():
    with pytest.raises(ValueError, match="uint64"):
        shamir.combine(np.zeros((2, 1), np.uint64), [0, 1], 3)


@pytest.mark.parametrize("element", [P, P + 1, 2**32 - 1])
def test_an_element_outside_the_field_is_refused(element):
    with pytest.raises(ValueError, match="not below"):
        shamir.combine(np.array([[0], [element]], np.uint32), [0, 1], 3)


def test_shares_that_determine_no_three_bytes_are_refused():
    shares = shamir.split(np.zeros(3, np.uint8), 3, 3)
    wrong = (int(shares[0, 0]) + 2**30) % P
    shares[0, 0] = wrong
    points = [(1, wrong), (2, int(shares[1, 0])), (3, int(shares[2, 0]))]
    assert at_zero(points) >= 2**24
    with pytest.raises(ValueError, match="no bytes"):
        shamir.combine(shares, [0, 1, 2], 3)


@pytest.mark.parametrize(("n", "t"), [(1, 1), (2, 3), (3, 1), (256, 2), (3, 0)])
def test_thresholds_that_make_no_sense_are_refused(n, t):
    with pytest.raises(ValueError, match=f"t={t}, n={n}"):
        shamir.split(np.zeros(3, np.uint8), n, t)


@pytest.mark.parametrize("data", [np.zeros(3, np.uint32), np.uint8(3) + np.zeros((), np.uint8)])
def test_what_is_no_row_of_bytes_is_refused(data):
    with pytest.raises(ValueError, match="give"):
        shamir.split(np.asarray(data), 3, 2)
