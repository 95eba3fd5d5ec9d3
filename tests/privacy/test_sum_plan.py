import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from fedpriv.config.privacy import sum_plan_of
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.concentrated import epsilon_of, loss_of_sum
from fedpriv.privacy.discrete_gaussian import DISTANCE
from fedpriv.privacy.noise import FastSource, SecureSource
from fedpriv.privacy.sum_plan import SumPlan, plan_sum, sensitivity
from tests.privacy.sums import pmf_of_sum

DELTA = 1e-5
# one coordinate, whole steps: integers of norm at most 3.0036, so a sensitivity of exactly 3
NORM = 2.42


def plan(**changed) -> SumPlan:
    given = {
        "clipping_norm": 1.0,
        "step": 2.0**-15,
        "dimension": 10_000,
        "contributors": 8,
        "rounds": 20,
        "delta": DELTA,
        "noise_multiplier": 1.0,
    }
    if "epsilon" in changed:
        given.pop("noise_multiplier")
    return plan_sum(**given | changed)


def small(contributors: int, variance: Fraction = Fraction(16), where: str = "clients") -> SumPlan:
    made = SumPlan(NORM, 1.0, 1, where, contributors, 2, DELTA, variance)
    assert math.floor(made.norm_bound) == 3
    return made


def exact_delta(pmf: np.ndarray, epsilon: float, shift: int = 3) -> float:
    """The least delta of one release, exact: sum of what one law has above e^epsilon of the other."""
    p, q = np.pad(pmf, (0, shift)), np.pad(pmf, (shift, 0))
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum())


@pytest.mark.parametrize("shares", [1, 2, 3, 5, 8, 20])
@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-9])
def test_guarantee_the_claim_covers_the_exact_loss_of_a_distributed_sum(shares, delta):
    claimed = replace(small(shares), delta=delta).spent([shares]).epsilon
    assert exact_delta(pmf_of_sum(16.0, shares), claimed) <= delta
    # the claim is no idle one: an epsilon 40 % lower would be false
    assert exact_delta(pmf_of_sum(16.0, shares), 0.6 * claimed) > delta


@pytest.mark.parametrize("variance", [Fraction(1, 16), Fraction(1, 4), Fraction(1, 2), Fraction(1)])
@pytest.mark.parametrize("shares", [1, 2, 4, 8])
def test_guarantee_the_claim_covers_sums_of_tiny_shares(variance, shares):
    claimed = small(shares, variance).spent([shares]).epsilon
    assert claimed == math.inf or exact_delta(pmf_of_sum(float(variance), shares), claimed) <= DELTA


def test_a_planted_bug_noise_for_those_asked_instead_of_those_who_answered_breaks_the_claim():
    asked, answered = 8, 4
    variance = Fraction(16 * 4, asked)  # enough for a loss of 9 / 128 if all eight add their share
    planned = small(asked, variance)
    claimed = planned.spent([asked]).epsilon
    assert exact_delta(pmf_of_sum(float(variance), asked), claimed) <= DELTA
    real = pmf_of_sum(float(variance), answered)
    assert exact_delta(real, claimed) > DELTA
    # the plan refuses such a round, and would account for it as what it is
    assert not planned.may_release((), answered)
    assert exact_delta(real, planned.spent([answered]).epsilon) <= DELTA


def test_guarantee_two_rounds_together_are_covered():
    """The exact loss of two releases, over all pairs of outcomes."""
    pmf = pmf_of_sum(16.0, 3)
    p, q = np.pad(pmf, (0, 3)), np.pad(pmf, (3, 0))
    claimed = small(3).spent([3, 3]).epsilon
    both = np.maximum(np.outer(p, p) - math.exp(claimed) * np.outer(q, q), 0).sum()
    alone = small(3).spent([3]).epsilon
    assert both <= DELTA
    assert np.maximum(np.outer(p, p) - math.exp(alone) * np.outer(q, q), 0).sum() > DELTA


def test_guarantee_the_server_s_noise_is_covered():
    planned = small(1, where="server")
    claimed = planned.spent([5]).epsilon
    assert claimed == planned.spent([1000]).epsilon
    assert exact_delta(pmf_of_sum(16.0, 1), claimed) <= DELTA


@pytest.mark.parametrize(("norm", "dimension"), [(0.5, 1), (3.0, 4), (2.0, 400), (100.0, 50), (40.0, 3000)])
def test_rounding_exceeds_the_sensitivity_no_more_often_than_was_proven(norm, dimension):
    """Random rounding passes with probability 1 - e^-1/2 at least; whole-vector norms cannot pass at all."""
    random = np.random.default_rng(dimension)
    bound = sensitivity(norm, dimension)
    assert norm < bound <= norm + math.sqrt(dimension)
    for direction in (
        np.ones(dimension),
        random.normal(size=dimension),
        np.eye(1, dimension)[0],
        random.random(dimension) ** 9,
    ):
        vector = direction * (norm / np.linalg.norm(direction))
        rounded = np.floor(vector + random.random((2000, dimension)))
        norms = np.linalg.norm(rounded, axis=1)
        assert norms.max() <= norm + math.sqrt(dimension)
        passed = np.mean(norms <= bound)
        assert passed >= 1 - math.exp(-0.5) - 5 * math.sqrt(0.25 / 2000)


def test_the_sensitivity_by_hand():
    # (3 + 2)^2 = 25 against 9 + 1 + 3 + 1 = 14; (1/4 + 1)^2 = 25/16 against 1/16 + 1/4 + 1/4 + 1/2 = 17/16
    assert sensitivity(3.0, 4) == pytest.approx(math.sqrt(14))
    assert sensitivity(0.25, 1) == pytest.approx(math.sqrt(17) / 4)
    # a nearly empty update: (0.01 + 1)^2 against 0.0001 + 0.25 + 0.01 + 0.5
    assert sensitivity(0.01, 1) == pytest.approx(math.sqrt(0.7601))


@pytest.mark.parametrize("where", ["clients", "server"])
@pytest.mark.parametrize("multiplier", [0.3, 1.0, 20.0])
def test_the_noise_multiplier_is_the_whole_noise_over_the_sensitivity(where, multiplier):
    made = plan(noise_multiplier=multiplier, where=where)
    draws = 8 if where == "clients" else 1
    whole = math.sqrt(draws * made.variance)
    assert multiplier <= whole / made.norm_bound * (1 + 1e-12) <= multiplier * (1 + 1e-6)
    assert made.noise_multiplier == pytest.approx(multiplier, rel=1e-6)
    assert made.norm_bound == sensitivity(2.0**15, 10_000)
    # no tau at such a sigma
    assert made.rho(draws) == pytest.approx(1 / (2 * multiplier**2), rel=1e-6)


@pytest.mark.parametrize("where", ["clients", "server"])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("rounds", [1, 20, 500])
def test_a_target_is_met_and_not_undercut_by_much(where, epsilon, rounds):
    made = plan(epsilon=epsilon, where=where, rounds=rounds)
    assert made.lasts()
    assert 0.998 * epsilon < made.spent([made.contributors] * rounds).epsilon <= epsilon


@pytest.mark.parametrize("where", ["clients", "server"])
def test_guarantee_no_round_passes_the_target_and_the_planned_ones_all_fit(where):
    made = plan(epsilon=2.0, where=where, rounds=5)
    counts = []
    while made.may_release(counts, 8):
        counts.append(8)
    assert len(counts) == 5
    assert made.spent(counts).epsilon <= 2.0 < made.spent([*counts, 8]).epsilon
    if where == "clients":
        assert not made.may_release((), 7)
        # more noise than was planned makes room for more rounds, never for fewer
        assert made.may_release([16] * 5, 16)


def test_edge_without_a_target_the_number_of_contributors_alone_decides():
    made = plan()
    assert made.may_release([8] * 1000, 8)
    assert not made.may_release((), 7)


def test_the_loss_adds_up_over_rounds_and_falls_with_contributors():
    made = plan(noise_multiplier=5.0)
    spent = [made.spent([8] * rounds).epsilon for rounds in range(20)]
    assert spent[0] == 0.0
    assert all(a < b for a, b in itertools.pairwise(spent))
    losses = [made.spent([count]).epsilon for count in range(1, 30)]
    assert all(a >= b for a, b in itertools.pairwise(losses))
    assert made.spent([4, 8, 16]).epsilon == pytest.approx(
        epsilon_of(sum(made.rho(count) for count in (4, 8, 16)), DELTA), rel=1e-3
    )
    assert made.spent([4, 8, 16]) == made.spent([16, 4, 8])


def test_edge_rounds_with_fewer_contributors_cost_what_they_really_cost():
    made = plan(noise_multiplier=5.0)
    assert made.rho(2) == pytest.approx(4 * made.rho(8))
    assert made.rho(0) == math.inf
    assert made.spent([8, 0]).epsilon == math.inf


def test_the_distance_of_the_sampler_is_part_of_delta():
    made = plan(noise_multiplier=5.0, rounds=1)
    assert made.spent([8]).epsilon > epsilon_of(made.rho(8), made.delta)
    # 8 clients, 10^4 coordinates; samplers at a distance T turn delta into delta + (1 + e^epsilon) T
    distance = 8e4 * DISTANCE
    finite = 0
    for delta in np.geomspace(1e-30, 1e-3, 28):
        claimed = replace(made, delta=delta).spent([8]).epsilon
        if claimed < math.inf:
            finite += 1
            assert epsilon_of(made.rho(8), delta - (1 + math.exp(claimed)) * distance) <= claimed
    assert 15 < finite < 28
    assert replace(made, delta=distance).spent([8]) == Spent(math.inf, distance, "none")
    assert made.spent([8]).accountant == "zcdp"


def test_the_noise_has_the_planned_variance_and_stays_within_the_bound():
    made = plan(noise_multiplier=0.01)
    drawn = made.draw(200_000, FastSource(1))
    assert drawn.dtype == np.int64
    assert np.var(drawn) == pytest.approx(float(made.variance), rel=0.02)
    assert np.abs(drawn).max() <= made.client_noise_bound == made.noise.bound
    assert made.server_noise_bound == 0
    server = plan(noise_multiplier=0.01, where="server")
    assert server.server_noise_bound == server.noise.bound
    assert server.client_noise_bound == 0
    assert server.server_noise_bound == pytest.approx(made.client_noise_bound * math.sqrt(8), rel=0.02)
    assert len(made.draw(5, SecureSource())) == 5


def test_shares_of_all_clients_add_up_to_the_planned_noise():
    made = plan(noise_multiplier=1e-3)
    source = FastSource(2)
    total = sum(made.draw(100_000, source) for _ in range(made.contributors))
    assert np.std(total) == pytest.approx(1e-3 * made.norm_bound, rel=0.02)


@pytest.mark.parametrize("given", [{}, {"epsilon": 1.0, "noise_multiplier": 1.0}])
def test_exactly_one_of_epsilon_and_noise_multiplier_is_needed(given):
    with pytest.raises(ValueError, match="exactly one of epsilon and noise_multiplier"):
        plan_sum(clipping_norm=1.0, step=0.1, dimension=1, contributors=1, rounds=1, delta=DELTA, **given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("clipping_norm", "step", "noise_multiplier", "epsilon")
        for value in (0.0, -1.0, math.nan, math.inf)
    ]
    + [("delta", value) for value in (0.0, 1.0, math.nan)]
    + [(name, value) for name in ("dimension", "contributors", "rounds") for value in (0, -1)]
    + [("where", "nobody")],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name}="):
        plan(**{name: value})


@pytest.mark.parametrize("given", [{"noise_multiplier": 1e9}, {"epsilon": 1e-7, "rounds": 10_000}])
def test_noise_that_cannot_be_drawn_is_refused_with_the_mend(given):
    name, value = next(iter(given.items()))
    with pytest.raises(
        ValueError, match=rf"^{name}={value}: noise .* steps .*out of reach; use a larger step"
    ):
        plan(**given)


def test_a_server_plan_does_not_count_clients():
    with pytest.raises(ValueError, match=r"^contributors=2 must be 1"):
        SumPlan(1.0, 0.1, 1, "server", 2, 1, DELTA, Fraction(4))


def test_one_client_replaced_is_twice_the_sensitivity_and_not_what_is_claimed():
    """The stated neighbours are one client added or removed; the exact loss of a replacement is larger."""
    claimed = small(3).spent([3]).epsilon
    assert exact_delta(pmf_of_sum(16.0, 3), claimed, shift=3) <= DELTA
    assert exact_delta(pmf_of_sum(16.0, 3), claimed, shift=6) > DELTA
    assert loss_of_sum(6.0, 1, 16.0, 3) == pytest.approx(4 * loss_of_sum(3.0, 1, 16.0, 3))


def test_the_relation_of_neighbours_is_named():
    assert plan().relation == "one client added or removed"


def test_edge_clients_drawn_at_random_claim_no_amplification(tiny):
    given = ("privacy=client_level", "secure=bfv")
    everybody, drawn = (sum_plan_of(tiny(*given, *more)) for more in ((), ("federation.cohort=2",)))
    assert drawn == everybody
    assert drawn.spent([2, 2]) == everybody.spent([2, 2])


def test_edge_a_client_that_tells_its_noise_takes_its_share_away():
    made = small(4)
    told = pmf_of_sum(16.0, 3)
    assert exact_delta(told, made.spent([4]).epsilon) > DELTA
    assert exact_delta(told, made.spent([3]).epsilon) <= DELTA
    assert not made.may_release((), 3)
    assert small(3).may_release((), 3)
