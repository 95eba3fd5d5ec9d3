"""Charges for noise that is correlated over rounds: what participations cost, alone and beside each other."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.privacy.charge import Charge, Concentrated, Correlated, from_entry, to_entry
from fedpriv.privacy.discrete_gaussian import DISTANCE
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.exposure import Exposure, loss_of
from fedpriv.privacy.ledger import Ledger
from fedpriv.privacy.matrix_mechanism import INDEPENDENT, square_root
from fedpriv.privacy.sum_plan import plan_sum

DELTA = 1e-5
ONE, OTHER = (of_digests(np.array(digests, np.uint64)) for digests in ([1, 2], [2, 3]))


def plan(matrix):
    return plan_sum(
        clipping_norm=1.0,
        step=2.0**-11,
        dimension=500,
        contributors=1,
        rounds=12,
        delta=DELTA,
        epsilon=8.0,
        where="server",
        matrix=matrix,
        separation=4,
    )


def exposed(share, *rounds, rho=0.125):
    exposure = Exposure(share)
    for number in rounds:
        exposure = exposure.with_charge(Charge(share, Correlated(rho, 1e-30), "r", number, DELTA))
    return exposure


def test_a_release_of_a_plan_is_charged_by_how_its_noise_is_correlated():
    banded, alone = plan(square_root(4)), plan(INDEPENDENT)
    charged = Concentrated.of_release(banded, 1)
    assert (charged.kind, charged.unit, type(charged)) == ("correlated", "client", Correlated)
    assert (charged.rho, charged.distance) == (banded.rho(1), 4 * 500 * DISTANCE)
    assert type(Concentrated.of_release(alone, 1)) is Concentrated
    # one epsilon, so one price
    assert charged.rho == pytest.approx(alone.rho(1), rel=1e-3)


@pytest.mark.parametrize("rho", [0.1 + 0.2, math.inf])
def test_an_entry_is_json_and_keeps_every_bit(rho):
    charge = Charge(ONE, Correlated(rho, 1e-30), "run", 3, DELTA, "eyes")
    entry = json.loads(json.dumps(to_entry(charge), allow_nan=False))
    record = from_entry({**entry, "time": "now"})
    assert type(record.mechanism) is Correlated
    assert record.mechanism == charge.mechanism


def test_participations_of_one_client_add_up():
    found = loss_of([(exposed(ONE, 1, 5, 9), 1.0)], "client")
    assert found.rho == pytest.approx(3 * 0.125)
    assert found.distance == pytest.approx(3e-30)


@pytest.mark.parametrize("rounds", [(1,), (1, 5), (1, 5, 9)])
def test_a_ledger_says_of_one_run_what_its_plan_says(tmp_path, rounds):
    made, ledger = plan(square_root(4)), Ledger(tmp_path)
    charges = [Charge(ONE, Concentrated.of_release(made, 1), "r", number, DELTA) for number in rounds]
    ledger.charge(charges)
    found = Ledger(tmp_path).spent(ONE, DELTA, "client").epsilon
    assert found == pytest.approx(made.spent([1] * len(rounds)).epsilon, rel=1e-12)


def test_a_budget_stops_the_participation_that_would_pass_it(tmp_path):
    made, ledger = plan(square_root(4)), Ledger(tmp_path)
    charges = [Charge(ONE, Concentrated.of_release(made, 1), "r", number, DELTA) for number in (1, 5, 9, 13)]
    assert ledger.charge_within(charges, 8.0, DELTA) == [True, True, True, False]


@given(
    ours=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    theirs=st.lists(st.integers(0, 2), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_guarantee_clients_that_hold_the_same_data_are_charged_for_rounds_that_both_reach(ours, theirs, seed):
    """Two clients, each with one turn in 3 rounds, any directions: how far C x moves with both."""
    matrix, random = square_root(3), np.random.default_rng(seed)
    c = np.array(
        [[matrix.coefficients[t - s] if 0 <= t - s < 3 else 0.0 for s in range(9)] for t in range(9)]
    )
    moved = np.zeros((9, 2))
    parts = []
    for share, turn, cycles in ((ONE, ours[0], len(ours)), (OTHER, theirs[0], len(theirs))):
        rounds = [3 * cycle + turn for cycle in range(cycles)]
        for number in rounds:
            direction = random.normal(size=2)
            moved[number] += direction / np.linalg.norm(direction)
        rho = matrix.spread(1.0) ** 2 / 2
        parts.append((exposed(share, *[number + 1 for number in rounds], rho=rho), 1.0))
    true = np.linalg.norm(c @ moved) ** 2 / 2
    assert true <= loss_of(parts, "client").rho * (1 + 1e-12)


def test_planted_as_if_the_rounds_of_two_clients_were_releases_apart_it_would_be_too_little():
    """Rounds 1 and 2, bands 1 and 1/2, both one way: (1, 3/2, 1/2) is farther than the sum of squares."""
    true = (1.0 + 1.5**2 + 0.5**2) / 2
    rho = square_root(2).spread(1.0) ** 2 / 2
    assert 2 * rho < true
    parts = [(exposed(ONE, 1, rho=rho), 1.0), (exposed(OTHER, 2, rho=rho), 1.0)]
    assert loss_of(parts, "client").rho == pytest.approx(4 * rho)
    assert 4 * rho >= true


def test_other_runs_are_other_releases():
    one = exposed(ONE, 1)
    both = one.with_charge(Charge(ONE, Correlated(0.125), "s", 1, DELTA))
    assert loss_of([(both, 1.0)], "client").rho == pytest.approx(0.25)
    assert set(both.releases) == {("r", 0), ("s", 0)}
