import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fedpriv.he.packing import plan_packing, quantise
from fedpriv.privacy.adaptive_clipping import (
    COST,
    REACH,
    VOTE,
    AdaptiveClipping,
    clip_with_vote,
    read_sum,
    vote_of,
)
from fedpriv.privacy.noise import FastSource
from fedpriv.privacy.sum_plan import SumPlan, plan_sum, sensitivity
from tests.privacy.sums import pmf_of_sum

STEP = 2.0**-10


def plan(size=6, clients=4, step=STEP, vote=True, **changed) -> SumPlan:
    given = {
        "clipping_norm": 1.0,
        "step": step,
        "dimension": size + vote,
        "contributors": clients,
        "rounds": 5,
        "delta": 1e-5,
        "noise_multiplier": 1.0,
        "vote": vote_of(1.0, step) if vote else 0,
    }
    return plan_sum(**given | changed)


def of_norm(length, size=6, seed=0):
    direction = np.random.default_rng(seed).normal(size=size)
    return (direction * (length / np.linalg.norm(direction))).astype(np.float32)


# the rule


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("start", [1e-2, 1.0, 1e2])
def test_without_noise_the_norm_comes_to_rest_at_the_quantile_from_anywhere(quantile, start):
    norms = np.random.default_rng(1).lognormal(sigma=0.7, size=500)
    rule, norm = AdaptiveClipping(start, quantile), start
    for _ in range(400):
        norm = rule.next(norm, float(np.mean(norms <= norm)))
    below, above = np.quantile(norms, [quantile - 0.01, quantile + 0.01])
    assert below <= norm <= above


def test_through_votes_and_sums_it_comes_to_rest_there_too():
    norms = np.linspace(0.02, 0.08, 21)
    updates = [of_norm(length, seed=number) for number, length in enumerate(norms)]
    rule, norm, made = AdaptiveClipping(1.0), 1.0, plan(clients=21)
    for _ in range(120):
        total = sum(clip_with_vote(update, norm, made).astype(float) for update in updates)
        _, within = read_sum(total, norm, made, len(updates))
        assert within == pytest.approx(np.mean(norms <= norm))
        norm = rule.next(norm, within)
    assert norm == pytest.approx(np.median(norms), rel=0.05)


def test_a_round_moves_it_by_the_formula():
    rule = AdaptiveClipping(1.0, 0.5, 0.2)
    assert rule.next(2.0, 1.0) == pytest.approx(2.0 * math.exp(-0.1))
    assert rule.next(2.0, 0.0) == pytest.approx(2.0 * math.exp(0.1))
    assert rule.next(2.0, 0.5) == 2.0
    assert AdaptiveClipping(1.0, 0.9, 0.3).next(1.0, 0.0) == pytest.approx(math.exp(0.27))


@pytest.mark.parametrize("within", [-1e300, -math.inf, -3.0, 4.0, math.inf, 1e300])
def test_guarantee_no_votes_move_it_by_more_than_one_factor_or_out_of_its_bounds(within):
    rule = AdaptiveClipping(0.5, 0.5, 0.7)
    assert abs(math.log(rule.next(0.5, within) / 0.5)) <= 0.7 * (1 + 1e-12)
    norm = 0.5
    for _ in range(50):
        norm = rule.next(norm, within)
        assert rule.holds(norm)
    assert norm in (0.5 * REACH, 0.5 / REACH)


def test_a_fraction_that_is_none_leaves_it():
    assert AdaptiveClipping(1.0).next(0.3, math.nan) == 0.3


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf, 0.999e-3, 1.001e3])
def test_no_round_has_a_norm_out_of_the_bounds(norm):
    rule = AdaptiveClipping(1.0)
    assert not rule.holds(norm)
    assert rule.holds(1e-3)
    assert rule.holds(1e3)


@pytest.mark.parametrize(
    ("given", "named"),
    [((value,), "clipping_norm") for value in (0.0, -1.0, math.nan, math.inf)]
    + [((1.0, value), "target_quantile") for value in (0.0, 1.0, math.nan)]
    + [((1.0, 0.5, value), "clipping_rate") for value in (0.0, -1.0, 7.0, math.nan, math.inf)],
)
def test_values_out_of_range_are_refused_by_name(given, named):
    with pytest.raises(ValueError, match=rf"^{named}="):
        AdaptiveClipping(*given)


# vote and sum


@pytest.mark.parametrize("norm", [1e-3, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("ratio", [1e-3, 0.5, 0.999, 1.001, 2.0, 1e5])
def test_what_is_sent_is_the_clipped_update_in_units_of_the_norm_with_its_vote(norm, ratio):
    made, update = plan(), of_norm(ratio * norm)
    sent = clip_with_vote(update, norm, made)
    clipped = update * min(1.0, 1.0 / ratio)
    np.testing.assert_allclose(sent[:-1], clipped / norm, rtol=1e-5)
    assert sent[-1] / STEP == (made.vote if ratio < 1 else -made.vote)
    updates, within = read_sum(sent.astype(float), norm, made, 1)
    np.testing.assert_allclose(updates, clipped, rtol=1e-5)
    assert within == (1.0 if ratio < 1 else 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_edge_what_is_not_finite_stays_so_for_the_codec_to_refuse(bad):
    update = np.array([3e38, bad, 1.0, 0.0, 0.0, 0.0], np.float32)
    assert not np.isfinite(clip_with_vote(update, 1e-3, plan())).all()


@pytest.mark.parametrize("value", [3e38, 1e-45, 0.0])
def test_edge_extreme_updates_stay_within_the_norm(value):
    sent = clip_with_vote(np.full(6, value, np.float32), 1e-3, plan())
    assert np.linalg.norm(sent[:-1].astype(float)) <= 1.0 + 1e-6


# what it costs


def integers(update, norm, made, packing, random):
    """What a client's integers are, noise apart."""
    levels, _ = quantise(clip_with_vote(update, norm, made), packing, random, made.norm_bound)
    return levels.astype(np.int64) - packing.offset


def test_the_sum_is_no_more_sensitive_than_planned_whatever_norm_the_server_names():
    """By brute force: all sets of five clients that differ in one, for norms near and far from theirs."""
    packing = plan_packing(11, 8, value_range=1.0)
    size, random, largest = 5, np.random.default_rng(0), 0.0
    made = plan(size, 1, packing.step)
    for norm in (1e-3, 0.2, 1.0, 30.0):
        sent = [
            integers(of_norm(length, size, seed), norm, made, packing, random)
            for seed, length in enumerate([1e-4, 0.2 * (1 - 1e-6), 0.21, 1.0, 500.0])
        ]
        for count in range(1, 6):
            for chosen in itertools.combinations(range(5), count):
                whole = sum(sent[client] for client in chosen)
                for gone in chosen:
                    less = sum((sent[each] for each in chosen if each != gone), np.zeros(size + 1, np.int64))
                    largest = max(largest, float(np.linalg.norm(whole - less)))
    assert largest <= made.norm_bound
    # the bound is no idle one, and one for the update alone would not hold
    assert largest > 0.99 * made.norm_bound
    assert largest > sensitivity(1.0 / packing.step, size + 1)


def test_planted_votes_that_are_not_paid_for_are_refused_by_the_rounding():
    packing = plan_packing(11, 8, value_range=1.0)
    made = plan(5, 1, packing.step)
    unpaid = replace(made, vote=0)
    update, random = of_norm(0.9999, 5), np.random.default_rng(0)
    assert len(integers(update, 1.0, made, packing, random)) == 6
    with pytest.raises(ValueError, match="too long for a bound"):
        quantise(clip_with_vote(update, 1.0, made), packing, random, unpaid.norm_bound)


def test_the_claim_covers_the_exact_loss_of_update_and_vote_together():
    """Two coordinates, 3 steps of update and 3 of vote, each with the noise of two clients."""
    made = SumPlan(2.42, 1.0, 2, "clients", 2, 1, 1e-5, Fraction(36), vote=3)
    assert made.norm_bound >= math.hypot(3, 3)
    one = pmf_of_sum(36.0, 2)
    p, q = np.pad(one, (0, 3)), np.pad(one, (3, 0))

    def exact_delta(epsilon):
        return np.maximum(np.outer(p, p) - math.exp(epsilon) * np.outer(q, q), 0).sum()

    assert exact_delta(made.spent([2]).epsilon) <= 1e-5
    assert exact_delta(0.6 * made.spent([2]).epsilon) > 1e-5
    # planted: the update's vote comes for nothing
    free = SumPlan(2.42, 1.0, 1, "clients", 2, 1, 1e-5, Fraction(36))
    assert exact_delta(free.spent([2]).epsilon) > 1e-5


@pytest.mark.parametrize("target", [{"noise_multiplier": 2.0}, {"epsilon": 3.0, "noise_multiplier": None}])
@pytest.mark.parametrize("where", ["clients", "server"])
def test_adaptive_clipping_costs_five_percent_more_noise_and_no_epsilon(target, where):
    fine = {"step": 2.0**-15, "where": where, "size": 1000, **target}
    fixed, adaptive = plan(vote=False, **fine), plan(**fine)
    assert math.sqrt(adaptive.variance / fixed.variance) == pytest.approx(1.0 + COST, rel=1e-3)
    assert adaptive.spent([4] * 5).epsilon == pytest.approx(fixed.spent([4] * 5).epsilon, rel=1e-3)


def test_the_split_of_the_noise_is_that_of_the_paper():
    """Theorem 1 of Andrew et al.: z_delta = (z^-2 - (2 sigma_b)^-2)^-1/2, votes of 0 and 1, norms of 1."""
    made = plan(size=1000, step=2.0**-15, noise_multiplier=2.0)
    deviation = math.sqrt(made.contributors * made.variance)
    z_delta = deviation * made.step / made.clipping_norm
    sigma_b = deviation / (2 * made.vote)
    assert z_delta == pytest.approx((2.0**-2 - (2 * sigma_b) ** -2) ** -0.5, rel=1e-3)


@pytest.mark.parametrize("answered", [4, 9])
def test_the_noise_on_the_fraction_is_what_is_said_of_it(answered):
    made = plan(noise_multiplier=1.5)
    source = FastSource(3)
    noise = sum(made.draw(3000, source) for _ in range(answered)) * STEP
    found = [read_sum(np.append(np.zeros(6), each), 1.0, made, answered)[1] for each in noise]
    # sigma / (2 w n): planned for four answers, each of which brings a share
    said = 1.5 * (1 + COST) / (2 * VOTE) * math.sqrt(answered / 4) / answered
    assert np.mean(found) == pytest.approx(0.5, abs=6 * said / math.sqrt(3000))
    assert np.std(found) == pytest.approx(said, rel=0.06)
    assert round((1 + COST) / (2 * VOTE), 2) == 1.64


def test_a_negative_vote_is_refused():
    with pytest.raises(ValueError, match=r"^vote=-1 must not be negative"):
        replace(plan(), vote=-1)
