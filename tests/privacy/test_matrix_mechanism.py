"""Banded Toeplitz matrices: inverse, sensitivity and error, against dense matrices and every pattern."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm, toeplitz

from fedpriv.privacy.matrix_mechanism import BITS, INDEPENDENT, MOST_BANDS, BandedToeplitz, square_root

ONE = 1 << BITS


def dense(matrix, rows):
    """C, (rows, rows)."""
    column = np.zeros(rows)
    column[: matrix.bands] = matrix.coefficients[:rows]
    return toeplitz(column, np.zeros(rows))


def patterns(rows, separation):
    """Every set of rows that are ``separation`` apart."""
    for size in range(rows + 1):
        for chosen in itertools.combinations(range(rows), size):
            if all(late - early >= separation for early, late in itertools.pairwise(chosen)):
                yield chosen


DECREASING = st.lists(st.integers(1, ONE - 1), max_size=6, unique=True).map(
    lambda rest: BandedToeplitz((ONE, *sorted(rest, reverse=True)))
)


def test_the_square_root_is_that_of_the_matrix_of_prefix_sums():
    """With as many bands as rows, to the 2^-20 that coefficients are rounded to."""
    root = dense(square_root(8), 8)
    np.testing.assert_allclose(root @ root, np.tril(np.ones((8, 8))), atol=8 * 2.0**-20)
    np.testing.assert_allclose(root, sqrtm(np.tril(np.ones((8, 8)))).real, atol=1e-6)


def test_its_coefficients_are_the_published_ones():
    """binom(2j, j) / 4^j = 1, 1/2, 3/8, 5/16, 35/128, 63/256 (Fichtenberger et al. 2023)."""
    expected = [
        Fraction(1),
        Fraction(1, 2),
        Fraction(3, 8),
        Fraction(5, 16),
        Fraction(35, 128),
        Fraction(63, 256),
    ]
    assert square_root(6).numerators == tuple(int(value * ONE) for value in expected)
    last = Fraction(math.comb(2 * 63, 63), 4**63)
    assert abs(Fraction(square_root(64).numerators[63], ONE) - last) <= Fraction(1, 2 * ONE)


@given(matrix=DECREASING, rows=st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_the_inverse_is_that_of_the_dense_matrix(matrix, rows):
    inverse = np.linalg.inv(dense(matrix, rows))
    np.testing.assert_allclose(matrix.inverse(rows), inverse[:, 0], atol=1e-9)
    # the largest row sum of magnitudes is what rows within [-1, 1] can become
    assert matrix.growth(rows) == pytest.approx(np.abs(inverse).sum(axis=1).max(), abs=1e-9)


@given(matrix=DECREASING, rows=st.integers(1, 8), separation=st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_the_sensitivity_is_the_worst_of_every_pattern_of_participation(matrix, rows, separation):
    """By brute force; with no negative entry in C^T C, moving all rows the same way is the worst."""
    c = dense(matrix, rows)
    worst = max(np.linalg.norm(c[:, list(chosen)].sum(axis=1)) for chosen in patterns(rows, separation))
    assert matrix.sensitivity(rows, separation) == pytest.approx(worst, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "separation", "bands"), [(6, 1, 1), (7, 2, 2), (8, 3, 2), (8, 3, 3), (9, 4, 3)]
)
def test_guarantee_any_directions_move_no_farther_than_the_participations_add_up_to(rows, separation, bands):
    """Rows of any directions, not only equal ones: with few enough bands their losses add up."""
    matrix, random = square_root(bands), np.random.default_rng(rows)
    c = dense(matrix, rows)
    for chosen in patterns(rows, separation):
        for _ in range(5):
            moved = np.zeros((rows, 4))
            for row in chosen:
                direction = random.normal(size=4)
                moved[row] = direction / np.linalg.norm(direction)
            found = np.linalg.norm(c @ moved) ** 2
            assert found <= len(chosen) * matrix.spread(1.0) ** 2 + 1e-9
    most = -(-rows // separation)
    assert matrix.sensitivity(rows, separation) <= math.sqrt(most) * matrix.spread(1.0) + 1e-12


def test_with_more_bands_than_separation_participations_cost_more_than_their_sum():
    matrix = square_root(4)
    assert matrix.sensitivity(8, 2) > 1.2 * math.sqrt(4) * matrix.spread(1.0)


def test_spread_by_hand():
    """1 and 1/2: sqrt(4^2 + 2^2); with a rounding of 1, sqrt(4^2 + 3^2)."""
    assert square_root(2).spread(4.0) == pytest.approx(math.sqrt(20.0))
    assert square_root(2).spread(4.0, 1.0) == 5.0
    assert INDEPENDENT.spread(0.1 + 0.2, 9.0) == 0.1 + 0.2


@given(matrix=DECREASING, rows=st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_the_error_is_that_of_prefix_sums_of_the_noise(matrix, rows):
    noise = np.tril(np.ones((rows, rows))) @ np.linalg.inv(dense(matrix, rows))
    assert matrix.error(rows) == pytest.approx(np.linalg.norm(noise) / math.sqrt(rows), rel=1e-9)


def test_the_error_of_independent_noise_and_of_the_whole_square_root_are_the_known_ones():
    """sqrt((T + 1) / 2); and sqrt of the mean over t of sum_{j<=t} c_j^2, about (ln t + 3.35) / pi."""
    assert INDEPENDENT.error(63) == pytest.approx(math.sqrt(32.0))
    c = square_root(256).coefficients
    assert square_root(256).error(256) == pytest.approx(math.sqrt(np.cumsum(c**2).mean()), rel=1e-5)
    # sum_{j<T} c_j^2 -> (ln T + gamma + 4 ln 2) / pi
    assert (c**2).sum() == pytest.approx(
        (math.log(256) + np.euler_gamma + 4 * math.log(2)) / math.pi, rel=1e-3
    )


@pytest.mark.parametrize(("rows", "separation"), [(20, 10), (40, 10), (64, 16), (100, 20)])
def test_at_one_epsilon_more_bands_leave_less_noise_in_prefix_sums(rows, separation):
    """The error times the sensitivity, both for k participations: k is the same and drops out."""
    errors = [
        square_root(bands).error(rows) * square_root(bands).spread(1.0) for bands in range(1, separation + 1)
    ]
    assert all(late < early for early, late in itertools.pairwise(errors))
    assert errors[-1] < 0.6 * errors[0]


def test_edge_one_band_is_the_identity():
    assert square_root(1) == INDEPENDENT
    assert INDEPENDENT.bands == 1
    assert INDEPENDENT.inverse(4).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert INDEPENDENT.growth(100) == 1.0


def test_guarantee_noise_does_not_grow_with_the_rounds():
    """All zeros of a decreasing sequence lie beyond the unit circle: the inverse dies away."""
    for bands in (2, 16, MOST_BANDS):
        matrix = square_root(bands)
        assert matrix.growth(2000) < 2.2
        assert matrix.growth(4000) - matrix.growth(2000) < 1e-2


@pytest.mark.parametrize(
    "numerators",
    [(), (ONE - 1,), (ONE, 0), (ONE, -1), (ONE, ONE), (ONE, 5, 6), (ONE, 5, 5), (ONE,) * (MOST_BANDS + 1)],
)
def test_coefficients_that_could_grow_without_end_are_refused(numerators):
    with pytest.raises(ValueError, match=r"^(bands|numerators)"):
        BandedToeplitz(numerators)


@pytest.mark.parametrize("bands", [0, -1, MOST_BANDS + 1])
def test_bands_out_of_range_are_refused(bands):
    with pytest.raises(ValueError, match=rf"^bands={bands} must lie between 1 and {MOST_BANDS}$"):
        square_root(bands)
