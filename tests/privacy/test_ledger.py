"""The ledger counts what was done to an example, whatever run, share or process did it."""

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.privacy import accounting, composition
from fedpriv.privacy.charge import Charge, Concentrated, SampledGaussian
from fedpriv.privacy.composition import Loss
from fedpriv.privacy.concentrated import epsilon_of
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import FILE, Ledger, default_folder
from fedpriv.privacy.plan import PrivacySettings, plan_for_client
from fedpriv.privacy.sum_plan import plan_sum

DELTA = 1e-5
GAUSSIAN = SampledGaussian(0.25, 1.0, 1)  # above what PRV is tried for: fast


def share(*digests):
    return of_digests(np.array(digests, np.uint64))


def charge(examples, mechanism=GAUSSIAN, run="run", number=1, name="", party=0):
    return Charge(examples, mechanism, run, number, DELTA, name, party)


def zcdp(rho):
    return epsilon_of(rho * (1 + 1e-9), DELTA * (1 - 2**-10))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ledger"


# Composition


def test_rounds_of_one_client_cost_what_one_accountant_says_straight_through(folder):
    plan = plan_for_client(PrivacySettings(None, DELTA, 1.0, 1.0), 1000, 32, 1.0, 10)
    ledger, history = Ledger(folder), ()
    for number in range(1, 11):
        ledger.charge([charge(share(1, 2), SampledGaussian.of_round(plan), number=number)])
        history = plan.after_round(history)
    assert Ledger(folder).spent(share(1, 2), DELTA) == plan.spent(history)


def test_two_runs_on_the_same_examples_add_up_whatever_they_are_called(folder):
    ledger = Ledger(folder)
    one, two = SampledGaussian(1.1, 0.02, 100), SampledGaussian(1.4, 0.05, 50)
    ledger.charge([charge(share(1, 2), one, "first", 1, "eyes")])
    ledger.charge([charge(share(2, 1), two, "second", 1, "the same")])
    together = accounting.spent(((1.1, 0.02, 100), (1.4, 0.05, 50)), DELTA)
    assert ledger.spent(share(1, 2), DELTA) == together


def test_sums_of_a_client_cost_what_their_plan_says_at_the_client_level(folder):
    plan = plan_sum(
        clipping_norm=1.0, step=1e-2, dimension=100, contributors=3, rounds=5, delta=DELTA, epsilon=2.0
    )
    ledger = Ledger(folder)
    for number, count in enumerate([3, 4, 3]):
        mechanism = Concentrated.of_release(plan, count)
        ledger.charge([charge(share(n), mechanism, number=number) for n in range(3)])
    found = ledger.spent(share(1), DELTA, "client")
    assert found.epsilon == pytest.approx(plan.spent([3, 4, 3]).epsilon, rel=1e-9)
    assert found.accountant == "zcdp"


def test_guarantee_an_example_is_charged_by_the_sets_that_hold_it_and_by_no_other(folder):
    ledger = Ledger(folder)
    ledger.charge([charge(share(1, 2)), charge(share(3, 4)), charge(share(2, 3), run="other")])
    one, two = (accounting.spent(((0.25, 1.0, n),), DELTA).epsilon for n in (1, 2))
    assert [ledger.spent(share(n), DELTA).epsilon for n in (1, 2, 3, 4)] == pytest.approx(
        [one, two, two, one]
    )
    # a share has spent what its dearest example has, not what all its examples have together
    assert ledger.spent(share(1, 4), DELTA).epsilon == pytest.approx(one)
    assert ledger.spent(share(1, 2, 3, 4, 5), DELTA).epsilon == pytest.approx(two)


MECHANISMS = [GAUSSIAN, SampledGaussian(0.2, 1.0, 2), Concentrated(0.3), Concentrated(2.0)]
SHARES = st.sets(st.integers(1, 6), min_size=1, max_size=4).map(lambda digits: share(*digits))
CHARGES = st.builds(
    charge,
    SHARES,
    st.sampled_from(MECHANISMS),
    st.sampled_from(["a", "b"]),
    st.integers(1, 2),
    st.just(""),
    st.integers(0, 2),
)


def brute_sample(charges, example):
    """Compose all that one example was exposed to, release by release."""
    touching = [each for each in charges if example in each.share.digests]
    gaussians = [each.mechanism for each in touching if each.mechanism.unit == "sample"]
    steps = {m.noise_multiplier: 0 for m in gaussians}
    for mechanism in gaussians:
        steps[mechanism.noise_multiplier] += mechanism.steps
    history = tuple((noise, 1.0, count) for noise, count in sorted(steps.items()))
    return composition.spent(Loss(history, brute_rho(touching, lambda _: 2.0)), DELTA).epsilon


def brute_rho(charges, factor):
    """Take the releases of a run and round one repetition at a time, the dearest contributions first."""
    rho = 0.0
    releases = {(each.run, each.round) for each in charges}
    for release in releases:
        of_share = {}
        for each in charges:
            if (each.run, each.round) == release and each.mechanism.unit == "client":
                of_share.setdefault((each.share.identity, each.party), []).append(
                    factor(each.share) * math.sqrt(each.mechanism.rho)
                )
        while any(of_share.values()):
            met = 0.0
            for roots in of_share.values():
                if roots:
                    roots.sort()
                    met += roots.pop()
            rho += met * met
    return rho


@settings(max_examples=40, deadline=None)
@given(charges=st.lists(CHARGES, max_size=7), asked=SHARES)
def test_guarantee_epsilons_are_what_brute_force_over_examples_finds(charges, asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder)
    ledger.charge(charges)
    found = ledger.spent(asked, DELTA).epsilon
    assert found == pytest.approx(max(brute_sample(charges, each) for each in asked.digests), rel=1e-9)
    assert Ledger(folder).spent(asked, DELTA).epsilon == found

    touching = [each for each in charges if set(each.share.digests) & set(asked.digests)]
    found = Ledger(folder).spent(asked, DELTA, "client").epsilon
    if any(each.mechanism.unit == "sample" for each in touching):
        assert found == math.inf
    elif not touching:
        assert found == 0.0
    else:
        rho = brute_rho(touching, lambda other: 1.0 if set(other.digests) <= set(asked.digests) else 2.0)
        assert found == pytest.approx(zcdp(rho), rel=1e-9)


def test_guarantee_a_clients_epsilon_is_composed_over_every_set_that_overlaps_it(folder):
    ledger = Ledger(folder)
    ledger.charge([charge(share(1, 2), Concentrated(0.1), "a")])
    ledger.charge([charge(share(2, 3), Concentrated(0.1), "b"), charge(share(4), Concentrated(0.1), "b")])
    # the second run's client is changed, not taken away, when the first run's client is taken away
    assert ledger.spent(share(1, 2), DELTA, "client").epsilon == pytest.approx(zcdp(0.1 + 0.4))
    assert ledger.spent(share(4), DELTA, "client").epsilon == pytest.approx(zcdp(0.1))
    assert ledger.spent(share(1, 2, 3), DELTA, "client").epsilon == pytest.approx(zcdp(0.1 + 0.1))


# Edge cases


def test_edge_a_round_done_again_is_charged_again(folder):
    ledger = Ledger(folder)
    for expected in (0.1, 0.2):
        ledger.charge([charge(share(1), Concentrated(0.1))])
        assert ledger.spent(share(1), DELTA, "client").epsilon == pytest.approx(zcdp(expected))


def test_edge_an_example_that_stands_several_times_in_a_share_is_charged_as_one_copy(folder):
    ledger = Ledger(folder)
    ledger.charge([charge(share(1, 1, 2))])
    assert ledger.spent(share(1), DELTA) == ledger.spent(share(2), DELTA)


def test_edge_a_client_level_release_costs_an_example_four_times_its_rho(folder):
    ledger = Ledger(folder)
    ledger.charge([charge(share(1, 2), Concentrated(0.1))])
    assert ledger.spent(share(1), DELTA).epsilon == pytest.approx(zcdp(0.4))


def test_edge_shares_of_one_release_that_hold_the_example_are_moved_together(folder):
    ledger = Ledger(folder)
    ledger.charge([charge(share(1, 2), Concentrated(0.1)), charge(share(1, 3), Concentrated(0.1))])
    assert ledger.spent(share(1), DELTA).epsilon == pytest.approx(zcdp(4 * 0.4))
    assert ledger.spent(share(2), DELTA).epsilon == pytest.approx(zcdp(0.4))


def test_edge_equal_shares_of_several_parties_are_moved_together_as_well(folder):
    """Two clients with the same photographs move one sum twice; one client's round done again is two sums."""
    both = [charge(share(1, 2), Concentrated(0.1), party=party) for party in (5, 3)]
    ledger = Ledger(folder)
    ledger.charge(both[:1])
    ledger.charge(both[1:])
    for known in (ledger, Ledger(folder)):
        assert known.spent(share(1), DELTA).epsilon == pytest.approx(zcdp(4 * 0.4))
        assert known.spent(share(1, 2), DELTA, "client").epsilon == pytest.approx(zcdp(4 * 0.1))
    # each is judged by all that its share was moved by, in one call and in two
    limit = zcdp(0.3)
    assert Ledger(folder / "b").charge_within(both, limit, DELTA) == [True, False]
    assert [Ledger(folder / "c").charge_within([each], limit, DELTA) for each in both] == [[True], [False]]
    assert not Ledger(folder / "c").may_spend(both[1], limit, DELTA)
    # whoever held it in another run, and in whatever order, it is another release
    ledger.charge([charge(share(1, 2), Concentrated(0.1), "other", party=3)])
    assert Ledger(folder).spent(share(1, 2), DELTA, "client").epsilon == pytest.approx(zcdp(0.4 + 0.1))


def test_edge_each_of_several_parties_with_equal_shares_is_made_up_for(folder):
    ledger = Ledger(folder)
    both = [charge(share(1, 2), Concentrated(0.1), party=party) for party in (5, 3)]
    ledger.charge(both[:1])
    for _ in range(2):
        Ledger(folder).make_up(both, 1, None)
    assert sum(account.charges for account in Ledger(folder).summary()) == 2
    assert Ledger(folder).spent(share(1, 2), DELTA, "client").epsilon == pytest.approx(zcdp(0.4))


def test_entries_of_a_version_that_knew_no_parties_are_those_of_one(folder):
    path = folder / FILE
    Ledger(folder).charge([charge(share(1), Concentrated(0.1))])
    path.write_text(path.read_text().replace(',"party":0', ""))
    (folder / f"{FILE}.head").write_text(json.dumps({"lines": 1, "sha256": digest_of_first(path)}))
    Ledger(folder).charge([charge(share(1), Concentrated(0.1))])
    assert Ledger(folder).spent(share(1), DELTA, "client").epsilon == pytest.approx(zcdp(0.2))


def test_edge_a_client_is_not_protected_by_what_protects_its_examples(folder):
    ledger = Ledger(folder)
    ledger.charge([charge(share(1, 2), SampledGaussian(50.0, 0.1, 1)), charge(share(7), Concentrated(0.1))])
    found = ledger.spent(share(2, 3), DELTA, "client")
    assert (found.epsilon, found.accountant) == (math.inf, "none")
    assert ledger.spent(share(7), DELTA, "client").epsilon < math.inf


def test_edge_what_was_never_charged_has_spent_nothing(folder):
    ledger = Ledger(folder)
    for unit in ("sample", "client"):
        assert ledger.spent(share(1), DELTA, unit).epsilon == 0.0
    assert ledger.summary() == []
    assert not folder.exists()
    ledger.charge([charge(share(1))])
    for unit in ("sample", "client"):
        assert ledger.spent(share(2), DELTA, unit).epsilon == 0.0


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"kind":"sampled_gaussian"', '"kind":"matrix"', "kind 'matrix' is not known"),
        ('"event":"charge"', '"event":"refund"', "event 'refund' is not known"),
    ],
)
def test_edge_what_only_a_later_version_knows_stops_this_one(folder, old, new, match):
    Ledger(folder).charge([charge(share(1))])
    path = folder / FILE
    path.write_text(path.read_text().replace(old, new))
    (folder / f"{FILE}.head").write_text(json.dumps({"lines": 1, "sha256": digest_of_first(path)}))
    with pytest.raises(UserError, match=rf"line 2: {match}.*later one"):
        Ledger(folder).spent(share(1), DELTA)


def digest_of_first(path):
    return json.loads(path.read_text().splitlines()[1])["previous"]


# Budgets


def test_guarantee_a_budget_is_never_passed_and_what_is_refused_is_not_charged(folder):
    ledger = Ledger(folder)
    epsilon = accounting.spent(((0.25, 1.0, 3),), DELTA).epsilon + 1e-9
    written = []
    for number in range(6):
        wanted = charge(share(1, 2), number=number)
        expected = ledger.may_spend(wanted, epsilon, DELTA)
        written += ledger.charge_within([wanted], epsilon, DELTA)
        assert written[-1] == expected
    assert written == [True] * 3 + [False] * 3
    assert ledger.spent(share(1, 2), DELTA).epsilon <= epsilon
    assert ledger.charge_within([charge(share(2, 9))], epsilon, DELTA) == [False]
    assert ledger.charge_within([charge(share(9))], epsilon, DELTA) == [True]


@settings(max_examples=30, deadline=None)
@given(charges=st.lists(CHARGES, max_size=6), epsilon=st.floats(1.0, 40.0))
def test_guarantee_a_cohort_is_judged_one_by_one_with_the_ones_before_in_place(
    charges, epsilon, tmp_path_factory
):
    together, alone = Ledger(tmp_path_factory.mktemp("a")), Ledger(tmp_path_factory.mktemp("b"))
    expected = [alone.charge_within([each], epsilon, DELTA)[0] for each in charges]
    assert together.charge_within(charges, epsilon, DELTA) == expected
    for each, paid in zip(charges, expected, strict=True):
        if paid:
            found = together.spent(each.share, DELTA, each.mechanism.unit).epsilon
            # a client's budget is its own: later charges to clients that overlap it are judged by theirs
            assert found <= epsilon or each.mechanism.unit == "client"


def test_guarantee_threads_together_do_not_pass_a_budget(folder):
    ledgers = [Ledger(folder), Ledger(folder)]
    epsilon = accounting.spent(((0.25, 1.0, 5),), DELTA).epsilon + 1e-9
    paid = []

    def work(ledger):
        for number in range(5):
            paid.extend(ledger.charge_within([charge(share(1), number=number)], epsilon, DELTA))

    threads = [threading.Thread(target=work, args=(ledger,)) for ledger in (*ledgers, ledgers[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paid.count(True) == 5
    assert Ledger(folder).summary()[0].charges == 5


def test_asking_whether_it_may_be_spent_writes_nothing(folder):
    ledger = Ledger(folder)
    assert ledger.may_spend(charge(share(1)), 100.0, DELTA)
    assert not ledger.may_spend(charge(share(1)), 0.1, DELTA)
    assert not folder.exists()


# The file


def test_a_cohort_is_charged_by_two_syncs_of_the_ledger_and_its_shares_are_written_once(folder, monkeypatch):
    from fedpriv import journal

    ledger, writes = Ledger(folder), []
    write = journal._write
    monkeypatch.setattr(journal, "_write", lambda file, data: (writes.append(data), write(file, data))[1])
    for number in range(2):
        ledger.charge([charge(share(n), number=number) for n in range(50)])
    lines = [json.loads(line) for line in (folder / FILE).read_bytes().splitlines()]
    assert [each["event"] for each in lines] == ["share"] * 50 + ["charge"] * 100
    assert len([data for data in writes if b"event" in data]) == 3


def test_guarantee_it_holds_digests_numbers_times_and_names(folder):
    Ledger(folder).charge([charge(share(1, 2), name="eyes"), charge(share(3), Concentrated(math.inf))])
    lines = [json.loads(line) for line in (folder / FILE).read_bytes().splitlines()]
    assert lines[0].keys() == {"previous", "time", "event", "share", "examples", "digests"}
    fields = {"share", "run", "round", "unit", "kind", "parameters", "delta", "name", "party"}
    fields |= {"seeded", "by_server", "resumed_as"}
    assert {frozenset(line) for line in lines[2:]} == {frozenset({"previous", "time", "event"} | fields)}


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry | {"digests": share(5).to_text()},
        lambda entry: entry | {"digests": "?"},
        lambda entry: entry | {"digests": ""},
        lambda entry: entry | {"share": 4},
    ],
)
def test_a_share_that_is_not_its_identity_is_damage(folder, change):
    Ledger(folder).charge([charge(share(1))])
    path = folder / FILE
    first = change(json.loads(path.read_bytes().splitlines()[0]))
    path.write_text(json.dumps(first) + "\n")
    (folder / f"{FILE}.head").write_text('{"lines": 0, "sha256": "' + "0" * 64 + '"}')
    with pytest.raises(UserError, match="line 1: damaged; nothing is trained with this ledger; put back"):
        Ledger(folder).spent(share(1), DELTA)


def test_guarantee_nothing_is_told_or_charged_by_a_damaged_ledger(folder):
    Ledger(folder).charge([charge(share(n)) for n in range(3)])
    path = folder / FILE
    damaged = path.read_bytes().replace(b'"steps":1', b'"steps":0', 1)
    path.write_bytes(damaged)
    for use in (
        lambda ledger: ledger.charge([charge(share(1))]),
        lambda ledger: ledger.charge_within([charge(share(1))], 1e9, DELTA),
        lambda ledger: ledger.may_spend(charge(share(1)), 1e9, DELTA),
        lambda ledger: ledger.spent(share(1), DELTA),
        lambda ledger: ledger.summary(),
    ):
        with pytest.raises(UserError, match=r"ledger\.jsonl: line 4: .*; nothing is trained"):
            use(Ledger(folder))
        assert path.read_bytes() == damaged


def test_the_summary_names_what_was_charged_and_is_safe_to_show(folder):
    ledger = Ledger(folder)
    ledger.charge([charge(share(1, 2), name="eyes\x1b[2J\n", run="a"), charge(share(3), name="n" * 300)])
    ledger.charge([charge(share(2, 1), Concentrated(0.1), run="b", name="gaze")])
    ledger.charge_within([charge(share(8))], 0.0, DELTA)
    first, second = Ledger(folder).summary()
    assert first.share.identity == share(1, 2).identity
    assert (first.names, first.runs) == (("eyes\\x1b[2J\\n", "gaze"), ("a", "b"))
    assert (first.units, first.charges, len(first.share)) == (("sample", "client"), 2, 2)
    assert first.first <= first.last
    assert len(second.names[0]) == 80


def test_the_default_folder_follows_the_desktop_specification(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert default_folder() == Path("/var/state/fedpriv/ledger")
    for unset in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        assert default_folder() == Path.home() / ".local/state/fedpriv/ledger"
