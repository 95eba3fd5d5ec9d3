"""Bounds against exact divergences of sums of discrete Gaussians, by convolution in one dimension."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from fedpriv.privacy.concentrated import epsilon_of, loss_of_sum
from tests.privacy.sums import pmf_of_sum


def renyi(pmf: np.ndarray, shift: int, order: float) -> float:
    """The Renyi divergence between the law and itself shifted, where both are above 1e-250."""
    p, q = pmf[shift:], pmf[:-shift]
    both = (p > 1e-250) & (q > 1e-250)
    logs = order * np.log(p[both]) + (1 - order) * np.log(q[both])
    return float(np.logaddexp.reduce(logs)) / (order - 1)


@pytest.mark.parametrize("deviation", [0.3, 0.5, 0.6, 0.8, 1.0, 1.5, 4.0])
@pytest.mark.parametrize("shares", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_guarantee_no_exact_divergence_exceeds_the_bound(deviation, shares, shift):
    pmf = pmf_of_sum(deviation**2, shares)
    rho = loss_of_sum(shift, 1, deviation**2, shares)
    for order in (1.001, 1.5, 2.0, 4.0, 10.0):
        assert renyi(pmf, shift, order) <= rho * order * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize("shares", [1, 3, 8])
def test_the_bound_is_tight_where_sigma_is_not_tiny(shares):
    exact = renyi(pmf_of_sum(16.0, shares), 3, 2.0)
    assert loss_of_sum(3, 1, 16.0, shares) * 2.0 <= exact * (1 + 1e-6)


def test_the_excess_of_sums_over_one_draw_is_real_for_tiny_sigma():
    """A sum of draws is no discrete Gaussian: the loss without tau would be claimed too low."""
    worst = max(
        renyi(pmf_of_sum(0.3**2, shares), 1, 2.0) / (1 / (shares * 0.3**2)) for shares in (2, 3, 4, 8)
    )
    assert worst > 1.05


@pytest.mark.parametrize("dimension", [1, 1000, 25_000_000])
def test_the_loss_in_many_dimensions_by_hand(dimension):
    # sigma 2: tau = 10 (e^-4pi^2 + e^-16pi^2/3) for three shares
    tau = 10 * (math.exp(-4 * math.pi**2) + math.exp(-16 * math.pi**2 / 3))
    scaled = 7.0 / math.sqrt(3 * 4.0)
    by_hand = min(
        scaled**2 / 2 + tau * dimension,
        (scaled**2 + 2 * scaled * tau * min(math.sqrt(dimension), 7.0) + tau**2 * dimension) / 2,
    )
    assert loss_of_sum(7.0, dimension, 4.0, 3) == pytest.approx(by_hand, rel=1e-12)


def test_short_integer_vectors_profit_from_their_l1_norm():
    # sigma 1, two shares: tau = 10 e^-pi^2; L1 is at most 2^2 = 4, not sqrt(10^4) * 2 = 200
    tau = 10 * math.exp(-(math.pi**2))
    by_hand = (2.0 + 2 * 4.0 * tau / math.sqrt(2) + tau**2 * 10_000) / 2
    assert by_hand < 2.0 / 2 + tau * 10_000
    assert loss_of_sum(2.0, 10_000, 1.0, 2) == pytest.approx(by_hand, rel=1e-12)
    # and long ones from sqrt(d): L1 is at most sqrt(9) * 30
    by_hand = (450.0 + 2 * 90.0 * tau / math.sqrt(2) + tau**2 * 9) / 2
    assert loss_of_sum(30.0, 9, 1.0, 2) == pytest.approx(min(by_hand, 225 + 9 * tau), rel=1e-12)


def test_edge_below_a_quarter_no_more_than_one_share_is_counted_on():
    """The theorem on sums asks for sigma of at least 1/2."""
    assert loss_of_sum(1.0, 1, 0.2499, 8) == 1 / (2 * 0.2499)
    assert loss_of_sum(1.0, 1, 0.25, 8) < 1 / (2 * 0.25)


@given(
    st.floats(0.1, 1e5),
    st.integers(1, 10**8),
    st.floats(0.01, 1e10),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_more_noise_never_costs_more(norm_bound, dimension, variance, fewer, more):
    losses = [loss_of_sum(norm_bound, dimension, variance, fewer + extra) for extra in (0, more)]
    assert losses[1] <= losses[0] <= norm_bound**2 / (2 * variance) * (1 + 1e-12)
    # below a quarter nothing is proven of sums, and the steps there may be large
    if variance >= 0.25:
        assert loss_of_sum(norm_bound, dimension, 2 * variance, fewer) <= losses[0]


def test_edge_no_noise_costs_infinity():
    assert loss_of_sum(1.0, 10, 4.0, 0) == math.inf
    assert epsilon_of(math.inf, 1e-5) == math.inf
    assert epsilon_of(0.0, 1e-5) == 0.0


@pytest.mark.parametrize("rho", [1e-6, 1e-3, 0.1, 0.5, 3.0, 50.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-10])
def test_epsilon_lies_between_the_exact_gaussian_and_the_simple_formula(rho, delta):
    """The Gaussian of loss rho is rho-concentrated: its exact delta is a lower bound."""
    epsilon = epsilon_of(rho, delta)
    mu = math.sqrt(2 * rho)
    exact = norm.sf(epsilon / mu - mu / 2) - math.exp(epsilon + norm.logsf(epsilon / mu + mu / 2))
    assert exact <= delta
    assert epsilon <= rho + 2 * math.sqrt(rho * math.log(1 / delta)) * (1 + 1e-8)
    # and no worse than a search over single orders, done otherwise
    orders = 1 + np.geomspace(1e-4, 1e7, 20_000)
    best = min(rho * a + (math.log(1 / delta) - math.log(a)) / (a - 1) + math.log(1 - 1 / a) for a in orders)
    assert epsilon == pytest.approx(max(0.0, best), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(("rho", "delta"), [(-1.0, 0.1), (math.nan, 0.1), (1.0, 0.0), (1.0, 1.0)])
def test_values_out_of_range_are_refused(rho, delta):
    with pytest.raises(ValueError, match=r"^(rho|delta)="):
        epsilon_of(rho, delta)
