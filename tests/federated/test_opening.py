"""Making a committee's key and opening a sum: a holder that refuses, lies or is silent is named."""

import numpy as np
import pytest
from flwr.app import Error, Message

from fedpriv import apps
from fedpriv.errors import UserError
from fedpriv.federated import holder_messages, messages
from fedpriv.federated.answers import ask_keyholders
from fedpriv.federated.engines import flower_private
from fedpriv.federated.keyholder import Refusal
from fedpriv.federated.release import Accepted, open_sum
from fedpriv.he.codec import KeyRefused
from fedpriv.he.envelope import SIGNED_BYTES
from fedpriv.he.plain import PlainAggregator, PlainCodec
from fedpriv.runner import run

from .conftest import RUN_ID

NODES = (205, 201, 203)  # holder 0 lives on node 205


class Holders:
    """A grid of three key holders that answer ``behaviour[number](message)``, in the order of their nodes."""

    def __init__(self, behaviour):
        flower_private.enter_task(1)
        self.behaviour, self.asked = behaviour, []

    def send_and_receive(self, requests, timeout=None):
        requests = sorted(requests, key=lambda message: message.metadata.dst_node_id)
        self.asked += requests
        for index, message in enumerate(requests):
            flower_private.stamp(message, f"m{index}")
            reply = self.behaviour[NODES.index(message.metadata.dst_node_id)](message)
            yield from reply if isinstance(reply, list) else [] if reply is None else [reply]


def says(answer):
    return lambda message: Message(holder_messages.pack_answer(answer), reply_to=message)


def refuses(cause):
    return lambda message: Message(messages.failure(cause), reply_to=message)


HONEST = [says(b"zero"), says(b"one"), says(b"two")]


def ask(*behaviour):
    return ask_keyholders(
        Holders(behaviour), NODES, messages.OPEN, [holder_messages.pack_answer(b"")] * 3, 7.0, "round 4"
    )


def test_answers_are_ordered_by_holder_not_by_arrival():
    assert ask(*HONEST) == [b"zero", b"one", b"two"]


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (refuses("already_released"), "round 4: key holder 1 refused (already_released); see its log"),
        (refuses("secret=42\n" * 9), "round 4: key holder 1 refused (unknown); see its log"),
        (
            lambda m: Message(Error(2, "secret"), reply_to=m),
            "round 4: key holder 1 refused (exception); see its log",
        ),
        (lambda m: None, "round 4: key holder 1 did not answer within 7 s; see its log"),
        (
            lambda m: Message(messages.RecordDict({}), reply_to=m),
            "round 4: key holder 1 refused (malformed); see its log",
        ),
    ],
    ids=["refusal", "hostile cause", "exception", "silence", "empty"],
)
def test_a_holder_that_fails_ends_the_round_with_its_number_and_cause(behaviour, said):
    with pytest.raises(UserError) as caught:
        ask(HONEST[0], behaviour, HONEST[2])
    assert str(caught.value) == said


def test_a_second_answer_of_a_holder_does_not_replace_its_first():
    def twice(message):
        return [says(b"one")(message), says(b"other")(message)]

    assert ask(HONEST[0], twice, HONEST[2]) == [b"zero", b"one", b"two"]


class Sum(PlainAggregator):
    """A sum that holders open, for what they are sent and how it is counted."""

    def body_sum(self):
        return b"sum of bodies"

    def open(self, answers):
        self.answers = answers
        return np.zeros(4)


def test_all_holders_are_shown_the_same_objects_and_every_byte_is_counted():
    grid, aggregator = Holders(HONEST), Sum(4, 4)
    accepted = Accepted([bytes(SIGNED_BYTES)] * 2, [b"mask 0", b"mask 12"])
    opened = open_sum(grid, NODES, RUN_ID, 3, aggregator, accepted, 5.0)
    assert aggregator.answers == [b"zero", b"one", b"two"]
    shown = 2 * SIGNED_BYTES + 6 + 7 + 13
    assert opened.traffic == 3 * shown + 4 + 3 + 3
    arrays = [
        (id(message.content["parts"]["signed"]), id(message.content["masks"]["1"])) for message in grid.asked
    ]
    assert len(set(arrays)) == 1
    request = holder_messages.unpack_open(grid.asked[0].content)
    assert (request.run_id.hex(), request.round) == (RUN_ID, 3)
    assert (list(request.masks), request.body_sum) == (accepted.masks, b"sum of bodies")


def test_a_scheme_without_holders_asks_nobody():
    aggregator = PlainCodec(4).aggregator(4)
    aggregator.add(np.ones(4, "<f4").tobytes())
    opened = open_sum(None, (), RUN_ID, 1, aggregator, Accepted(), 5.0)
    assert (opened.total.tolist(), opened.traffic) == ([1.0] * 4, 0)


def test_answers_that_open_no_sum_are_one_line():
    with pytest.raises(
        UserError, match=r"^round 1: the key holders' answers do not open the sum \(malformed\)"
    ):
        open_sum(Holders(HONEST), NODES, RUN_ID, 1, PlainCodec(4).aggregator(4), Accepted(), 5.0)


# whole runs, with one holder that is not as it should be

COMMITTEE = ("secure=bfv_committee", "federation.rounds=2")


def spoilt(build, number, spoil):
    """Return ``build`` with what holder ``number`` does given to ``spoil(name, do, *arguments)``."""

    class Spoilt:
        def __init__(self, inner):
            self.inner = inner

        def step(self, step, blobs):
            return spoil(step, self.inner.step, step, blobs)

        def open(self, request):
            return spoil("open", self.inner.open, request)

    def built(text, which):
        inner = build(text, which)
        return Spoilt(inner) if which == number else inner

    return built


@pytest.mark.parametrize("step", holder_messages.STEPS)
def test_a_holder_that_refuses_a_step_of_key_making_is_named(tiny, monkeypatch, step):
    def refuse(name, do, *arguments):
        if name == step:
            raise KeyRefused("wrong_share", "key holder 0 committed to another share")
        return do(*arguments)

    monkeypatch.setattr(apps, "build_key_maker", spoilt(apps.build_key_maker, 2, refuse))
    with pytest.raises(UserError) as caught:
        run(tiny(*COMMITTEE))
    assert str(caught.value) == f"key making, step {step}: key holder 2 refused (wrong_share); see its log"


def test_a_holder_that_reveals_another_share_is_caught_by_the_others(tiny, monkeypatch):
    def lie(name, do, *arguments):
        answer = do(*arguments)
        return answer[:-1] + bytes([answer[-1] ^ 1]) if name == "reveal" else answer

    monkeypatch.setattr(apps, "build_key_maker", spoilt(apps.build_key_maker, 1, lie))
    with pytest.raises(UserError, match=r"^key making, step endorse: key holder 0 refused \(wrong_share\)"):
        run(tiny(*COMMITTEE))


def test_an_endorsement_that_does_not_check_stops_the_server(tiny, monkeypatch):
    def forge(name, do, *arguments):
        answer = do(*arguments)
        return bytes([answer[0] ^ 1]) + answer[1:] if name == "endorse" else answer

    monkeypatch.setattr(apps, "build_key_maker", spoilt(apps.build_key_maker, 1, forge))
    with pytest.raises(UserError, match=r"^key making: the joint key does not check \(forged\)"):
        run(tiny(*COMMITTEE))


def test_an_oversized_contribution_to_the_key_is_refused_unread(tiny, monkeypatch):
    monkeypatch.setattr(holder_messages, "MOST_KEY_BYTES", 100)
    with pytest.raises(UserError, match=r"^key making, step reveal: key holder 0 answered \d+ bytes"):
        run(tiny(*COMMITTEE))


def test_clients_refuse_a_key_that_the_server_replaced_and_say_why(tiny, monkeypatch):
    """The server's own check is switched off: it is the clients' that counts."""
    from fedpriv.federated import server_app
    from fedpriv.federated.key_making import MadeKey

    made = server_app.make_key

    def replaced(*arguments):
        key = made(*arguments)
        return MadeKey(key.data[:-1] + bytes([key.data[-1] ^ 1]), key.traffic)

    def unchecked(grid, plan, roster):
        key = replaced(grid, plan.run_id, roster.keyholders, plan.client_timeout_s)
        return plan.codec, key

    monkeypatch.setattr(server_app, "_with_key", unchecked)
    with pytest.raises(UserError, match=r"^round 1: none of the 4 clients .*\(forged x4\)"):
        run(tiny(*COMMITTEE))


def test_a_holder_that_refuses_a_sum_ends_the_run_by_round_number_and_cause(tiny, monkeypatch):
    def refuse(name, do, request):
        if request.round == 2:
            raise Refusal("too_few_clients")
        return do(request)

    monkeypatch.setattr(apps, "build_keyholder", spoilt(apps.build_keyholder, 1, refuse))
    with pytest.raises(UserError) as caught:
        run(tiny(*COMMITTEE))
    assert str(caught.value) == "round 2: key holder 1 refused (too_few_clients); see its log"


def test_a_holder_that_is_silent_ends_the_run_after_the_timeout(tiny, monkeypatch):
    import time

    def sleep(name, do, request):
        time.sleep(60)

    monkeypatch.setattr(apps, "build_keyholder", spoilt(apps.build_keyholder, 2, sleep))
    with pytest.raises(UserError, match=r"^round 1: key holder 2 did not answer within 2 s"):
        run(tiny(*COMMITTEE, "federation.client_timeout_s=2"))


def test_a_holder_whose_answer_is_cut_short_makes_no_model(tiny, monkeypatch):
    monkeypatch.setattr(
        apps, "build_keyholder", spoilt(apps.build_keyholder, 0, lambda name, do, request: do(request)[:-1])
    )
    with pytest.raises(UserError, match=r"^round 1: the key holders' answers do not open the sum"):
        run(tiny(*COMMITTEE))
