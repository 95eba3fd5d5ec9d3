"""The verdict: silent about what holds, loud about what does not, whatever zero and scale scores have."""

import math

import numpy as np
import pytest

from fedpriv.privacy import accounting
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.audit import epsilon_lower_bound
from fedpriv.privacy.audit_curve import gaussian, gaussian_epsilon, least_private_refuted
from fedpriv.privacy.audit_verdict import CONFIDENCE, curves_of_dp_sgd, curves_of_sums, judge
from fedpriv.privacy.plan import SamplePlan
from fedpriv.privacy.sum_plan import plan_sum

DELTA = 1e-5
SUMS = plan_sum(
    clipping_norm=1.0, step=2.0**-10, dimension=100, contributors=2, rounds=4, delta=DELTA, epsilon=3.0
)


def gaussian_run(mu, count, seed):
    """Scores of canaries that a mechanism of mu-Gaussian privacy lets through, and their coins."""
    random = np.random.default_rng(seed)
    included = random.random(count) < 0.5
    return included * mu + random.normal(size=count), included


def test_a_claim_that_holds_is_refuted_as_seldom_as_promised():
    mu = math.sqrt(4) / SUMS.noise_multiplier
    verdicts = [
        judge(*gaussian_run(mu, 400, seed), SUMS.spent([2] * 4), curves_of_sums(SUMS, 4))
        for seed in range(40)
    ]
    assert sum(each.refuted for each in verdicts) <= 4  # 0.05 x 40, and 1.4 deviations more
    assert np.mean([each.curve_bound for each in verdicts]) > 0.2 * 3.0


def test_a_claim_that_does_not_hold_is_refuted_by_both_bounds():
    scores, included = gaussian_run(100.0, 400, 0)
    found = judge(scores, included, SUMS.spent([2] * 4), curves_of_sums(SUMS, 4))
    assert found.refuted
    assert min(found.lower_bound, found.curve_bound) > found.claimed.epsilon
    # all guesses are right, but for the few that lie in the gap
    assert found.curve_bound <= found.most
    assert found.bound == max(found.lower_bound, found.curve_bound)


def test_neither_zero_nor_scale_of_the_scores_matter():
    scores, included = gaussian_run(2.0, 300, 1)
    claimed, curves = SUMS.spent([2] * 4), curves_of_sums(SUMS, 4)
    first, second = (judge(each, included, claimed, curves) for each in (scores, 1e-6 * scores + 1.0))
    assert first.ways == second.ways
    assert first.bound == second.bound > 0.0


def test_of_scores_that_say_nothing_nothing_is_proven():
    _, included = gaussian_run(1.0, 200, 3)
    found = judge(np.zeros(200), included, Spent(1.0, DELTA, "zcdp"), curves_of_sums(SUMS, 4))
    assert found.bound < 0.5
    assert not found.refuted


def test_curves_at_the_claimed_scale_have_the_epsilon_of_the_accountant():
    plan = SamplePlan(100, 0.25, 4, 1.2, 1.0, DELTA, None)
    curves = curves_of_dp_sgd(plan, 40)
    assert curves.epsilon(curves.scale, DELTA) == accounting.spent(((1.2, 0.25, 40),), DELTA).epsilon
    curves = curves_of_sums(SUMS, 4)
    exact = gaussian_epsilon(2.0 / SUMS.noise_multiplier, DELTA)
    assert curves.epsilon(curves.scale, DELTA) == pytest.approx(exact)
    # the accountant's is an upper bound on the same
    assert exact < SUMS.spent([2] * 4).epsilon < 1.5 * exact


def test_the_confidence_is_that_of_the_literature():
    assert CONFIDENCE == 0.95


def test_the_larger_bound_holds_with_the_confidence_that_is_told_for_each_is_judged_at_half_the_level():
    found = judge(*gaussian_run(2.0, 300, 1), SUMS.spent([2] * 4), curves_of_sums(SUMS, 4))
    level = (1.0 - CONFIDENCE) / 2.0
    assert found.lower_bound == pytest.approx(epsilon_lower_bound(found.ways, DELTA, 1.0 - level), abs=1e-9)
    assert 0.0 < found.lower_bound < epsilon_lower_bound(found.ways, DELTA, CONFIDENCE)

    def by_curve(level):
        return gaussian_epsilon(least_private_refuted(found.ways, gaussian, scale, level), DELTA)

    scale = curves_of_sums(SUMS, 4).scale
    assert found.curve_bound == by_curve(level)
    assert 0.0 < found.curve_bound < by_curve(2.0 * level)
