"""One round over a fake Grid: what honest, broken and hostile replies do to sum and counts."""

import dataclasses

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.engines import flower_private
from fedpriv.federated.messages import TrainReply, TrainRequest
from fedpriv.federated.roster import Member, Roster
from fedpriv.federated.start import codec_of_run, start_digest
from fedpriv.federated.strategy.fedavg import FedAvg
from fedpriv.federated.strategy.session import Progress
from fedpriv.he.envelope import SIGNED_BYTES, Header
from fedpriv.he.identity import SigningKey
from fedpriv.he.plain import PlainCodec
from fedpriv.results import RoundResult
from tests.envelopes import seal

from .conftest import LAYOUT, RUN_DIGEST, RUN_ID, SIGNERS

MEMBERS = tuple(Member(index, 100 + index, 10 * (index + 1)) for index in range(4))


def honest(message, update, examples=None, scheme="plain", signer=None, mask=b"", **changes):
    """The reply of a client that sends weight * update."""
    request = TrainRequest.from_content(message.content)
    partition = message.metadata.dst_node_id - 100
    vector = np.asarray(update, np.float32) * np.float32(request.weight)
    header = Header(
        **{
            "scheme": scheme,
            "run_id": bytes.fromhex(RUN_ID),
            "round": request.round,
            "client": partition,
            "parameters": LAYOUT.size,
            "layout": LAYOUT.digest,
            "start": start_digest(RUN_DIGEST, request.parameters, request.settings),
            "codec": codec_of_run(PlainCodec(1).digest, RUN_DIGEST),
            "examples": MEMBERS[partition].examples if examples is None else examples,
            "weight": request.weight,
            **changes,
        }
    )
    sealed = seal(header, mask, vector.tobytes(), signer or SIGNERS[partition])
    reply = TrainReply(scheme, sealed, {"train-loss": 1.0 + partition})
    return Message(reply.to_content(), reply_to=message)


class FakeGrid:
    """Answers with ``behaviour[partition](message)``; None answers nothing."""

    def __init__(self, behaviour):
        flower_private.enter_task(1)
        self.behaviour = behaviour

    def send_and_receive(self, requests, timeout=None):
        replies = []
        for index, message in enumerate(requests):
            flower_private.stamp(message, f"m{index}")
            reply = self.behaviour(message.metadata.dst_node_id - 100, message)
            replies += reply if isinstance(reply, list) else [reply] if reply is not None else []
        return replies


def run_round(session, behaviour, min_replies=1):
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ()), min_replies=min_replies))
    start = messages.pack_parameters(np.zeros(LAYOUT.size, np.float32))
    result = strategy.start(FakeGrid(behaviour), start, num_rounds=1)
    return messages.unpack_parameters(result.arrays), strategy.history[-1]


def test_the_mean_is_weighted_by_examples(session):
    """Weights 10, 20, 30, 40; updates i: (10*0 + 20*1 + 30*2 + 40*3) / 100 = 2."""
    model, report = run_round(session, lambda p, m: honest(m, np.full(4, p)))
    np.testing.assert_allclose(model, 2.0, rtol=1e-6)
    assert (report.asked, report.replied, report.failures) == (4, 4, {})
    assert report.train_loss == pytest.approx((10 * 1 + 20 * 2 + 30 * 3 + 40 * 4) / 100)


def test_the_order_of_arrival_changes_no_bit(session):
    values = np.random.default_rng(0).normal(size=(4, 4)) * [1e-8, 1, 1e4, 1]

    class Backwards(FakeGrid):
        def send_and_receive(self, requests, timeout=None):
            return super().send_and_receive(requests)[::-1]

    models = []
    for grid in (FakeGrid, Backwards):
        strategy = FedAvg()
        strategy.bind(session(roster=Roster(MEMBERS, ())))
        start = messages.pack_parameters(np.zeros(4, np.float32))
        result = strategy.start(grid(lambda p, m: honest(m, values[p])), start, num_rounds=1)
        models.append(messages.unpack_parameters(result.arrays).tobytes())
    assert models[0] == models[1]


def _nan(message):
    return honest(message, [np.nan, 0, 0, 0])


def _no_update(message):
    return Message(RecordDict({"status": ConfigRecord({"outcome": "ok"})}), reply_to=message)


def _wrong_stype(message):
    reply = honest(message, np.ones(4))
    array = Array("uint8", (3,), "numpy.ndarray", b"abc")
    reply.content["update"] = ArrayRecord({"sealed": array})
    return reply


def _text_metric(message):
    reply = honest(message, np.ones(4))
    reply.content["metrics"] = MetricRecord({"train-loss": [1.0, 2.0]})
    return reply


def _flipped(place):
    """An honest reply with one bit changed on the way."""

    def reply(message):
        made = honest(message, np.ones(4))
        data = bytearray(made.content.array_records["update"]["sealed"].data)
        data[place] ^= 1
        return _resent(made, bytes(data))

    return reply


def _resent(reply, sealed):
    array = Array("uint8", (len(sealed),), messages.update_stype("plain"), sealed)
    reply.content["update"] = ArrayRecord({"sealed": array})
    return reply


def _unsigned(message):
    reply = honest(message, np.ones(4))
    data = bytearray(reply.content.array_records["update"]["sealed"].data)
    data[SIGNED_BYTES - 64 : SIGNED_BYTES] = bytes(64)
    return _resent(reply, bytes(data))


def _of_another_client(message):
    """What client 1 sent and signed, word for word."""
    return honest(message, np.ones(4), client=1, examples=MEMBERS[1].examples, signer=SIGNERS[1])


def _hostile_cause(message):
    return Message(messages.failure("Traceback: secret=42\n" * 9), reply_to=message)


BROKEN = {
    "exception": lambda m: Message(messages.failure("exception"), reply_to=m),
    "no_reply": lambda m: None,
    "non_finite": _nan,
    "wrong_model": lambda m: honest(m, np.ones(4), parameters=5),
    "wrong_round": lambda m: honest(m, np.ones(4), round=9),
    "wrong_run": lambda m: honest(m, np.ones(4), run_id=bytes(16)),
    "wrong_client": _of_another_client,
    "wrong_examples": lambda m: honest(m, np.ones(4), examples=10_000),
    "wrong_weight": lambda m: honest(m, np.ones(4), weight=1.0),
    "wrong_parameters": lambda m: honest(m, np.ones(4), codec=bytes(32)),
    "truncated": lambda m: _resent(honest(m, np.ones(4)), b"FEDPRIV"),
    "oversized": lambda m: honest(m, np.ones(5)),
    "malformed": _no_update,
    "malformed, another length": lambda m: honest(m, np.ones(3)),
    "malformed, a part of it is called mask": lambda m: honest(m, np.ones(3), mask=bytes(4)),
    "forged": _unsigned,
    "forged, another's key": lambda m: honest(m, np.ones(4), signer=SIGNERS[1]),
    "forged, a key that nobody enrolled": lambda m: honest(m, np.ones(4), signer=SigningKey.generate()),
    "forged, a digest changed on the way": _flipped(SIGNED_BYTES - 65),
    "tampered": _flipped(-1),
    "wrong_scheme": _wrong_stype,
    "unknown": _hostile_cause,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_client_costs_its_own_update_and_is_counted_by_cause(session, name):
    """Clients 1 to 3 send 7, so whatever client 0 does the mean is 7."""
    model, report = run_round(session, lambda p, m: BROKEN[name](m) if p == 0 else honest(m, np.full(4, 7.0)))
    np.testing.assert_allclose(model, 7.0, rtol=1e-6)
    assert report.failures == {name.partition(",")[0]: 1}
    assert (report.asked, report.replied) == (4, 3)


def test_metrics_that_are_no_numbers_are_refused(session):
    _, report = run_round(session, lambda p, m: _text_metric(m) if p == 0 else honest(m, np.ones(4)))
    assert report.failures == {"malformed": 1}


@pytest.mark.parametrize(("code", "cause"), [(2, "exception"), (3, "no_reply"), (99, "flower_error")])
def test_flowers_own_errors_are_counted_and_their_text_is_dropped(session, code, cause):
    def behave(partition, message):
        return (
            Message(Error(code, "secret=42"), reply_to=message)
            if partition == 0
            else honest(message, np.ones(4))
        )

    _, report = run_round(session, behave)
    assert report.failures == {cause: 1}
    assert "secret" not in repr(report)


def test_a_second_reply_of_the_same_client_is_not_added(session):
    def behave(partition, message):
        reply = honest(message, np.full(4, 5.0))
        return [reply, reply] if partition == 1 else reply

    model, report = run_round(session, behave)
    np.testing.assert_allclose(model, 5.0, rtol=1e-6)
    assert report.failures == {"unexpected": 1}
    assert report.replied == 4


def test_what_a_client_sent_in_one_round_is_refused_in_the_next(session):
    kept = {}

    def behave(partition, number, message):
        if partition == 0 and number == 2:
            return _resent(honest(message, np.ones(4)), kept["sealed"])
        reply = honest(message, np.full(4, 3.0))
        if partition == 0:
            kept["sealed"] = reply.content.array_records["update"]["sealed"].data
        return reply

    model, strategy = run_rounds(session, behave, rounds=3)
    assert [report.failures for report in strategy.history] == [{}, {}, {"wrong_round": 1}, {}]
    np.testing.assert_allclose(model, 9.0, rtol=1e-6)


@pytest.mark.parametrize("cause", ["sum_refused", "round_discarded"])
def test_what_only_the_server_says_of_a_round_is_not_taken_from_a_client(session, cause):
    def behave(partition, message):
        if partition == 0:
            return Message(messages.failure(cause), reply_to=message)
        return honest(message, np.ones(4))

    _, report = run_round(session, behave)
    assert (report.replied, report.failures) == (3, {"unknown": 1})


def test_too_few_replies_discard_the_round_and_leave_the_model(session):
    model, report = run_round(session, lambda p, m: honest(m, np.ones(4)) if p < 2 else None, min_replies=3)
    assert not model.any()
    assert report.failures == {"no_reply": 2, "round_discarded": 2}
    assert report.replied == 0


def test_no_reply_at_all_ends_the_run_with_the_causes_in_one_line(session):
    with pytest.raises(UserError, match=r"round 1: none of the 4 clients .*\(exception x2, no_reply x2\)"):
        run_round(session, lambda p, m: BROKEN["exception" if p < 2 else "no_reply"](m))


def test_one_client_alone_is_spoken_of_as_one(session):
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS[:1], ())))
    grid, start = FakeGrid(lambda p, m: BROKEN["exception"](m)), messages.pack_parameters(np.zeros(4, "f4"))
    with pytest.raises(UserError) as caught:
        strategy.start(grid, start, num_rounds=1)
    assert str(caught.value) == (
        "round 1: the only client sent no usable update (exception x1); see the clients' logs"
    )


def test_an_update_that_overflows_the_model_ends_the_run(session):
    huge = np.float32(3e38)
    strategy = FedAvg(server_learning_rate=100.0)
    strategy.bind(session(roster=Roster(MEMBERS, ())))
    start = messages.pack_parameters(np.zeros(4, np.float32))
    with np.errstate(over="ignore"), pytest.raises(UserError, match=r"not finite.*learning_rate"):
        strategy.start(FakeGrid(lambda p, m: honest(m, np.full(4, huge))), start, num_rounds=1)


def test_the_model_keeps_its_dtype(session):
    model, _ = run_round(session, lambda p, m: honest(m, np.ones(4)))
    assert model.dtype == np.float32


def _spends(message, epsilon, **changes):
    reply = honest(message, np.ones(4), **changes)
    reply.content["metrics"] = MetricRecord({"epsilon": epsilon, "delta": 1e-5})
    return reply


def test_epsilon_is_the_largest_ever_spent_by_any_client_and_never_falls(session):
    """Cohorts change: the client that spent 7 in round 1 is not asked again."""
    spent = {1: {0: 7.0, 1: 1.0, 2: 1.0, 3: 1.0}, 2: {0: 2.0, 1: 2.0, 2: 2.0, 3: 2.0}}
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ())))
    start = messages.pack_parameters(np.zeros(4, np.float32))

    def behave(partition, message):
        number = TrainRequest.from_content(message.content).round
        return _spends(message, spent[number][partition])

    strategy.start(FakeGrid(behave), start, num_rounds=2)
    assert [report.epsilon for report in strategy.history] == [None, 7.0, 7.0]
    assert strategy.history[-1].delta == 1e-5


def test_the_accountant_is_that_of_the_client_whose_epsilon_is_stated_before_and_after_an_interruption(
    session,
):
    def behave(partition, number, message):
        reply = _spends(message, 8.0 + number if partition == number else 1.0)
        reply.content["metrics"]["rdp"] = float(partition == 2)
        return reply

    def accountants(**changes):
        strategy = FedAvg()
        strategy.bind(session(roster=Roster(MEMBERS, ()), **changes))
        grid = FakeGrid(lambda p, m: behave(p, TrainRequest.from_content(m.content).round, m))
        strategy.start(grid, messages.pack_parameters(np.zeros(4, np.float32)), num_rounds=2)
        return [report.accountant for report in strategy.history]

    assert accountants() == [None, "prv", "rdp"]
    begun = (RoundResult(0, {}), RoundResult(1, {}, epsilon=50.0, delta=1e-5, accountant="rdp", replied=3))
    spent = {"spent": {3: 50.0}, "by_rdp": frozenset({3})}
    progress = Progress(begun, np.zeros(4, np.float32), delta=1e-5, **spent)
    assert accountants(progress=progress) == [None, "rdp", "rdp"]


def test_what_a_refused_reply_spent_is_counted(session):
    _, report = run_round(session, lambda p, m: _spends(m, 9.0, round=5) if p == 0 else _spends(m, 1.0))
    assert report.failures == {"wrong_round": 1}
    assert report.epsilon == 9.0


@pytest.mark.parametrize("lie", [-3.0, float("nan"), float("-inf"), 1e300])
def test_an_impossible_epsilon_is_not_reported(session, lie):
    _, report = run_round(session, lambda p, m: _spends(m, lie if p == 0 else 1.0))
    assert report.epsilon == 1.0


def test_in_a_run_without_privacy_no_client_can_claim_an_epsilon(session):
    _, report = run_round(lambda **given: session(**given, plan_of=None), lambda p, m: _spends(m, 3.0))
    assert report.replied == 4
    assert (report.epsilon, report.epsilon_reported, report.delta) == (None, None, None)


def test_an_infinite_epsilon_is_reported_as_such(session):
    """With too little noise no accountant bounds it, and the client says so."""
    _, report = run_round(session, lambda p, m: _spends(m, float("inf") if p == 0 else 1.0))
    assert (report.epsilon, report.epsilon_reported) == (np.inf, np.inf)
    assert (report.accountant, report.delta) == ("none", 1e-5)


def test_an_epsilon_of_0_is_reported_as_such(session):
    _, report = run_round(session, lambda p, m: _spends(m, 0.0))
    assert (report.epsilon, report.epsilon_reported, report.accountant) == (0.0, 0.0, "prv")


def test_an_integer_beyond_all_floats_is_malformed():
    with pytest.raises(messages.MessageError, match="malformed"):
        messages._number(10**400)


def test_figures_that_nobody_asked_for_are_dropped(session):
    def behave(partition, message):
        reply = honest(message, np.ones(4))
        reply.content["metrics"] = MetricRecord({f"n{index}": 1.0 for index in range(1000)})
        return reply

    _, report = run_round(session, behave)
    assert report.replied == 4
    assert report.train_loss is None


def _spent(message):
    return Message(messages.failure("budget_spent"), reply_to=message)


def failed(message):
    return Message(messages.failure("training_failed"), reply_to=message)


def run_rounds(session, behave, rounds, evaluate=None, observers=(), progress=None, **fields):
    strategy = FedAvg()
    made = session(roster=Roster(MEMBERS, ()), observers=observers, **fields)
    strategy.bind(dataclasses.replace(made, progress=progress))
    start = messages.pack_parameters(
        np.zeros(4, np.float32) if progress is None else np.array(progress.parameters)
    )

    def behaviour(partition, message):
        return behave(partition, TrainRequest.from_content(message.content).round, message)

    result = strategy.start(FakeGrid(behaviour), start, num_rounds=rounds, evaluate_fn=evaluate)
    return messages.unpack_parameters(result.arrays), strategy


def test_once_all_budgets_are_spent_the_run_ends_with_the_model_so_far(session, caplog):
    def behave(partition, number, message):
        return honest(message, np.ones(4)) if number < 3 else _spent(message)

    model, strategy = run_rounds(session, behave, rounds=9)
    assert strategy.exhausted
    assert [report.number for report in strategy.history] == [0, 1, 2, 3]
    last = strategy.history[-1]
    assert (last.asked, last.replied, last.failures) == (4, 0, {"budget_spent": 4})
    np.testing.assert_allclose(model, 2.0)
    assert "round 3 of 9: every client has spent its privacy budget" in caplog.text


def test_budgets_may_run_out_one_after_the_other(session):
    def behave(partition, number, message):
        return honest(message, np.ones(4)) if number <= partition else _spent(message)

    model, strategy = run_rounds(session, behave, rounds=9)
    assert [report.replied for report in strategy.history] == [0, 3, 2, 1, 0]
    np.testing.assert_allclose(model, 3.0, rtol=1e-6)


def test_with_fewer_unspent_clients_than_min_replies_nobody_pays_for_a_round_that_would_be_discarded(
    session, caplog
):
    asked = []

    def behave(partition, number, message):
        asked.append((number, partition))
        return honest(message, np.ones(4)) if number < 2 or partition == 3 else _spent(message)

    model, strategy = run_rounds(session, behave, rounds=9, min_replies=2)
    assert strategy.exhausted
    assert [report.replied for report in strategy.history] == [0, 4, 0]
    assert max(asked) == (2, 3)
    np.testing.assert_allclose(model, 1.0)
    assert "1 of 4 clients have privacy budget left, fewer than federation.min_replies=2" in caplog.text


def test_clients_that_fail_for_other_causes_do_not_end_the_run(session):
    def behave(partition, number, message):
        return honest(message, np.ones(4)) if number > 3 or partition == 3 else failed(message)

    _, strategy = run_rounds(session, behave, rounds=5, min_replies=2)
    assert not strategy.exhausted
    assert [report.replied for report in strategy.history] == [0, 0, 0, 0, 4, 4]


def test_a_cohort_whose_budgets_are_spent_does_not_end_the_run_for_the_others(session):
    def behave(partition, number, message):
        return _spent(message) if partition < 2 else honest(message, np.ones(4))

    _, strategy = run_rounds(session, behave, rounds=12, cohort=2)
    replied = [report.replied for report in strategy.history[1:]]
    assert len(replied) == 12
    assert {0, 2} <= set(replied)  # cohorts of spent clients alone, and cohorts of the others
    assert not strategy.exhausted


def test_a_spent_budget_among_other_failures_does_not_fail_the_run(session):
    model, strategy = run_rounds(
        session, lambda p, n, m: _spent(m) if p else BROKEN["exception"](m), rounds=2
    )
    assert strategy.history[-1].failures == {"budget_spent": 3, "exception": 1}
    assert not model.any()


def test_a_session_with_progress_goes_on_where_it_stopped(session):
    def behave(partition, number, message):
        return honest(message, np.full(4, 10.0**number))

    class Observer:
        def __init__(self):
            self.rounds = []

        def client_done(self, done, asked):
            pass

        def round_done(self, result, parameters):
            self.rounds.append((result.number, float(parameters[0])))

    whole, strategy = run_rounds(session, behave, rounds=3)
    half, begun = run_rounds(session, behave, rounds=2)
    observer = Observer()
    progress = Progress(tuple(begun.history), half, spent={0: 7.0, 1: 1.0}, delta=1e-5)
    model, resumed = run_rounds(session, behave, rounds=3, observers=(observer,), progress=progress)
    assert model.tobytes() == whole.tobytes()
    assert [report.number for report in resumed.history] == [0, 1, 2, 3]
    assert [number for number, _ in observer.rounds] == [3]
    # what was spent before counts, though nobody reports it again
    assert (resumed.history[-1].epsilon, resumed.history[-1].delta) == (7.0, 1e-5)
    assert strategy.history[-1].epsilon is None
