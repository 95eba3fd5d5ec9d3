import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant
from scipy.optimize import brentq
from scipy.stats import norm

from fedpriv.privacy import accounting, composition
from fedpriv.privacy.composition import Loss, greatest, spent, upper
from fedpriv.privacy.concentrated import epsilon_of
from fedpriv.privacy.discrete_gaussian import DISTANCE
from fedpriv.privacy.sum_plan import plan_sum

DELTA = 1e-5


def exact_gaussian(mean: float, delta: float) -> float:
    """Exact epsilon of N(0, 1) against N(mean, 1) (Balle, Wang 2018, arXiv 1805.06083, Theorem 8)."""

    def excess(epsilon: float) -> float:
        a, b = mean / 2.0, epsilon / mean
        return float(norm.cdf(a - b) - math.exp(epsilon + norm.logcdf(-a - b)) - delta)

    return float(brentq(excess, 0.0, 500.0, xtol=1e-10))


@pytest.mark.parametrize("history", [((1.1, 0.02, 300),), ((1.0, 0.1, 20), (2.0, 0.05, 7)), ((0.2, 1.0, 9),)])
def test_guarantee_sampled_gaussians_alone_cost_what_their_accountant_says(history):
    assert spent(Loss(history), DELTA) == accounting.spent(history, DELTA)


def test_guarantee_the_sums_of_a_run_alone_cost_what_its_plan_says():
    plan = plan_sum(
        clipping_norm=1.0, step=1e-3, dimension=500, contributors=4, rounds=9, delta=DELTA, epsilon=3.0
    )
    counts = [4, 5, 6, 4]
    loss = Loss((), math.fsum(plan.rho(count) for count in counts), sum(counts) * 500 * DISTANCE)
    assert spent(loss, DELTA).epsilon == pytest.approx(plan.spent(counts).epsilon, rel=1e-12)
    assert spent(loss, DELTA).accountant == "zcdp"


@settings(max_examples=40, deadline=None)
@given(noise=st.floats(0.5, 20.0), steps=st.integers(1, 30), rho=st.floats(0.001, 5.0))
def test_both_kinds_without_sampling_are_one_gaussian_and_the_bound_is_above_its_exact_epsilon(
    noise, steps, rho
):
    # steps of noise s are zCDP of steps / (2 s^2); a Gaussian of mean m has exactly m^2 / 2
    together = rho + steps / (2.0 * noise * noise)
    found = spent(Loss(((noise, 1.0, steps),), rho), DELTA)
    assert found.accountant == "rdp"
    assert exact_gaussian(math.sqrt(2.0 * together), DELTA) <= found.epsilon
    # orders end at 63, at which log(1/delta) alone costs 0.1
    assert found.epsilon <= epsilon_of(together, DELTA * (1 - 2**-10)) * 1.02 + 0.11


@settings(max_examples=25, deadline=None)
@given(
    noise=st.floats(0.05, 0.3),
    steps=st.integers(1, 9),
    rho=st.floats(0.0, 5.0),
    more=st.sampled_from([Loss(((0.2, 1.0, 3),)), Loss((), 0.5), Loss((), 0.0, 1e-30)]),
)
def test_guarantee_the_value_never_falls(noise, steps, rho, more):
    before = Loss(((noise, 1.0, steps),), rho)
    after = Loss(before.history + more.history, rho + more.rho, more.distance)
    for delta in (1e-5, 1e-2):
        assert spent(after, delta).epsilon >= spent(before, delta).epsilon - 1e-6


def test_guarantee_the_distance_of_samplers_is_covered():
    far = Loss((), 0.5, 1e-9)
    assert spent(far, DELTA).epsilon == math.inf
    near = spent(Loss((), 0.5, 1e-12), DELTA).epsilon
    assert near == pytest.approx(epsilon_of(0.5, DELTA * (1 - 2**-10)), rel=1e-6)
    assert (1 + math.exp(near)) * 1e-12 <= DELTA * 2**-10


def test_edge_nothing_costs_nothing():
    for nothing in (Loss(), Loss(((1.0, 0.5, 0),))):
        assert spent(nothing, DELTA).epsilon == 0.0
    assert greatest([], DELTA).epsilon == 0.0


@pytest.mark.parametrize(
    "loss",
    [Loss((), math.inf), Loss(((0.0, 0.5, 1),)), Loss(((1e-200, 0.5, 1),), 0.1), Loss(((1e-9, 0.5, 2),))],
)
def test_edge_no_noise_is_infinite(loss):
    assert spent(loss, DELTA).epsilon == upper(loss, DELTA) == math.inf
    assert spent(loss, DELTA).accountant == "none"


def test_edge_many_mechanisms_and_both_kinds_are_bounded_by_rdp(monkeypatch):
    monkeypatch.setattr(PRVAccountant, "get_epsilon", lambda *_args, **_kwargs: pytest.fail("PRV was asked"))
    many = tuple((1.5 + 0.01 * number, 1.0, 1) for number in range(composition.MOST_FOR_PRV + 1))
    found = spent(Loss(many), DELTA)
    assert (found.accountant, found.epsilon) == ("rdp", pytest.approx(accounting._rdp(many, DELTA), rel=1e-9))
    assert spent(Loss(((1.1, 0.02, 300),), 0.1), DELTA).accountant == "rdp"


@pytest.mark.parametrize(
    "mechanism", [(1e90, 0.5, 1), (1.0, 1e-90, 1), (1e90, 1e-90, 2**52), (1e-3, 1e-90, 1)]
)
def test_mechanisms_out_of_the_accountants_reach_end_all_the_same(mechanism):
    assert spent(Loss((mechanism,), 0.1), DELTA).epsilon >= spent(Loss((), 0.1), DELTA).epsilon - 0.01


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_delta_out_of_range_is_refused(delta):
    for loss in (Loss(), Loss(((1.0, 1.0, 1),)), Loss((), 1.0), Loss(((1.0, 1.0, 1),), 1.0)):
        with pytest.raises(ValueError, match="delta"):
            spent(loss, delta)


def test_the_greatest_is_the_greatest():
    losses = [Loss(((noise, 1.0, 1),)) for noise in (3.0, 1.0, 2.0)] + [Loss((), 0.01), Loss((), 0.3), Loss()]
    assert greatest(losses, DELTA) == max((spent(loss, DELTA) for loss in losses), key=lambda s: s.epsilon)
    assert greatest([*losses, Loss((), math.inf)], DELTA).epsilon == math.inf
