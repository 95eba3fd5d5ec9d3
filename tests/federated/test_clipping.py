"""Adaptive clipping in rounds: one norm for all clients of a sum, moved by what that says."""

import math

import numpy as np
import pytest

from fedpriv.config.as_json import to_json
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import build_client_level, sum_plan_of
from fedpriv.config.used import encryption_figures
from fedpriv.errors import UserError
from fedpriv.federated import client, messages
from fedpriv.federated.answers import SumRefused
from fedpriv.federated.clipping import SETTING, RunNorm, clipper
from fedpriv.federated.messages import MessageError, TrainRequest
from fedpriv.federated.roster import Member, Roster
from fedpriv.federated.strategy import base
from fedpriv.federated.strategy.fedavg import FedAvg
from fedpriv.privacy.adaptive_clipping import AdaptiveClipping, clip_with_vote, vote_of
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.sum_plan import SumPlan, plan_sum
from fedpriv.results import RoundResult
from fedpriv.runner import run
from fedpriv.training.parameters import FlatParameters

from .test_isolation import expect_the_lies, isolate_by_start, seen  # noqa: F401
from .test_rounds import FakeGrid, honest

ADAPTIVE = ("privacy=client_level", "secure=bfv", "privacy.clipping=adaptive", "federation.min_replies=4")
QUIET = (*ADAPTIVE, "privacy.epsilon=null", "privacy.noise_multiplier=1.0")
STEP = 2.0**-12
MEMBERS = tuple(Member(index, 100 + index, 10) for index in range(4))
RULE = AdaptiveClipping(1.0, 0.5, 0.2)
PLAN = plan_sum(
    clipping_norm=1.0,
    step=STEP,
    dimension=5,
    contributors=2,
    rounds=9,
    delta=1e-5,
    noise_multiplier=1.0,
    vote=vote_of(1.0, STEP),
)
LEVEL = ClientLevel(PLAN, adaptive=RULE)
FIXED = ClientLevel(
    plan_sum(
        **{
            "clipping_norm": 1.0,
            "step": STEP,
            "dimension": 4,
            "contributors": 2,
            "rounds": 9,
            "delta": 1e-5,
            "noise_multiplier": 1.0,
        }
    )
)


# what a client makes of it


@pytest.mark.parametrize(
    "settings", [{}, *({SETTING: bad} for bad in (0.0, -1.0, 1e-4, 1e4, math.nan, math.inf))]
)
def test_a_client_refuses_a_norm_that_no_round_can_have(settings):
    with pytest.raises(MessageError) as refused:
        clipper(LEVEL, settings)
    assert refused.value.cause == "malformed"


def test_a_client_of_a_fixed_norm_or_of_none_lets_nobody_tell_it_another():
    update = np.array([3.0, 4.0, 0.0, 0.0], np.float32)
    np.testing.assert_allclose(clipper(FIXED, {SETTING: 100.0})(update), update / 5, rtol=1e-6)
    assert clipper(None, {SETTING: 0.1})(update) is update


# what the server makes of it


def answering(votes, update=(0.5, 0.0, 0.0, 0.0)):
    """Clients whose updates are ``update`` and who vote as they like; None: the vote that is true."""

    def behave(partition, message):
        norm = TrainRequest.from_content(message.content).settings[SETTING]
        sent = clip_with_vote(np.array(update, np.float32), norm, PLAN)
        if votes[partition] is not None:
            sent[-1] = votes[partition] * PLAN.vote * STEP
        return honest(message, sent, examples=10, parameters=5)

    return behave


def rounds(session, behave, count=1, **changes):
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ()), min_replies=2, client_level=LEVEL, **changes))
    start = messages.pack_parameters(np.zeros(4, np.float32))
    result = strategy.start(FakeGrid(behave), start, num_rounds=count)
    return messages.unpack_parameters(result.arrays), strategy


HONEST = (None,) * 4


def test_the_norm_follows_the_votes_and_the_model_gets_the_clipped_updates_in_their_own_units(session):
    """Norms of 0.5: down from 1 by e^-0.1 a round while all are within, then up and down around it."""
    model, strategy = rounds(session, answering(HONEST), 9)
    norms, within = zip(
        *((each.clipping_norm, each.within_norm) for each in strategy.history[1:]), strict=True
    )
    expected = [math.exp(-0.1 * number) for number in range(7)]
    expected += [expected[-1] * math.exp(-0.1), expected[-1]]
    np.testing.assert_allclose(norms, expected)
    assert within == pytest.approx([1.0] * 7 + [0.0, 1.0])
    np.testing.assert_allclose(model, [sum(min(0.5, norm) for norm in norms), 0, 0, 0], atol=1e-5)
    assert strategy.history[0].clipping_norm is None


def test_the_fraction_is_of_those_who_answered_and_not_of_those_who_were_asked(session):
    behave = answering(HONEST)
    _, strategy = rounds(
        session, lambda partition, message: behave(partition, message) if partition else None
    )
    assert strategy.history[-1].replied == 3
    assert strategy.history[-1].within_norm == pytest.approx(1.0)


def test_a_client_that_lies_about_its_vote_is_one_vote(session):
    _, honestly = rounds(session, answering(HONEST))
    _, lying = rounds(session, answering((-1, None, None, None)))
    assert honestly.history[-1].within_norm == pytest.approx(1.0)
    assert lying.history[-1].within_norm == pytest.approx(0.75)


@pytest.mark.parametrize("votes", [1e6, -1e6])
def test_a_client_that_makes_up_a_thousand_votes_moves_the_norm_by_one_step_a_round(session, votes):
    _, strategy = rounds(session, answering((votes, None, None, None)), 5)
    norms = [each.clipping_norm for each in strategy.history[1:]]
    np.testing.assert_allclose(norms, [math.exp(-math.copysign(0.2, votes) * number) for number in range(5)])


def test_a_sum_that_is_not_opened_leaves_the_norm_where_it_was(session, monkeypatch):
    real, calls = base.open_sum, []

    def refuse_the_second(*given):
        calls.append(given)
        if len(calls) == 2:
            raise SumRefused("refused", "not_a_sum")
        return real(*given)

    monkeypatch.setattr(base, "open_sum", refuse_the_second)
    _, strategy = rounds(session, answering(HONEST), 4)
    found = [(each.clipping_norm, each.within_norm) for each in strategy.history[1:]]
    once, twice = math.exp(-0.1), math.exp(-0.2)
    assert found == [
        (1.0, pytest.approx(1.0)),
        (pytest.approx(once), None),
        (pytest.approx(once), pytest.approx(1.0)),
        (pytest.approx(twice), pytest.approx(1.0)),
    ]


def test_a_run_goes_on_with_the_norm_that_the_next_round_would_have_had():
    ended = [RoundResult(0, {}), RoundResult(1, {}, clipping_norm=0.5, within_norm=0.0)]
    assert RunNorm(LEVEL).norm == RunNorm(LEVEL, ended[:1]).norm == 1.0
    assert RunNorm(LEVEL, ended).norm == pytest.approx(0.5 * math.exp(0.1))
    discarded = [*ended, RoundResult(2, {}, clipping_norm=0.25)]
    assert RunNorm(LEVEL, discarded).norm == 0.25
    assert RunNorm(FIXED, ended).norm is None
    assert RunNorm(None, ended).settings() == {}


@pytest.mark.parametrize("norm", [None, 0.0, math.nan, 1e9])
def test_a_checkpoint_with_a_norm_that_is_none_is_one_line(norm):
    with pytest.raises(UserError, match=r"checkpoint: clipping norm .* of round 1; it is damaged"):
        RunNorm(LEVEL, [RoundResult(0, {}), RoundResult(1, {}, clipping_norm=norm)])


# whole runs


@pytest.fixture
def moved(monkeypatch):
    """Let client k move each parameter by the k-th distance, instead of training; gives their norms."""

    def set_to(config, *norms):
        size = sum_plan_of(config).dimension - 1

        def optimise(site, number, request, memory, *more):
            moved = request.parameters + np.float32(norms[number] / math.sqrt(size))
            site.parameters.load(moved.astype(np.float32))
            return math.nan, {}

        monkeypatch.setattr(client, "_optimise", optimise)
        return size

    return set_to


@pytest.mark.parametrize(
    "overrides", [(), ("privacy.noise_by=server",), ("secure=bfv_committee", "secure.holders=2")]
)
def test_noise_apart_an_encrypted_round_is_exactly_what_clipping_by_hand_gives(
    tiny, moved, monkeypatch, overrides
):
    monkeypatch.setattr(SumPlan, "draw", lambda self, count, source: np.zeros(count, np.int64))
    config = tiny(*QUIET, *overrides, "federation.rounds=3", "privacy.clipping_rate=1.0")
    norms = np.array([0.3, 0.7, 3.0, 5.0])
    size = moved(config, *norms)
    report = run(config)
    start = FlatParameters(build_backbone(to_json(config))).read()
    expected, norm, travelled = [], 1.0, 0.0
    for _ in range(3):
        within = float(np.mean(norms <= norm))
        expected.append((pytest.approx(norm, rel=1e-6), pytest.approx(within, abs=1e-3)))
        travelled += float(np.minimum(norms, norm).mean())
        norm *= math.exp(-(within - 0.5))
    found = [(each.clipping_norm, each.within_norm) for each in report.history[1:]]
    assert found == expected
    moved_by = (report.parameters - start).astype(float)
    assert moved_by.mean() * math.sqrt(size) == pytest.approx(travelled, rel=1e-3)
    assert report.history[-1].update_bytes == encryption_figures(to_json(config))["update_bytes"]


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_bad_initial_norm_recovers_within_rounds_under_encryption_and_noise(tiny, moved, factor):
    """Norms of 0.1 to 0.4 and a first guess of their middle times 100, or a hundredth of it."""
    start = 0.25 * factor
    config = tiny(
        *QUIET,
        "privacy.noise=fast",
        f"privacy.clipping_norm={start}",
        f"secure.value_range={start}",
        "privacy.clipping_rate=1.5",
        "federation.rounds=12",
        "evaluation.every=12",
    )
    moved(config, 0.1, 0.2, 0.3, 0.4)
    norms = [each.clipping_norm for each in run(config).history[1:]]
    assert norms[0] == start
    assert 0.25 / 4 < float(np.median(norms[-4:])) < 0.25 * 4


def test_a_server_that_tells_one_client_another_norm_opens_nothing(tiny, monkeypatch, seen):  # noqa: F811
    def unbounded(settings, model):
        return {**settings, SETTING: 1e3}, model

    expect_the_lies(monkeypatch, isolate_by_start(monkeypatch, unbounded))
    with pytest.raises(UserError, match=r"^round 1: key holder 0 refused \(wrong_model\)"):
        run(tiny(*QUIET))
    updates, sums = seen
    assert (len(updates), sums) == (4, {})
    others = max(np.abs(updates[number, 1][:-1]).max() for number in range(4) if number != 1)
    assert others < 1e-4 < 1e-3 < np.abs(updates[1, 1][:-1]).max()  # in the sum, the victim's would stand out


def test_epsilon_is_that_of_a_fixed_norm_and_only_the_noise_is_larger(tiny):
    adaptive, fixed = (sum_plan_of(tiny(*ADAPTIVE, each)) for each in ("seed=0", "privacy.clipping=fixed"))
    assert adaptive.dimension == fixed.dimension + 1
    assert math.sqrt(adaptive.variance / fixed.variance) == pytest.approx(1.05, rel=1e-2)
    assert adaptive.spent([4, 4]).epsilon == pytest.approx(fixed.spent([4, 4]).epsilon, rel=1e-3)
    level = build_client_level(tiny(*ADAPTIVE, "privacy.target_quantile=0.8", "privacy.clipping_rate=0.3"))
    assert level.adaptive == AdaptiveClipping(1.0, 0.8, 0.3)
