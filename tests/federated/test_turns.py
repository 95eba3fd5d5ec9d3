"""Clients that take turns, and noise that is correlated over rounds, in whole rounds and runs."""

import itertools
import math
from collections import Counter
from contextlib import ExitStack

import numpy as np
import pytest

from fedpriv.config.as_json import to_json
from fedpriv.config.parties import build_site
from fedpriv.config.privacy import sum_plan_of
from fedpriv.errors import UserError
from fedpriv.federated import client
from fedpriv.federated.memory import recall, remember
from fedpriv.federated.messages import MessageError, TrainRequest
from fedpriv.federated.roster import Member, Roster
from fedpriv.federated.strategy import base
from fedpriv.federated.strategy.asking import draw_cohort
from fedpriv.federated.strategy.books import Books, shared, spent_most
from fedpriv.federated.strategy.session import Progress
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.matrix_noise import NoiseMemory
from fedpriv.results import RoundResult
from fedpriv.run_keys import key_folder
from fedpriv.runner import run
from fedpriv.training.party import ClientMemory

SIX = (
    "privacy=client_level",
    "secure=bfv",
    "privacy.noise_by=server",
    "data.people=8",
    "data.images_per_person=4",
    "federation.clients=6",
    "federation.cohort=2",
    "federation.order=cyclic",
    "federation.rounds=7",
)
BANDED = (*SIX, "privacy.correlation=banded")


@pytest.fixture
def opened(monkeypatch):
    """Every sum that is opened, in whole steps, by its round."""
    sums, real = {}, base.open_sum

    def spy(*given):
        made = real(*given)
        sums[given[4]] = made.total
        return made

    monkeypatch.setattr(base, "open_sum", spy)
    return sums


@pytest.fixture
def still(monkeypatch):
    """No client moves anything: what is opened is noise."""

    def optimise(site, number, request, memory):
        return math.nan, {}

    monkeypatch.setattr(client, "_optimise", optimise)


@pytest.fixture
def asked(monkeypatch):
    """Who was asked in each round."""
    found, real = {}, base.draw_cohort

    def spy(session, number):
        found[number] = real(session, number)
        return found[number]

    monkeypatch.setattr(base, "draw_cohort", spy)
    return found


@pytest.fixture
def site(tiny):
    """The clients' side of a run of seven rounds in which every client has one turn in three."""
    with ExitStack() as stack:

        def make(*overrides):
            config = tiny(*BANDED, *overrides)
            config.run_id = "00" * 16
            config.secure.key_folder = stack.enter_context(key_folder(config))
            return build_site(to_json(config))

        yield make


@pytest.mark.parametrize(("clients", "turns"), [(6, 3), (10, 3), (7, 7), (9, 2)])
def test_every_client_is_asked_in_each_so_manieth_round_and_in_no_other(session, clients, turns):
    members = tuple(Member(index, 100 + index, 5) for index in range(clients))
    made = session(roster=Roster(members, ()), cohort=-(-clients // turns), turns=turns)
    rounds = [[each.partition for each in draw_cohort(made, number)] for number in range(1, 4 * turns + 1)]
    for number, cohort in enumerate(rounds):
        assert cohort == sorted(cohort) == rounds[number % turns]
    assert sorted(itertools.chain(*rounds[:turns])) == list(range(clients))
    assert max(map(len, rounds)) - min(map(len, rounds)) <= 1
    other = session(roster=Roster(members, ()), cohort=2, turns=turns, seed=1)
    if turns < clients:
        assert [each.partition for each in draw_cohort(other, 1)] != rounds[0]


def test_guarantee_a_client_refuses_a_round_that_comes_before_its_turn(site):
    made = site()
    zeros, memory = np.zeros(made.parameters.layout.size, np.float32), ClientMemory()

    def ask(number):
        return client.train(made, 0, TrainRequest("00" * 16, number, 1.0, {}, zeros), memory)

    assert ask(2).sealed
    for number in (2, 3, 4, 1):
        with pytest.raises(MessageError) as refused:
            ask(number)
        assert refused.value.cause == "too_soon"
    assert ask(5).sealed
    assert memory.last_round == 5


def test_a_round_that_a_client_failed_in_before_it_sealed_anything_costs_it_no_turn(site, monkeypatch):
    made, memory = site(), ClientMemory()
    zeros = np.zeros(made.parameters.layout.size, np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(client, "_optimise", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            client.train(made, 0, TrainRequest("00" * 16, 2, 1.0, {}, zeros), memory)
    assert client.train(made, 0, TrainRequest("00" * 16, 3, 1.0, {}, zeros), memory).sealed


def test_clients_in_cohorts_at_random_may_come_at_any_time(site):
    made = site("federation.order=random", "privacy.correlation=none")
    zeros, memory = np.zeros(made.parameters.layout.size, np.float32), ClientMemory()
    for number in (1, 2, 3):
        assert client.train(made, 0, TrainRequest("00" * 16, number, 1.0, {}, zeros), memory).sealed


def test_a_node_remembers_its_last_round():
    from flwr.app import Context, RecordDict

    context = Context(0, 0, {}, RecordDict(), {})
    assert recall(context).last_round is None
    remember(context, ClientMemory(last_round=3))
    assert recall(context).last_round == 3


def require_correlated(opened, config):
    """Sums of zero updates are C^{-1} z: C times them is independent and of the planned variance."""
    step = config.secure.value_range / (2 ** (config.secure.bits - 1) - 1)
    rows = np.array([opened[number] for number in sorted(opened)]) / step
    # by the configuration alone: 1, 1/2, 3/8 of three groups
    z = np.array(
        [sum(c * rows[t - j] for j, c in enumerate((1.0, 0.5, 0.375)) if j <= t) for t in range(len(rows))]
    )
    norm = config.privacy.clipping_norm / step
    length = rows.shape[1]
    bound = math.sqrt(norm**2 + length / 4 + norm + math.sqrt(length) / 2)
    expected = config.privacy.noise_multiplier**2 * bound**2 * (1 + 0.5**2 + 0.375**2)
    allowed = 6.0 * math.sqrt(2.0 / length)
    for row in z:
        assert abs(np.mean(row**2) / expected - 1.0) < allowed + 2e-3
    for one, other in itertools.combinations(z, 2):
        assert abs(np.mean(one * other) / expected) < allowed


KNOWN = ("privacy.epsilon=null", "privacy.noise_multiplier=1.0")


def test_the_noise_of_a_run_is_correlated_as_planned_and_no_other(tiny, opened, still):
    config = tiny(*BANDED, *KNOWN)
    report = run(config)
    assert sorted(opened) == [1, 2, 3, 4, 5, 6, 7]
    require_correlated(opened, config)
    # 3 participations at most: rho = 3 / 2
    assert report.history[-1].epsilon == sum_plan_of(config).spent([1, 1, 1]).epsilon


def without_correction(patch):
    patch.setattr(NoiseMemory, "begin", lambda self, number: (np.zeros(self.length, np.int32), []))


def the_same_row_again_and_again(patch):
    alike = ClientLevel.source
    patch.setattr(ClientLevel, "source", lambda self, *purpose: alike(self, "server", 1))


def noise_for_one_row_only(patch):
    """As if a participation moved the row of its own round and no later one."""
    from fedpriv.privacy import sum_plan

    patch.setattr(sum_plan, "reach", lambda norm, dimension, matrix, refinement: norm)


@pytest.mark.parametrize("bug", [without_correction, the_same_row_again_and_again, noise_for_one_row_only])
def test_planted_in_a_run_it_is_noticed(tiny, opened, still, monkeypatch, bug):
    from fedpriv.config import privacy as planning

    bug(monkeypatch)
    planning._sum_plan.cache_clear()
    config = tiny(*BANDED, *KNOWN, "privacy.noise=fast")
    try:
        run(config)
    finally:
        planning._sum_plan.cache_clear()
    with pytest.raises(AssertionError):
        require_correlated(opened, config)


def test_epsilon_is_that_of_the_clients_with_most_turns(tiny, asked):
    report = run(tiny(*BANDED))
    plan = sum_plan_of(tiny(*BANDED))
    once, twice, thrice = (plan.spent([1] * turns).epsilon for turns in (1, 2, 3))
    found = [result.epsilon for result in report.history[1:]]
    assert found == [once, once, once, twice, twice, twice, thrice]
    assert 0.998 * 8.0 < thrice <= 8.0
    taken = Counter(each.partition for cohort in asked.values() for each in cohort)
    assert sorted(taken.values()) == [2, 2, 2, 2, 3, 3]


def test_independent_noise_in_turns_costs_no_more_than_the_turns_either(tiny):
    config = tiny(*SIX)
    assert run(config).history[-1].epsilon == sum_plan_of(config).spent([1, 1, 1]).epsilon
    in_shares = tiny(*SIX, "privacy.noise_by=clients")
    assert run(in_shares).history[-1].epsilon == sum_plan_of(in_shares).spent([2, 2, 2]).epsilon


def test_planted_an_order_that_the_server_does_not_keep_is_refused_by_the_clients(tiny, monkeypatch):
    """The same two in every round: they take part in the first, and the run finds nobody for the second."""
    monkeypatch.setattr(base, "draw_cohort", lambda session, number: list(session.roster.clients)[:2])
    with pytest.raises(UserError, match=r"^round 2: none of the 2 clients .*\(too_soon x2\)"):
        run(tiny(*BANDED))


PLAN_ROUNDS = [RoundResult(0, {}), *(RoundResult(number, {}, replied=2) for number in (1, 2, 3, 4))]


def test_books_ask_what_the_clients_of_the_next_round_have_spent(tiny):
    """Four rounds of three turns: those of round 5 were in round 2 alone; a lost sum is that of its turn."""
    plan = sum_plan_of(tiny(*BANDED))
    sums, lost = [(1, 2), (2, 2), (3, 2), (4, 2)], [(4, 2)]
    assert [len(shared(plan, sums, number)) for number in (4, 5, 6, 7)] == [2, 1, 1, 2]
    assert [len(shared(plan, [*sums, *lost], number)) for number in (4, 5, 6, 7)] == [3, 1, 1, 3]
    assert spent_most(plan, sums) == plan.spent([1, 1])
    assert spent_most(plan, [*sums, *lost]) == plan.spent([1, 1, 1])
    assert spent_most(plan, []).epsilon == 0.0
    progress = Progress(tuple(PLAN_ROUNDS), np.zeros(4, np.float32), lost_releases=((4, 2),))
    books = Books(progress, client_level=ClientLevel(plan))
    # three participations were planned: round 5 is the second of its clients, round 7 would be a fourth
    assert books.may_open(2)
    books.opening(2)
    books.history += [RoundResult(number, {}, replied=2) for number in (5, 6)]
    assert not books.may_open(2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_change_nothing_but_where_clients_train(tiny, workers):
    runs = [
        run(tiny(*BANDED, "privacy.noise=fast", f"engine.workers={count}")).parameters.tobytes()
        for count in (0, workers)
    ]
    assert runs[0] == runs[1]
