"""Zero-concentrated differential privacy of sums of discrete Gaussians, and what epsilon it gives.

Sources: Canonne, Kamath, Steinke 2020, arXiv 2004.00010; Kairouz, Liu, Steinke 2021, arXiv
2102.06387. Losses (rho) of rounds add up, also where a round is chosen after the ones before (Bun and
Steinke 2016, arXiv 1605.02065).
"""

import math

import numpy as np

ARITHMETIC = 1.0 + 1e-9
"""Bounds are raised by this factor, more than their floating-point arithmetic can lose."""


def loss_of_sum(norm_bound: float, dimension: int, variance: float, shares: int) -> float:
    """Return rho of the zero-concentrated privacy of a sum with ``shares`` discrete Gaussians.

    For n shares of sigma^2 >= 1/4, with s = norm_bound / (sqrt(n) sigma) and
    tau = 10 sum_{k=1}^{n-1} exp(-2 pi^2 sigma^2 k / (k+1)), rho is the smaller of s^2 / 2 + tau d and
    (s^2 + 2 s tau min(sqrt(d), norm_bound) + tau^2 d) / 2 (Kairouz et al. 2021, Proposition 14;
    integers have an L1 norm of at most the square of their L2 norm). For one share tau is 0, whatever
    sigma (Canonne et al. 2020, multivariate discrete Gaussian). Noise beyond n shares is independent of
    the data, so that every bound for at most ``shares`` of them holds; the least is returned.

    Guarantee:
        - No Renyi divergence of order a between sums that far apart exceeds rho a.
        - More shares never cost more.

    Edge cases:
        - sigma^2 below 1/4: no more than one share is counted on, for the theorem on sums asks for it.
        - no share at all costs infinity.

    Args:
        norm_bound: L2 sensitivity, in steps.
        dimension: d.
        variance: sigma^2 of one share, in squared steps.
        shares: independent draws in the sum; 0 gives infinity.
    """
    if shares < 1:
        return math.inf
    count = np.arange(1, shares + 1, dtype=np.float64)
    excess = 10.0 * np.exp(-2.0 * math.pi**2 * variance * (count - 1.0) / count)
    excess[0] = 0.0
    tau = np.cumsum(excess)
    if variance < 0.25:
        tau[1:] = math.inf
    scaled = norm_bound / np.sqrt(count * variance)
    l1_over_l2 = min(math.sqrt(dimension), norm_bound)
    additive = scaled**2 / 2.0 + tau * dimension
    mixed = (scaled**2 + 2.0 * scaled * l1_over_l2 * tau + tau**2 * dimension) / 2.0
    return float(min(additive.min(), mixed.min()))


def epsilon_of(rho: float, delta: float) -> float:
    """Return an epsilon for which ``rho``-zero-concentrated privacy is (epsilon, delta)-private.

    Guarantee:
        - It is at least the exact epsilon of the Gaussian mechanism of that rho, and rises with rho.

    Edge cases:
        - rho 0 costs nothing, an infinite rho costs infinity.
        - where delta alone covers the loss, epsilon is 0.

    The least over orders a > 1 of
    rho a + (log(1/delta) - log a) / (a - 1) + log(1 - 1/a)
    (Canonne et al. 2020, Proposition 12 and Corollary 13), taken over a fine grid: every order gives
    a valid bound.

    Raises:
        ValueError: when delta does not lie between 0 and 1, or rho is negative.
    """
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta={delta} must lie between 0 and 1")
    if not rho >= 0.0:
        raise ValueError(f"rho={rho} must not be negative")
    if rho in (0.0, math.inf):
        return rho
    # near sqrt(log(1/delta) / rho) above 1 lies the best order
    beyond = math.sqrt(math.log(1.0 / delta) / rho) * np.geomspace(1e-3, 1e3, 6001)
    order = 1.0 + beyond
    bounds = (
        rho * order + (math.log(1.0 / delta) - np.log(order)) / beyond + np.log(beyond / order)
    ) * ARITHMETIC
    return max(0.0, float(bounds.min()))
