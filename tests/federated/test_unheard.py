"""Clients that train and are not heard of: what they may have spent stands in epsilon."""

import itertools

import numpy as np
import pytest

from fedpriv.checkpoint import Checkpoint
from fedpriv.config import parties
from fedpriv.config.as_json import to_json
from fedpriv.config.parties import build_site
from fedpriv.federated import messages
from fedpriv.federated.roster import Member, Roster
from fedpriv.federated.strategy.fedavg import FedAvg
from fedpriv.federated.strategy.session import Progress
from fedpriv.federated.strategy.unheard import Unheard
from fedpriv.privacy import accounting
from fedpriv.privacy.plan import PrivacySettings, plan_for_client
from fedpriv.results import RoundResult
from fedpriv.runner import run

from .test_rounds import MEMBERS, FakeGrid, _spends, honest


def planner(epsilon=None, noise_multiplier=2.0, rounds=3):
    settings = PrivacySettings(epsilon, 1e-5, None if epsilon else noise_multiplier, 1.0)
    return lambda examples: plan_for_client(settings, examples, 4, 1.0, rounds)


def cost(plan, rounds, history=()):
    for _ in range(rounds):
        history = plan.after_round(history)
    return plan.spent(history)


NOBODY = ((), ())
ONE = Member(7, 107, 40)


def test_guarantee_a_silent_client_is_bounded_by_all_rounds_that_it_was_asked_for():
    plan_of = planner()
    unheard = Unheard(plan_of)
    plan = plan_of(40)
    assert unheard.round_done([ONE], *NOBODY) == {7: cost(plan, 1)}
    assert unheard.round_done([ONE], *NOBODY) == {7: cost(plan, 2)}
    # not asked, not answering
    assert unheard.round_done([], *NOBODY) == {}
    # it answered twice in between: those rounds count too
    assert unheard.round_done([ONE], [7], ()) == {}
    assert unheard.round_done([ONE], *NOBODY) == {7: cost(plan, 4)}


def test_guarantee_whatever_a_client_did_in_the_rounds_it_was_asked_for_is_within_the_bound():
    for did in itertools.product(("answered", "trained and fell silent", "did nothing"), repeat=3):
        plan = planner()(40)
        unheard, history = Unheard(planner()), ()
        for each in did:
            history = history if each == "did nothing" else plan.after_round(history)
            bound = unheard.round_done([ONE], [7] if each == "answered" else [], ())
            if each != "answered":
                assert bound[7].epsilon >= plan.spent(history).epsilon


def test_edge_a_round_that_a_client_refused_for_its_budget_does_not_count():
    unheard = Unheard(planner())
    assert unheard.round_done([ONE], (), [7]) == {}
    assert unheard.round_done([ONE], *NOBODY) == {7: cost(planner()(40), 1)}


def test_edge_rounds_beyond_the_target_are_not_trained_by_who_follows_its_plan():
    plan_of = planner(epsilon=3.0)
    unheard = Unheard(plan_of)
    bounds = [unheard.round_done([ONE], *NOBODY)[7].epsilon for _ in range(5)]
    assert bounds == [cost(plan_of(40), rounds).epsilon for rounds in (1, 2, 3, 3, 3)]
    assert 2.9 < bounds[-1] <= 3.0


def test_edge_nobody_can_train_where_there_is_no_plan():
    assert Unheard(planner(epsilon=1e-4)).round_done([ONE], *NOBODY) == {}


def test_what_was_spent_before_an_interruption_counts():
    plan = planner()(40)
    before = plan.after_round(plan.after_round(()))
    assert Unheard(planner(), {7: before}).round_done([ONE], *NOBODY) == {7: cost(plan, 3)}


def rounds_of(session, behave, rounds, **changes):
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ()), plan_of=planner(), **changes))
    start = messages.pack_parameters(np.zeros(4, np.float32))
    strategy.start(FakeGrid(behave), start, num_rounds=rounds)
    return strategy.history


def test_a_round_says_what_may_have_been_spent_and_beside_it_what_was_reported(session):
    """Client 0, with the fewest examples, is silent in rounds 2 and 3; others report 0.5, 0.6, ..."""

    def behave(partition, message):
        number = messages.TrainRequest.from_content(message.content).round
        return None if partition == 0 and number in (2, 3) else _spends(message, 0.4 + 0.1 * number)

    history = rounds_of(session, behave, rounds=4)
    plan = planner()(MEMBERS[0].examples)
    assert [(each.epsilon, each.epsilon_reported) for each in history] == [
        (None, None),
        (0.5, 0.5),
        (cost(plan, 2).epsilon, pytest.approx(0.6)),
        (cost(plan, 3).epsilon, pytest.approx(0.7)),
        # what may have been spent is not taken back
        (cost(plan, 3).epsilon, pytest.approx(0.8)),
    ]


def test_epsilon_is_never_less_than_what_clients_say(session):
    history = rounds_of(session, lambda p, m: None if p == 0 else _spends(m, 99.0), rounds=1)
    assert (history[-1].epsilon, history[-1].epsilon_reported) == (99.0, 99.0)


def test_when_nobody_reports_delta_is_the_plans(session):
    history = rounds_of(session, lambda p, m: honest(m, np.ones(4)), rounds=1)
    plan = planner()(MEMBERS[0].examples)
    assert (history[-1].epsilon, history[-1].epsilon_reported) == (cost(plan, 1).epsilon, None)
    assert history[-1].delta == 1e-5


def test_a_resumed_run_states_no_less_than_before(session):
    begun = (
        RoundResult(0, {}),
        RoundResult(1, {}, epsilon=50.0, epsilon_reported=0.5, delta=1e-5, replied=3),
    )
    progress = Progress(begun, np.zeros(4, np.float32), spent={0: 0.5}, delta=1e-5)
    history = rounds_of(session, lambda p, m: _spends(m, 0.7), rounds=2, progress=progress)
    assert (history[-1].epsilon, history[-1].epsilon_reported) == (50.0, pytest.approx(0.7))


def test_a_round_that_was_cut_off_before_it_was_counted_may_have_cost_all_that_were_asked(session):
    def behave(partition, message):
        if messages.TrainRequest.from_content(message.content).round == 2 and partition == 3:
            raise KeyboardInterrupt
        return _spends(message, 0.5)

    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ()), plan_of=planner()))
    start = messages.pack_parameters(np.zeros(4, np.float32))
    with pytest.raises(KeyboardInterrupt):
        strategy.start(FakeGrid(behave), start, num_rounds=2)
    bound = cost(planner()(MEMBERS[0].examples), 2)
    assert strategy.history[-1].epsilon == 0.5
    # asked again, it counts the round no second time
    assert [strategy.spent(), strategy.spent()] == [bound, bound]


NOISY = (
    "privacy=dp_sgd",
    "privacy.epsilon=null",
    "privacy.noise_multiplier=2.0",
    "training.batch_size=4",
    "partition=quantity_skew",
)


@pytest.fixture
def fewest(tiny):
    """The client with fewest images: it spends most."""
    config = tiny(*NOISY)
    config.run_id = "00" * 16
    sizes = [len(share) for share in build_site(to_json(config)).shares]
    assert sizes.count(min(sizes)) == 1
    return sizes.index(min(sizes))


def require_truth(report, folder):
    """Epsilon is what the clients' own memories come to, answered or not."""
    histories = [memory.history for memory in Checkpoint(folder).load().kept.memories.values()]
    truth = max(accounting.spent(history, 1e-5).epsilon for history in histories)
    last = report.history[-1]
    assert last.epsilon == pytest.approx(truth, rel=1e-9)
    assert last.epsilon_reported < 0.9 * last.epsilon


def test_a_client_that_trains_and_whose_update_never_comes_is_in_the_epsilon_of_the_run(
    tiny, tmp_path, fewest
):
    report = run(tiny(*NOISY, f"federation.faults=[{fewest}:nan]"), output_dir=tmp_path)
    assert report.history[-1].failures == {"non_finite": 1}
    require_truth(report, tmp_path)


def test_planted_epsilon_by_what_clients_say_alone_is_noticed(tiny, tmp_path, monkeypatch, fewest):
    monkeypatch.setattr(parties, "plan_of", lambda config: None)
    report = run(tiny(*NOISY, f"federation.faults=[{fewest}:nan]"), output_dir=tmp_path)
    with pytest.raises(AssertionError):
        require_truth(report, tmp_path)


def test_where_all_answer_nothing_is_added(tiny):
    report = run(tiny(*NOISY))
    assert [result.epsilon_reported for result in report.history] == [
        result.epsilon for result in report.history
    ]
