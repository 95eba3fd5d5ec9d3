"""Making a committee's key and opening a sum: a holder that refuses, lies or is silent is named."""

import dataclasses

import numpy as np
import pytest
from flwr.app import Error, Message

from fedpriv import apps
from fedpriv.config.secure import codec_of, policy_of
from fedpriv.errors import UserError
from fedpriv.federated import holder_messages, messages
from fedpriv.federated.answers import SumRefused, ask_keyholders
from fedpriv.federated.engines import flower_private
from fedpriv.federated.keyholder import Refusal
from fedpriv.federated.release import Accepted, open_sum
from fedpriv.he import provision
from fedpriv.he.answer import SignedAnswer, sign_answer
from fedpriv.he.codec import KeyRefused
from fedpriv.he.envelope import SIGNED_BYTES
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.key_steps import STEPS
from fedpriv.he.plain import PlainAggregator, PlainCodec
from fedpriv.run_keys import key_folder
from fedpriv.runner import run

from .conftest import RUN_ID

NODES = (205, 201, 203)  # holder 0 lives on node 205
KEYS = [SigningKey.generate() for _ in NODES]
ENROLMENT = Enrolment({}, {number: key.public for number, key in enumerate(KEYS)})


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


def says(answer, key=None, number=None, **moved):
    """Answer, and sign where a sum is to be opened, as any other holder or for elsewhere if so ``moved``."""

    def reply(message):
        if "request" not in message.content:
            return Message(holder_messages.pack_answer(answer), reply_to=message)
        request = dataclasses.replace(holder_messages.unpack_open(message.content), **moved)
        own = NODES.index(message.metadata.dst_node_id)
        signer, place = KEYS[own] if key is None else key, own if number is None else number
        signed = sign_answer(signer, request.run_id, request.round, place, answer)
        return Message(holder_messages.pack_signed_answer(signed), reply_to=message)

    return reply


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


@pytest.mark.parametrize("cause", ["not_a_sum", "malformed"])
def test_a_sum_that_is_none_is_told_from_every_other_refusal(cause):
    with pytest.raises(SumRefused) as caught:
        ask(HONEST[0], refuses(cause), HONEST[2])
    assert (caught.value.cause, caught.value.traffic) == (cause, 4 + 3)
    assert str(caught.value) == f"round 4: key holder 1 refused ({cause}); see its log"


@pytest.mark.parametrize(
    "graver",
    [refuses("already_released"), refuses("forged"), refuses("too_few_clients"), lambda message: None],
)
@pytest.mark.parametrize("first", [0, 2])
def test_graver_grounds_of_another_holder_come_before_a_sum_that_is_none(graver, first):
    behaviour = [refuses("not_a_sum")] * 3
    behaviour[first] = graver
    with pytest.raises(UserError, match=rf"^round 4: key holder {first} ") as caught:
        ask(*behaviour)
    assert not isinstance(caught.value, SumRefused)


def test_no_holder_is_left_unheard_where_the_run_goes_on():
    """An answer that is still to come would be taken for one of the next round."""
    grid, heard = Holders([refuses("malformed")] * 3), []
    real = grid.send_and_receive

    def listening(*given, **options):
        for reply in real(*given, **options):
            heard.append(reply.metadata.src_node_id)
            yield reply

    grid.send_and_receive = listening
    with pytest.raises(SumRefused, match="key holder 0 refused"):
        ask_keyholders(grid, NODES, messages.OPEN, [holder_messages.pack_answer(b"")] * 3, 7.0, "round 4")
    assert sorted(heard) == sorted(NODES)


@pytest.mark.parametrize("content", [messages.RecordDict({}), holder_messages.pack_blobs([b""])])
def test_what_cannot_be_read_is_a_broken_holder_and_no_refused_sum(content):
    if not isinstance(content, messages.RecordDict):
        content = messages.RecordDict({"other": content, "status": messages.ConfigRecord({"outcome": "ok"})})
    with pytest.raises(UserError, match=r"key holder 1 refused \(malformed\)") as caught:
        ask(HONEST[0], lambda message: Message(content, reply_to=message), HONEST[2])
    assert not isinstance(caught.value, SumRefused)


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
    opened = open_sum(grid, NODES, ENROLMENT, RUN_ID, 3, aggregator, accepted, 5.0)
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


class Unused(PlainAggregator):
    """A sum that no answer may touch."""

    def open(self, answers):
        raise AssertionError("an answer was used")


FORGERIES = {
    "another key": says(b"one", key=SigningKey.generate()),
    "another holder's key": says(b"one", key=KEYS[0]),
    "another holder's answer": says(b"zero", key=KEYS[0], number=0),
    "another holder's place": says(b"one", number=2),
    "another round": says(b"one", round=2),
    "another run": says(b"one", run_id=bytes(16)),
    "no signature": lambda m: Message(holder_messages.pack_answer(b"one"), reply_to=m),
    "a signature of zeros": lambda m: Message(
        holder_messages.pack_signed_answer(SignedAnswer(b"one", bytes(64))), reply_to=m
    ),
    "a short signature": lambda m: Message(
        holder_messages.pack_signed_answer(SignedAnswer(b"one", bytes(63))), reply_to=m
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_answer_that_its_holder_has_not_signed_is_named_and_not_used(forgery):
    grid = Holders([HONEST[0], FORGERIES[forgery], HONEST[2]])
    with pytest.raises(UserError, match=r"^round 3: .*key holder 1 .*\(forged\); see its log$") as caught:
        open_sum(grid, NODES, ENROLMENT, RUN_ID, 3, Unused(4, 4), Accepted(), 5.0)
    assert not isinstance(caught.value, SumRefused)


def test_a_scheme_without_holders_asks_nobody():
    aggregator = PlainCodec(4).aggregator(4)
    aggregator.add(np.ones(4, "<f4").tobytes())
    opened = open_sum(None, (), ENROLMENT, RUN_ID, 1, aggregator, Accepted(), 5.0)
    assert (opened.total.tolist(), opened.traffic) == ([1.0] * 4, 0)


def test_answers_that_open_no_sum_are_one_line():
    with pytest.raises(
        UserError, match=r"^round 1: the key holders' answers do not open the sum \(malformed\)"
    ):
        open_sum(Holders(HONEST), NODES, ENROLMENT, RUN_ID, 1, PlainCodec(4).aggregator(4), Accepted(), 5.0)


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


def resigned(do, request, change):
    """What a holder answers, changed by itself: signed as it should be."""
    holder, answer = do.__self__, change(do(request).answer)
    return sign_answer(holder._signer, request.run_id, request.round, holder.number, answer)


@pytest.mark.parametrize("step", STEPS)
def test_a_holder_that_refuses_a_step_of_key_making_is_named(tiny, monkeypatch, step):
    def refuse(name, do, *arguments):
        if name == step:
            raise KeyRefused("wrong_share", "key holder 0 committed to another share")
        return do(*arguments)

    monkeypatch.setattr(apps, "build_key_maker", spoilt(apps.build_key_maker, 2, refuse))
    with pytest.raises(UserError) as caught:
        run(tiny(*COMMITTEE))
    assert str(caught.value) == f"key making, step {step}: key holder 2 refused (wrong_share); see its log"


def test_a_server_that_asks_for_another_key_in_mid_run_gets_none_and_breaks_nothing(tiny, monkeypatch):
    """Each holder is asked to commit anew, in another process as it were, whenever it opens a round."""
    build, asked = apps.build_keyholder, []

    def built(text, number):
        holder = build(text, number)

        class Asked:
            def open(self, request):
                for cached in (apps.build_key_maker, apps.build_key_maker.__wrapped__):
                    with pytest.raises(KeyRefused) as refused:
                        cached(text, number).step("commit", [])
                    asked.append(refused.value.cause)
                return holder.open(request)

        return Asked()

    monkeypatch.setattr(apps, "build_keyholder", built)
    report = run(tiny(*COMMITTEE))
    assert [result.replied for result in report.history] == [0, 4, 4]
    assert asked == ["already_made"] * 2 * 3 * 2


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


@pytest.mark.parametrize("secure", [("secure=bfv",), COMMITTEE], ids=["authority", "committee"])
def test_an_answer_that_was_altered_on_its_way_ends_the_run_by_holder_and_cause(tiny, monkeypatch, secure):
    def alter(name, do, request):
        signed = do(request)
        return dataclasses.replace(signed, answer=signed.answer[:-1] + bytes([signed.answer[-1] ^ 1]))

    monkeypatch.setattr(apps, "build_keyholder", spoilt(apps.build_keyholder, 0, alter))
    with pytest.raises(UserError) as caught:
        run(tiny(*secure, "federation.rounds=1"))
    assert str(caught.value) == (
        "round 1: the answer of key holder 0 is not signed by its enrolled key (forged); see its log"
    )


def test_a_holder_whose_answer_is_cut_short_makes_no_model(tiny, monkeypatch):
    monkeypatch.setattr(
        apps,
        "build_keyholder",
        spoilt(apps.build_keyholder, 0, lambda name, do, request: resigned(do, request, lambda a: a[:-1])),
    )
    with pytest.raises(UserError, match=r"^round 3: .* do not open the sum \(malformed\).*3 rounds in a row"):
        run(tiny(*COMMITTEE, "federation.rounds=4"))


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_shares_of_a_runs_key_are_gone_after_it_and_what_was_enrolled_is_not(
    tiny, tmp_path, monkeypatch, ends
):
    if ends == "badly":

        def refuse(name, do, request):
            assert len(list(tmp_path.glob("keyholders/*/share.key"))) == 3
            raise Refusal("too_few_clients")

        monkeypatch.setattr(apps, "build_keyholder", spoilt(apps.build_keyholder, 1, refuse))
    tmp_path.chmod(0o700)
    provision.provision(tmp_path, 4, codec_of(tiny(*COMMITTEE)), policy_of(tiny(*COMMITTEE)))
    before = {path.name for path in tmp_path.rglob("*.key")}
    # two rounds: after the last one a holder deletes its share by itself
    config = tiny(*COMMITTEE, "federation.rounds=2", f"secure.key_folder={tmp_path}")
    if ends == "well":
        run(config)
    else:
        with pytest.raises(UserError, match=r"too_few_clients"):
            run(config)
    assert before == {path.name for path in tmp_path.rglob("*.key")} == {"signing.key"}
    assert (tmp_path / "keyholders" / "0" / "transcript.jsonl").exists()


def test_a_share_that_cannot_be_deleted_is_named(tiny, tmp_path, caplog):
    """A folder in its place: what a run cannot unlink."""
    tmp_path.chmod(0o700)
    config = tiny(*COMMITTEE, f"secure.key_folder={tmp_path}")
    with key_folder(config):
        (tmp_path / "keyholders" / "1" / "share.key").mkdir(parents=True)
    assert f"{tmp_path}/keyholders/1/share.key: cannot be deleted" in caplog.text


def test_an_authoritys_key_outlives_the_run(tiny, tmp_path):
    tmp_path.chmod(0o700)
    config = tiny("secure=bfv", f"secure.key_folder={tmp_path}")
    provision.provision(tmp_path, 4, codec_of(config), policy_of(config))
    with key_folder(config):
        pass
    assert len(list(tmp_path.rglob("shared.key"))) == 5
