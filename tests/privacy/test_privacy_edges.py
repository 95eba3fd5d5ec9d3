"""Lines of "Guarantee" and "Edge cases" that no other test of a module proves, one test each."""

import math

import numpy as np
import pytest
import scipy.fft
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant
from scipy.optimize import brentq
from scipy.stats import binom, norm

from fedpriv.privacy import accounting, composition
from fedpriv.privacy.account import account_of
from fedpriv.privacy.accounting import LEAST_DELTA_FOR_PRV, extend, spent
from fedpriv.privacy.charge import Charge, Concentrated, Record, SampledGaussian
from fedpriv.privacy.composition import Loss
from fedpriv.privacy.concentrated import epsilon_of
from fedpriv.privacy.dp_sgd import poisson_sample
from fedpriv.privacy.example_set import of_digests, of_images
from fedpriv.privacy.exposure import Exposure, loss_of
from fedpriv.privacy.noise import FastSource, SecureSource
from fedpriv.privacy.overlap import Overlap
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client

DELTA = 1e-5
SHARE = of_digests(np.arange(3, dtype=np.uint64))


def exact_gaussian(mu, delta):
    """Exact epsilon of mu-Gaussian privacy (Balle, Wang 2018, arXiv 1805.06083), in logarithms: any delta."""

    def excess(epsilon):
        one, other = norm.logcdf(mu / 2 - epsilon / mu), epsilon + norm.logcdf(-mu / 2 - epsilon / mu)
        return one + math.log(-math.expm1(other - one)) - math.log(delta)

    return brentq(excess, 1e-9, 700.0, xtol=1e-12)


# accounting


@pytest.mark.parametrize("delta", [LEAST_DELTA_FOR_PRV, 1e-11, 1e-12, 1e-15])
@pytest.mark.parametrize(("steps", "mu"), [(1_000, 5.0), (10_000, 1.0), (100_000, 0.2)])
def test_guarantee_at_no_delta_is_the_value_below_the_exact_epsilon(steps, mu, delta):
    """Steps without sampling are one Gaussian. PRV alone is 0.02 to 0.07 below it in some of these."""
    found = spent(((math.sqrt(steps) / mu, 1.0, steps),), delta)
    assert exact_gaussian(mu, delta) <= found.epsilon <= 1.1 * exact_gaussian(mu, delta) + 0.1


def test_edge_below_the_least_delta_prv_is_not_even_tried(monkeypatch):
    spent.cache_clear()
    monkeypatch.setattr(PRVAccountant, "get_epsilon", lambda *_args, **_kwargs: pytest.fail("PRV was asked"))
    assert spent(((5.0, 0.1, 100),), LEAST_DELTA_FOR_PRV / 2).accountant == "rdp"


def deltas(noise, rate, steps, epsilons):
    """Upper bounds on delta, of an example added and of one removed: losses rounded up and convolved."""
    half = 1 << 17
    step = 40.0 / half
    losses = np.arange(-half, half) * step
    upper, lower = losses, losses - step

    def point(loss):
        """Where the mixture's density over the other's is e^loss."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return noise**2 * np.log((np.exp(loss) - (1 - rate)) / rate) + 0.5

    reachable = math.log1p(-rate)
    at = {end: np.where(edge > reachable, point(edge), -np.inf) for end, edge in (("u", upper), ("l", lower))}
    removed = sum(
        weight * (norm.cdf((at["u"] - mean) / noise) - norm.cdf((at["l"] - mean) / noise))
        for weight, mean in ((1 - rate, 0.0), (rate, 1.0))
    )
    ends = [np.where(-edge > reachable, point(-edge), -np.inf) for edge in (upper, lower)]
    added = norm.cdf(ends[1] / noise) - norm.cdf(ends[0] / noise)
    found = []
    for masses in (added, removed):
        spectrum = scipy.fft.rfft(np.roll(masses, -half).astype(np.longdouble))
        composed = np.roll(scipy.fft.irfft(spectrum**steps), half)
        found.append(
            [float(-(composed * np.expm1(np.minimum(0.0, epsilon - losses))).sum()) for epsilon in epsilons]
        )
    return np.array(found)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 0.1, 20), (0.8, 0.5, 3), (1.1, 0.02, 60)])
def test_guarantee_neighbours_have_an_example_added_or_removed(noise, rate, steps):
    """PRV computes the removal only, which is proven to cost more for one step; here for several."""
    for delta in (1e-2, 1e-5):
        epsilon = spent(((noise, rate, steps),), delta).epsilon
        claimed, lower = deltas(noise, rate, steps, [epsilon, 0.9 * epsilon]).T
        assert (claimed <= delta).all()
        assert lower.max() > delta


@settings(max_examples=6, deadline=None)
@given(
    noise=st.floats(0.5, 20.0),
    rate=st.floats(0.001, 1.0),
    steps=st.integers(1, 60),
    more=st.tuples(st.floats(0.5, 100.0), st.floats(1e-4, 1.0), st.integers(1, 3)),
    delta=st.floats(1e-8, 1e-2),
)
def test_guarantee_the_value_falls_by_no_more_than_a_thousandth(noise, rate, steps, more, delta):
    before = spent(((noise, rate, steps),), delta)
    after = spent(extend(((noise, rate, steps),), more), delta)
    assert after.epsilon >= before.epsilon - 1e-3


# composition


def test_guarantee_no_unit_has_spent_more_than_the_greatest_and_an_infinite_one_decides():
    losses = [Loss(((noise, 1.0, 1),)) for noise in (0.3, 0.2)] + [Loss(rho=rho) for rho in (0.1, 4.0)]
    for count in range(1, 5):
        best = composition.greatest(losses[:count], DELTA).epsilon
        assert best == max(composition.spent(loss, DELTA).epsilon for loss in losses[:count])
    assert composition.greatest([*losses, Loss(((0.0, 1.0, 1),))], DELTA).epsilon == math.inf


def test_edge_an_epsilon_that_is_no_number_allows_nothing_but_to_nobody():
    assert not composition.within([Loss(rho=1e-9)], math.nan, DELTA)
    assert not composition.within([Loss()], math.nan, DELTA)
    assert composition.within([], math.nan, DELTA)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 50.0), st.floats(1.0, 3.0), st.sampled_from([1e-9, 1e-5, 0.1]))
def test_guarantee_the_epsilon_of_rho_rises_with_it(rho, factor, delta):
    assert epsilon_of(rho, delta) <= epsilon_of(rho * factor, delta) * (1 + 1e-9)


def test_edge_where_delta_alone_covers_a_concentrated_loss_epsilon_is_zero():
    # a Gaussian of rho has a total variation of 2 Phi(sqrt(rho / 2)) - 1 to its neighbour
    assert 2.0 * norm.cdf(math.sqrt(1e-6 / 2.0)) - 1.0 < 0.5
    assert epsilon_of(1e-6, 0.5) == 0.0
    assert epsilon_of(1.0, 0.5) > 0.0


# exposure


CHARGES = st.lists(
    st.tuples(
        st.sampled_from([Concentrated(0.1, 1e-20), Concentrated(0.7), SampledGaussian(2.0, 0.1, 3)]),
        st.sampled_from(["a", "b"]),
        st.integers(1, 2),
    ),
    min_size=1,
    max_size=5,
)


def exposed(charges):
    made = Exposure(SHARE)
    for mechanism, run, number in charges:
        made = made.with_charge(Charge(SHARE, mechanism, run, number, DELTA))
    return made


@settings(max_examples=80, deadline=None)
@given(CHARGES, CHARGES)
@example(
    [(Concentrated(rho), "a", 1) for rho in (0.1, 0.7)], [(Concentrated(rho), "a", 1) for rho in (0.1, 0.7)]
)
def test_guarantee_a_loss_has_no_order_and_never_falls(one, two):
    factors = (1.0, 2.0)
    loss = loss_of(list(zip((exposed(one), exposed(two)), factors, strict=True)), "sample")
    other = loss_of([(exposed(two), 2.0), (exposed(one[::-1]), 1.0)], "sample")
    assert other.history == loss.history
    assert (other.rho, other.distance) == pytest.approx((loss.rho, loss.distance), rel=1e-12)
    less = loss_of([(exposed(one[:-1]), 1.0), (exposed(two), 2.0)], "sample")
    assert less.rho <= loss.rho * (1 + 1e-12)
    assert less.distance <= loss.distance * (1 + 1e-12)
    assert sum(steps for *_, steps in less.history) <= sum(steps for *_, steps in loss.history)


def test_edge_no_shares_have_lost_nothing():
    assert loss_of([], "sample") == loss_of([], "client") == Loss()


def test_edge_one_infinite_loss_makes_the_whole_infinite():
    parts = [(exposed([(Concentrated(rho), "a", 1)]), 2.0) for rho in (0.1, math.inf, 9e99)]
    assert loss_of(parts, "sample").rho == math.inf
    assert loss_of(parts[::2], "sample").rho < math.inf


def test_edge_a_clock_that_goes_backwards_changes_no_loss():
    made = []
    for times in (("2026-01-01", "2026-01-02"), ("2026-01-02", "2025-12-31")):
        made.append(Exposure(SHARE))
        for number, time in enumerate(times):
            made[-1].add(Record(SHARE.identity, Concentrated(0.1), "r", number, "eyes", time))
        assert (made[-1].first, made[-1].last) == times
    assert loss_of([(made[0], 1.0)], "client") == loss_of([(made[1], 1.0)], "client")


# account


def test_guarantee_no_text_of_an_account_makes_a_terminal_do_anything():
    made, hostile = Exposure(SHARE), "\x1b[2J\x07\r\n\u202e\x9b31m" + "x" * 500
    made.add(Record(SHARE.identity, Concentrated(0.1), hostile, 1, hostile, hostile))
    account = account_of(made)
    for text in (*account.names, *account.runs, account.first, account.last):
        assert text.isprintable()
        assert 0 < len(text) <= 80


def test_edge_data_without_a_name_have_none():
    made = Exposure(SHARE)
    made.add(Record(SHARE.identity, Concentrated(0.1), "r", 1, "", "now"))
    assert account_of(made).names == ()


# overlap


def test_edge_copies_count_once_and_no_examples_make_no_combination():
    def share(*digests):
        return of_digests(np.array(digests, np.uint64))

    overlap = Overlap([share(1, 1, 2), share(2, 2)])
    assert overlap.combinations(share(2, 2, 2)) == {(0, 1)}
    assert overlap.touching(share(2, 2)) == {0: False, 1: True}
    assert overlap.combinations(share(9)) == {()}
    assert overlap.combinations(share()) == set()
    assert overlap.touching(share()) == {}
    assert Overlap([]).combinations(share(1)) == {()}


# example sets


def test_edge_no_images_are_an_empty_set_and_nothing_can_be_charged_to_it():
    empty = of_images(np.zeros((0, 1, 4, 4), np.uint8))
    assert len(empty) == 0
    with pytest.raises(ValueError, match="no examples"):
        Charge(empty, Concentrated(0.1), "r", 1, DELTA)


# sampling and noise


@pytest.mark.parametrize("make", [SecureSource, lambda: FastSource(4, "sizes")], ids=["secure", "fast"])
def test_guarantee_sample_sizes_are_binomial_and_one_says_nothing_of_the_next(make):
    plan, source = SamplePlan(30, 0.2, 1, 1.0, 1.0, DELTA, None), make()
    samples = [poisson_sample(plan, source) for _ in range(6000)]
    sizes = np.array([len(sample) for sample in samples])
    for size in range(2, 11):
        chance = binom.pmf(size, 30, 0.2)
        bounds = binom.ppf([1e-8, 1 - 1e-8], len(sizes), chance)
        assert bounds[0] <= np.count_nonzero(sizes == size) <= bounds[1]
    again = sum(len(np.intersect1d(a, b)) for a, b in zip(samples[::2], samples[1::2], strict=True))
    assert binom.ppf(1e-8, 3000 * 30, 0.04) <= again <= binom.isf(1e-8, 3000 * 30, 0.04)
    assert all((np.diff(sample) > 0).all() for sample in samples)


def test_edge_one_example_and_a_batch_larger_than_the_data_claim_no_amplification():
    for examples, batch in ((1, 1), (1, 64), (7, 64)):
        plan = plan_for_client(PrivacySettings(None, DELTA, 3.0, 1.0), examples, batch, 1.0, 2)
        assert (plan.sample_rate, plan.expected_batch, plan.steps_per_round) == (1.0, examples, 1)
        assert len(poisson_sample(plan, SecureSource())) == examples
        assert plan.spent(plan.after_round(())).epsilon >= exact_gaussian(1 / 3.0, DELTA)


def test_edge_no_examples_cannot_be_planned_for():
    with pytest.raises(ValueError, match="examples=0 must be positive"):
        plan_for_client(PrivacySettings(None, DELTA, 3.0, 1.0), 0, 8, 1.0, 2)


@pytest.mark.parametrize("epochs", [1.0, 3.0, 0.7, 1 / 3])
@pytest.mark.parametrize(("examples", "batch"), [(49, 7), (100, 3), (788, 32), (10**6, 333)])
def test_steps_are_never_fewer_than_the_passes_asked_for_and_what_is_done_is_accounted(
    examples, batch, epochs
):
    """Dividing by a rounded rate may give one step more than the quotient: it is taken and counted alike."""
    plan = plan_for_client(PrivacySettings(None, DELTA, 1.0, 1.0), examples, batch, epochs, 1)
    whole = math.ceil(epochs * examples / batch - 1e-9)
    assert plan.steps_per_round in (whole, whole + 1)
    assert plan.after_round(()) == ((1.0, plan.sample_rate, plan.steps_per_round),)
    assert plan.sample_rate == batch / examples


def test_a_history_of_the_largest_numbers_ends_in_a_bound_or_infinity_and_never_in_an_error():
    for history in (((1e308, 1.0, 2**52),), ((1e-308, 1.0, 1),), ((1.0, 5e-324, 2**52), (2.0, 1.0, 1))):
        assert spent(history, DELTA).epsilon >= 0.0
    assert not math.isnan(accounting.spent(((math.nan, 0.1, 1),), DELTA).epsilon)
