"""Discrete noise on the integer path, in whole rounds: it arrives, it is accounted, and it ends runs."""

import inspect
import math

import numpy as np
import pytest
from flwr.app import Message

from fedpriv.config import privacy as planning
from fedpriv.config.as_json import to_json
from fedpriv.config.parties import build_keyholder, build_site
from fedpriv.config.privacy import sum_plan_of
from fedpriv.config.secure import codec_of
from fedpriv.errors import UserError
from fedpriv.federated import client, clipping, messages
from fedpriv.federated.answers import SumRefused
from fedpriv.federated.messages import MessageError, TrainRequest
from fedpriv.federated.roster import Roster
from fedpriv.federated.strategy import base
from fedpriv.federated.strategy.books import Books, releases, shared
from fedpriv.federated.strategy.fedavg import FedAvg
from fedpriv.federated.strategy.session import Progress
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.concentrated import epsilon_of
from fedpriv.privacy.ledger import Ledger, default_folder
from fedpriv.privacy.plan import PrivacySettings
from fedpriv.privacy.sum_plan import SumPlan, plan_sum
from fedpriv.results import RoundResult
from fedpriv.run_keys import key_folder
from fedpriv.runner import run
from fedpriv.training.party import ClientMemory

from .test_rounds import MEMBERS, FakeGrid, honest

NOISY = ("privacy=client_level", "secure=bfv", "privacy.epsilon=null", "privacy.noise_multiplier=1.0")
COMMITTEE = ("secure=bfv_committee", "secure.holders=2")


@pytest.fixture
def opened(monkeypatch):
    """Every sum that is opened, float64."""
    sums = []

    def spy(*given):
        made = real(*given)
        sums.append(made.total)
        return made

    real = base.open_sum
    monkeypatch.setattr(base, "open_sum", spy)
    return sums


@pytest.fixture
def moved(monkeypatch):
    """Let every client move each parameter by so much, instead of training."""

    def set_to(distance):
        def optimise(site, number, request, memory):
            moved = request.parameters + np.float32(distance)
            site.parameters.load(moved.astype(np.float32))
            return math.nan, {}

        monkeypatch.setattr(client, "_optimise", optimise)

    return set_to


def integers(total, config):
    """The sum in whole steps."""
    step = config.secure.value_range / (2 ** (config.secure.bits - 1) - 1)
    steps = total / step
    assert np.abs(steps - np.rint(steps)).max() < 1e-6
    return np.rint(steps)


def require_noise(total, config, answered):
    """Judge a sum of zero updates: of 1.0 x clipping norm from ``min_replies`` shares, if clients draw them.

    By the configuration alone: neither the plan nor its variance is asked.
    """
    steps = integers(total, config)
    length = len(steps)
    norm = config.privacy.clipping_norm * (2 ** (config.secure.bits - 1) - 1) / config.secure.value_range
    bound = math.sqrt(norm**2 + length / 4 + norm + math.sqrt(length) / 2)
    shares = answered / config.federation.min_replies if config.privacy.noise_by.value == "clients" else 1.0
    expected = shares * bound**2
    # chi-square: relative deviation sqrt(2 / P), six of them
    assert abs(np.mean(steps**2) / expected - 1.0) < 6.0 * math.sqrt(2.0 / length)
    assert abs(np.mean(steps)) < 6.0 * math.sqrt(expected / length)


CASES = {
    "clients": ((), 4),
    "server": (("privacy.noise_by=server",), 4),
    "clients, seeded": (("privacy.noise=fast",), 4),
    "clients, committee": (COMMITTEE, 4),
    "server, committee": ((*COMMITTEE, "privacy.noise_by=server"), 4),
    "clients, one of them silent": (("federation.faults=[2:raise]",), 3),
    "clients, more of them needed": (("federation.min_replies=4",), 4),
    "clients, coarse steps": (("secure.bits=8", "privacy.clipping_norm=0.1"), 4),
}


@pytest.mark.parametrize("case", CASES)
def test_the_noise_of_those_who_answered_is_in_every_sum_and_nothing_else(tiny, opened, moved, case):
    overrides, answered = CASES[case]
    moved(0.0)
    config = tiny(*NOISY, *overrides)
    report = run(config)
    assert [result.replied for result in report.history] == [0, answered, answered]
    for total in opened:
        require_noise(total, config, answered)
    first, second = opened
    length = len(first)
    assert abs(np.corrcoef(first, second)[0, 1]) < 6.0 / math.sqrt(length)


@pytest.mark.parametrize("where", ["clients", "server"])
def test_planted_a_run_without_noise_is_noticed(tiny, opened, moved, monkeypatch, where):
    moved(0.0)
    monkeypatch.setattr(SumPlan, "draw", lambda self, count, source: np.zeros(count, np.int64))
    config = tiny(*NOISY, f"privacy.noise_by={where}")
    run(config)
    with pytest.raises(AssertionError):
        require_noise(opened[0], config, 4)


def test_planted_noise_scaled_for_the_asked_and_not_for_the_fewest_who_may_answer_is_noticed(
    tiny, opened, moved, monkeypatch
):
    def for_all(**given):
        return plan_sum(**{**given, "contributors": 4})

    moved(0.0)
    monkeypatch.setattr(planning, "plan_sum", for_all)
    planning._sum_plan.cache_clear()
    config = tiny(*NOISY)
    try:
        run(config)
    finally:
        planning._sum_plan.cache_clear()
    with pytest.raises(AssertionError):
        require_noise(opened[0], config, 4)


def test_planted_clients_that_draw_the_same_noise_are_noticed(tiny, opened, moved, monkeypatch):
    moved(0.0)
    alike = ClientLevel.source
    monkeypatch.setattr(ClientLevel, "source", lambda self, *purpose: alike(self, "all"))
    config = tiny(*NOISY, "privacy.noise=fast")
    run(config)
    with pytest.raises(AssertionError):
        require_noise(opened[0], config, 4)


@pytest.mark.parametrize("factor", [0.5, 100.0])
def test_a_client_contributes_at_most_the_norm_that_the_noise_is_made_for(
    tiny, opened, moved, monkeypatch, factor
):
    """All clients go the same way, so the norm of their sum is the sum of their norms."""
    monkeypatch.setattr(SumPlan, "draw", lambda self, count, source: np.zeros(count, np.int64))
    config = tiny(*NOISY, "privacy.clipping_norm=3.0", "federation.rounds=1")
    length = sum_plan_of(config).dimension
    moved(factor * 3.0 / math.sqrt(length))
    run(config)
    weights = shares_of(config)
    norms = np.minimum(factor * 3.0 * weights, 3.0)
    found = np.linalg.norm(opened[0])
    assert found <= len(weights) * sum_plan_of(config).norm_bound * sum_plan_of(config).step
    assert found == pytest.approx(norms.sum(), rel=1e-3)


def shares_of(config):
    """Weights of the clients: examples over those of the largest."""
    config.run_id = "00" * 16
    sizes = np.array([len(share) for share in build_site(to_json(config)).shares])
    return sizes / sizes.max()


def test_planted_an_update_that_was_not_clipped_does_not_leave_its_client(tiny, moved, monkeypatch):
    monkeypatch.setattr(clipping, "clip", lambda update, norm: update)
    moved(100.0)
    with pytest.raises(UserError, match=r"round 1: none of the 4 clients .*exception x4"):
        run(tiny(*NOISY))


def test_epsilon_is_that_of_the_opened_sums_by_the_formula(tiny):
    config = tiny("privacy=client_level", "secure=bfv", "federation.rounds=3")
    report = run(config)
    plan = sum_plan_of(config)
    assert [result.epsilon for result in report.history] == [
        None,
        *(plan.spent([4] * rounds).epsilon for rounds in (1, 2, 3)),
    ]
    assert {result.delta for result in report.history[1:]} == {1e-5}
    # 3 sums, each with 4 shares: rho = 3 norm^2 / (2 x 4 sigma^2); 2^-10 of delta is the sampler's
    rho = 3 * plan.norm_bound**2 / (8 * float(plan.variance))
    assert report.history[-1].epsilon == pytest.approx(epsilon_of(rho, 1e-5 * (1 - 2**-10)), rel=1e-6)
    # planned for 2 answers in every round, it has room left
    assert plan.spent([2, 2, 2]).epsilon == pytest.approx(8.0, rel=1e-3)
    assert plan.spent([2, 2, 2]).epsilon <= 8.0


def test_what_clients_say_of_epsilon_counts_for_nothing(tiny, monkeypatch):
    real = client._optimise

    def boast(*given):
        loss, _ = real(*given)
        return loss, {"epsilon": 1e-9, "delta": 0.5}

    monkeypatch.setattr(client, "_optimise", boast)
    config = tiny("privacy=client_level", "secure=bfv")
    report = run(config)
    assert report.history[-1].epsilon == sum_plan_of(config).spent([4, 4]).epsilon
    assert report.history[-1].delta == 1e-5


def test_too_few_answers_are_not_opened_and_cost_nothing(tiny, opened):
    faults = "federation.faults=[0:raise,1:raise,3:raise]"
    report = run(tiny("privacy=client_level", "secure=bfv", faults))
    assert not opened
    assert [(result.replied, result.epsilon) for result in report.history] == [(0, None), (0, 0.0), (0, 0.0)]
    assert report.history[1].failures == {"exception": 3, "round_discarded": 1}


def test_seeded_noise_makes_a_run_that_can_be_repeated_and_secure_noise_does_not(tiny):
    fast = ("privacy=client_level", "secure=bfv", "privacy.noise=fast")
    runs = [run(tiny(*overrides)).parameters.tobytes() for overrides in (fast, fast, fast[:2])]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["clients", "server"])
def test_worker_processes_change_no_bit(tiny, where):
    fast = ("privacy=client_level", "secure=bfv", "privacy.noise=fast", f"privacy.noise_by={where}")
    runs = [run(tiny(*fast, f"engine.workers={workers}")).parameters.tobytes() for workers in (0, 2)]
    assert runs[0] == runs[1]


def test_parties_of_other_noise_refuse_each_other(tiny):
    changes = [
        (),
        ("privacy.noise_by=server",),
        ("privacy.epsilon=4",),
        ("privacy.clipping_norm=2",),
        ("federation.min_replies=3",),
        ("privacy=none",),
    ]
    digests = [codec_of(tiny("privacy=client_level", "secure=bfv", *each)).digest for each in changes]
    assert len(set(digests)) == len(changes)


@pytest.fixture
def founded(tiny):
    """Make the keys of a run; gives its configuration as JSON."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(*overrides):
            config = tiny("privacy=client_level", "secure=bfv", *overrides)
            config.run_id = "00" * 16
            config.secure.key_folder = stack.enter_context(key_folder(config))
            return to_json(config)

        yield make


@pytest.mark.parametrize(("where", "fewest"), [("clients", 3), ("server", 2)])
def test_key_holders_open_no_sum_with_less_noise_than_planned(founded, where, fewest):
    text = founded("federation.min_replies=3", f"privacy.noise_by={where}")
    assert build_keyholder(text, 0)._min_clients == fewest


@pytest.mark.parametrize("number", [0, 3, 1000])
def test_a_client_answers_in_none_but_the_planned_rounds(founded, number):
    site = build_site(founded())
    zeros = np.zeros(site.parameters.layout.size, np.float32)
    memory = ClientMemory()
    with pytest.raises(MessageError) as refused:
        client.train(site, 0, TrainRequest("00" * 16, number, 1.0, {}, zeros), memory)
    assert refused.value.cause == ("budget_spent" if number else "wrong_round")
    assert client.train(site, 0, TrainRequest("00" * 16, 2, 1.0, {}, zeros), memory).sealed


def test_a_client_whose_lifetime_budget_is_spent_says_so_before_it_trains(founded):
    once = build_site(founded())
    zeros = np.zeros(once.parameters.layout.size, np.float32)
    client.train(once, 0, TrainRequest("00" * 16, 1, 1.0, {}, zeros), ClientMemory())
    spent = Ledger(default_folder()).spent(once.examples(0), 1e-5, "client").epsilon
    site, memory = build_site(founded(f"privacy.lifetime_epsilon={spent + 1e-3}")), ClientMemory()
    before = site.parameters.read()
    with pytest.raises(MessageError, match="budget_spent"):
        client.train(site, 0, TrainRequest("00" * 16, 1, 1.0, {}, zeros), memory)
    assert memory.last_round is None
    # not even the global model was loaded, let alone trained
    np.testing.assert_array_equal(site.parameters.read(), before)
    assert before.any()
    # to ask costs nothing, and the others have their own
    assert Ledger(default_folder()).spent(site.examples(0), 1e-5, "client").epsilon == spent
    assert client.train(site, 1, TrainRequest("00" * 16, 1, 1.0, {}, zeros), ClientMemory()).sealed


def test_training_itself_is_that_without_privacy(founded):
    site = build_site(founded())
    assert site.privacy is None
    assert site.plan(0) is None
    assert not isinstance(site.privacy, PrivacySettings)


PLAN = plan_sum(
    clipping_norm=1.0, step=2.0**-10, dimension=4, contributors=2, rounds=3, delta=1e-5, epsilon=5.0
)


def rounds_of(session, answering, rounds=9, evaluate=None):
    """Let ``answering(round)`` clients answer under PLAN; the noise itself plays no part here."""
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ()), min_replies=2, client_level=ClientLevel(PLAN)))

    def behave(partition, message):
        number = TrainRequest.from_content(message.content).round
        return honest(message, np.ones(4)) if partition < answering(number) else None

    start = messages.pack_parameters(np.zeros(4, np.float32))
    result = strategy.start(FakeGrid(behave), start, num_rounds=rounds, evaluate_fn=evaluate)
    return messages.unpack_parameters(result.arrays), strategy


def test_a_run_ends_before_the_sum_that_would_pass_the_target(session, caplog):
    model, strategy = rounds_of(session, lambda number: 2)
    # 3 rounds of 2 answers were planned; 3 of 2 and one of all 4 would be too much
    assert [result.replied for result in strategy.history] == [0, 2, 2, 2]
    assert strategy.exhausted
    assert strategy.history[-1].epsilon == PLAN.spent([2, 2, 2]).epsilon <= 5.0
    assert PLAN.spent([2, 2, 2, 4]).epsilon > 5.0
    np.testing.assert_allclose(model, 3.0)
    assert "round 3 of 9: the privacy budget allows no further sum; the run ends here" in caplog.text


def test_a_run_ends_once_every_client_has_spent_its_own_budget(session, caplog):
    """What all runs may spend is known to the clients alone: the run's own plan allows more."""
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ()), min_replies=2, client_level=ClientLevel(PLAN)))

    def behave(partition, message):
        number = TrainRequest.from_content(message.content).round
        spent = number > 1 + partition // 2
        return (
            Message(messages.failure("budget_spent"), reply_to=message)
            if spent
            else honest(message, np.ones(4))
        )

    strategy.start(FakeGrid(behave), messages.pack_parameters(np.zeros(4, np.float32)), num_rounds=9)
    assert [result.replied for result in strategy.history] == [0, 4, 2, 0]
    assert strategy.exhausted
    assert PLAN.may_release([4, 2], 4)
    assert "round 3 of 9: every client has spent its privacy budget; the run ends here" in caplog.text


def test_a_sum_of_too_few_for_what_is_left_is_discarded_and_a_later_one_of_more_is_not(session):
    counts = {1: 4, 2: 4, 3: 4, 4: 2, 5: 2, 6: 4}
    _, strategy = rounds_of(session, lambda number: counts.get(number, 2))
    opened = [result.replied for result in strategy.history]
    spent = [replied for replied in opened if replied]
    assert strategy.history[-1].epsilon == PLAN.spent(spent).epsilon <= 5.0
    assert opened == [0, 4, 4, 4, 2, 0, 4]
    assert strategy.history[5].failures == {"no_reply": 2, "round_discarded": 2}
    assert strategy.history[5].epsilon == strategy.history[4].epsilon


def test_a_refused_sum_uses_up_the_budget_and_the_run_ends_where_it_would_have(session, monkeypatch):
    real = base.open_sum

    def refuse(*given):
        if inspect.signature(real).bind(*given).arguments["server_round"] == 2:
            raise SumRefused("round 2: refused", "not_a_sum")
        return real(*given)

    monkeypatch.setattr(base, "open_sum", refuse)
    model, strategy = rounds_of(session, lambda number: 2)
    assert [result.replied for result in strategy.history] == [0, 2, 0, 2]
    assert strategy.history[2].failures == {"no_reply": 2, "sum_refused": 2}
    assert strategy.exhausted
    assert strategy.history[-1].epsilon == PLAN.spent([2, 2, 2]).epsilon
    np.testing.assert_allclose(model, 2.0)


def test_a_resumed_run_counts_what_was_opened_refused_and_lost_and_nothing_else():
    history = [
        RoundResult(0, {}),
        RoundResult(1, {}, replied=4, failures={"no_reply": 1}),
        RoundResult(2, {}, failures={"sum_refused": 3, "no_reply": 2}),
        RoundResult(3, {}, failures={"round_discarded": 1}),
    ]
    assert releases(history, ((4, 2),)) == [(1, 4), (2, 3), (4, 2)]
    assert shared(PLAN, releases(history, ((4, 2),)), 4) == [4, 3, 2]
    progress = Progress(tuple(history), np.zeros(4, np.float32), lost_releases=((4, 2),))
    books = Books(progress, client_level=ClientLevel(PLAN))
    assert books._privacy() == (PLAN.spent([4, 3, 2]).epsilon, None, PLAN.delta, "zcdp")
    assert books.may_open(2) is PLAN.may_release([4, 3, 2], 2)


def test_planned_rounds_all_fit_and_nothing_is_said_of_an_end(session, caplog):
    _, strategy = rounds_of(session, lambda number: 2, rounds=3)
    assert [result.replied for result in strategy.history] == [0, 2, 2, 2]
    assert "ends here" not in caplog.text
