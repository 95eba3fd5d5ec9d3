"""A run pays from the ledger for every release before it is handed on, and never past a budget."""

import threading
import time

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.privacy import composition
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.charge import Charge, Concentrated, SampledGaussian
from fedpriv.privacy.composition import Loss
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import Ledger
from fedpriv.privacy.purse import BudgetSpent, Purse

DELTA = 1e-5
ROUND = SampledGaussian(0.25, 1.0, 1)  # above what PRV is tried for: fast


def share(*digests):
    return of_digests(np.array(digests, np.uint64))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def count(ledger):
    return sum(account.charges for account in ledger.summary())


def test_guarantee_a_block_is_left_only_when_its_charge_is_on_disk(ledger, monkeypatch):
    charge, order, computed = Ledger.charge, [], threading.Event()

    def slow(self, charges, judge):
        # not before the block is through, however slow the machine is; then late enough to be overtaken
        computed.wait(30)
        time.sleep(0.05)
        charge(self, charges, judge)
        order.append("on disk")

    monkeypatch.setattr(Ledger, "charge", slow)
    with Purse(ledger, "run", DELTA, "x").paying(share(1), ROUND, 1):
        order.append("computed")
        computed.set()
    order.append("handed on")
    assert order == ["computed", "on disk", "handed on"]
    assert ledger.spent(share(1), DELTA).epsilon > 0


def test_guarantee_a_block_whose_charge_failed_is_left_with_the_error(ledger, monkeypatch):
    def full(self, charges, judge):
        raise UserError("no space")

    monkeypatch.setattr(Ledger, "charge", full)
    with (
        pytest.raises(UserError, match="no space"),
        Purse(ledger, "run", DELTA, "x").paying(share(1), ROUND, 1),
    ):
        pass


def test_guarantee_with_a_lifetime_budget_no_block_is_entered_that_would_pass_it(ledger):
    two = composition.spent(Loss(((0.25, 1.0, 2),)), DELTA).epsilon
    purse, entered = Purse(ledger, "run", DELTA, "x", two * 1.001), 0
    for number in range(1, 6):
        try:
            with purse.paying(share(1, 2), ROUND, number):
                entered += 1
        except BudgetSpent:
            assert number > 2
    assert entered == 2 == count(ledger)
    assert ledger.spent(share(1), DELTA).epsilon == pytest.approx(two)
    with purse.paying(share(3), ROUND, 3):  # others go on
        pass
    assert count(ledger) == 3


def test_whether_a_block_would_be_entered_can_be_asked_for_nothing(ledger):
    one = composition.spent(Loss(((0.25, 1.0, 1),)), DELTA).epsilon
    purse = Purse(ledger, "run", DELTA, "x", one * 1.001)
    assert purse.may_pay(share(1), ROUND, 1)
    assert count(ledger) == 0
    with purse.paying(share(1), ROUND, 1):
        pass
    assert not purse.may_pay(share(1), ROUND, 2)
    assert purse.may_pay(share(2), ROUND, 2)
    assert Purse(ledger, "run", DELTA, "x").may_pay(share(1), ROUND, 2)  # no limit
    assert count(ledger) == 1


def test_guarantee_the_budget_is_that_of_all_runs(ledger):
    one = composition.spent(Loss(((0.25, 1.0, 1),)), DELTA).epsilon
    with Purse(ledger, "first", DELTA, "x").paying(share(1), ROUND, 1):
        pass
    with (
        pytest.raises(BudgetSpent),
        Purse(ledger, "second", DELTA, "y", one * 1.1).paying(share(1), ROUND, 1),
    ):
        raise AssertionError
    assert count(ledger) == 1


def test_edge_a_block_that_fails_is_charged_and_fails_with_its_own_error(ledger):
    with pytest.raises(ZeroDivisionError), Purse(ledger, "run", DELTA, "x").paying(share(1), ROUND, 1):
        1 / 0  # noqa: B018
    assert count(ledger) == 1


def test_edge_a_lost_round_is_charged_once_whether_it_was_charged_or_not(ledger):
    purse = Purse(ledger, "run", DELTA, "x")
    with purse.paying(share(1), ROUND, 4):
        pass
    due = {0: (share(1), ROUND), 1: (share(2), ROUND)}
    for _ in range(3):  # a crash between this and the checkpoint changes nothing
        purse.make_up(due, 4, 1)
        assert {account.charges for account in ledger.summary()} == {1}
    purse.make_up(due, 4, 2)
    purse.make_up(due, 5, 1)
    assert {account.charges for account in ledger.summary()} == {3}
    # another run's round of the same number is another round
    Purse(ledger, "other", DELTA, "x").make_up(due, 4, 1)
    assert {account.charges for account in ledger.summary()} == {4}


def test_edge_a_lost_round_that_the_lifetime_budget_forbade_was_never_begun(ledger):
    one = composition.spent(Loss(((0.25, 1.0, 1),)), DELTA).epsilon
    purse = Purse(ledger, "run", DELTA, "x", one * 1.1)
    for times in (1, 2):
        purse.make_up({0: (share(1), ROUND)}, 1, times)
    assert count(ledger) == 1


def test_the_lifetime_is_that_of_the_worst_share_over_all_runs(ledger):
    for run, mine in (("first", share(1, 2)), ("second", share(2, 3)), ("third", share(9))):
        with Purse(ledger, run, DELTA, "x").paying(mine, ROUND, 1):
            pass
    purse = Purse(ledger, "second", DELTA, "x")
    found = purse.lifetime([share(1), share(2, 3)], "sample")
    assert found.spent == ledger.spent(share(2), DELTA)
    assert (found.earlier_runs, found.seeded_runs) == (1, 0)
    assert purse.lifetime([share(7)], "sample").earlier_runs == 0
    assert purse.lifetime([share(7)], "sample").spent.epsilon == 0.0
    least = Spent(2.5, DELTA, "rdp")
    assert purse.lifetime([share(7)], "sample", least).spent == least
    assert purse.lifetime([share(2)], "sample", Spent(1e-9, DELTA, "rdp")).spent == found.spent
    assert purse.lifetime([share(2)], "client").spent.epsilon == np.inf


def test_the_lifetime_says_in_how_many_runs_the_noise_was_seeded(ledger):
    for run, seeded in (("first", True), ("second", True), ("third", False)):
        for number in (1, 2):
            with Purse(ledger, run, DELTA, "x", seeded=seeded).paying(share(1), ROUND, number):
                pass
    assert Purse(ledger, "third", DELTA, "x").lifetime([share(1, 2)], "sample").seeded_runs == 2
    assert Purse(ledger, "third", DELTA, "x").lifetime([share(2)], "sample").seeded_runs == 0


def test_blocks_of_many_threads_are_all_charged(ledger):
    purse = Purse(ledger, "run", DELTA, "x")

    def pay(number):
        with purse.paying(share(number), ROUND, 1):
            pass

    threads = [threading.Thread(target=pay, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(Ledger(ledger.path.parent)) == 8


# What the ledger does for it


def test_the_greatest_over_shares_is_the_greatest_of_each(ledger):
    ledger.charge(
        [Charge(share(1), ROUND, "a", 1, DELTA), Charge(share(2), Concentrated(0.5), "a", 1, DELTA)]
    )
    shares = [share(1), share(2), share(3)]
    each = max(ledger.spent(one, DELTA).epsilon for one in shares)
    assert ledger.greatest(shares, DELTA, "sample").epsilon == each
    assert ledger.greatest([], DELTA, "sample").epsilon == 0.0
    assert ledger.runs_on(shares) == {"a"}
    assert ledger.runs_on([share(3)]) == frozenset()


def test_checking_reads_all_of_it_and_makes_nothing(ledger):
    ledger.check()
    assert not ledger.path.parent.exists()
    ledger.charge([Charge(share(1), ROUND, "a", number, DELTA) for number in (1, 2)])
    Ledger(ledger.path.parent).check()
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"round":1', b'"round":7'))
    with pytest.raises(UserError, match=r"ledger\.jsonl: line 3: does not follow"):
        Ledger(ledger.path.parent).check()


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 60.0])
def test_within_agrees_with_what_was_spent(epsilon):
    losses = [Loss(((1.1, 0.02, 300),)), Loss(((0.25, 1.0, 1),)), Loss(rho=0.2), Loss()]
    for chosen in (losses, losses[:1], losses[2:], []):
        greatest = composition.greatest(chosen, DELTA).epsilon
        assert composition.within(chosen, epsilon, DELTA) == (greatest <= epsilon)
