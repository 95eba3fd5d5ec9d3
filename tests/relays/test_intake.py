"""The model server's desk: every envelope gets one record, whatever becomes of its image."""

import asyncio
from collections import Counter, defaultdict
from concurrent.futures import Future

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpriv.errors import UserError
from fedpriv.relays.intake import MOST_WAITERS, Intake
from fedpriv.serving.answers import Answer, Gaze, decode_answer
from fedpriv.serving.batcher import Busy
from fedpriv.sharing.admission import Admission, Offer
from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.envelope import Header, seal_share
from fedpriv.sharing.opening import ClientOpening, Credentials
from fedpriv.sharing.room import Limits
from fedpriv.sharing.scheme import Scheme
from fedpriv.sharing.session import SealedShare

ANSWER = Answer(Gaze(0.1, -0.2, "0" * 16), None)
IMAGE = np.zeros((36, 60), np.uint8)


class Models:
    """Stands where the batcher does: its futures are completed by the test."""

    def __init__(self) -> None:
        self.futures: list[Future[Answer]] = []
        self.error: Exception | None = None

    def submit(self, image, wanted) -> "Future[Answer]":
        if self.error is not None:
            raise self.error
        self.futures.append(Future())
        return self.futures[-1]


class Replies:
    def __init__(self) -> None:
        self.records: dict[int, list[bytes]] = defaultdict(list)

    def put(self, position: int, record: bytes) -> None:
        self.records[position].append(record)

    def causes(self) -> dict[int, int]:
        assert all(len(each) == 1 for each in self.records.values())
        return {position: each[0][0] for position, each in self.records.items()}


class Desk:
    def __init__(self, **limits: int) -> None:
        self.now, self.counted, self.models = 1_000_000, Counter(), Models()
        static, credentials = X25519PrivateKey.generate(), Credentials.generate()
        offer = Offer(("a", "b", "c"), ("gaze",))
        admission = Admission(static, {credentials.key_id: credentials.secret}, offer)
        opening = ClientOpening(
            static.public_key().public_bytes_raw(), credentials, Scheme("additive", 2, 2), self.now
        )
        reply, session = admission.admit(opening.message, self.now)
        assembler = Assembler(Limits(set_timeout_ms=5000, **limits))
        assembler.add(session, self.now)
        self.session = opening.finish(reply, self.now)
        self.intake = Intake(
            assembler,
            self.models,
            ("gaze",),
            1000,
            lambda: self.now,
            lambda name: self.counted.update([name]),
        )

    def shares(self):
        return self.session.seal(IMAGE, ("gaze",), self.now).shares

    def take(self, share) -> Replies:
        replies = Replies()
        self.intake.accept(share.relay, [share.envelope], replies)
        return replies


def in_loop(test):
    def run() -> None:
        async def go() -> None:
            await test()

        asyncio.run(go())

    run.__name__ = test.__name__
    return run


@in_loop
async def test_every_share_of_an_image_gets_its_answer() -> None:
    desk = Desk()
    shares = desk.shares()
    replies = [desk.take(share) for share in (shares[0], shares[1], shares[0])]
    assert [each.records for each in replies] == [{}, {}, {}]
    desk.models.futures[0].set_result(ANSWER)
    await asyncio.sleep(0.01)
    records = [each.records[0] for each in replies]
    assert records[0] == records[1] == records[2]
    assert decode_answer(desk.session.open_answer(0, records[0][0][1:])) == ANSWER
    assert desk.intake.waiting == 0
    assert desk.take(shares[0]).records[0][0] == bytes([Cause.ALREADY_USED]) + records[0][0][1:]


@in_loop
async def test_who_waits_too_long_is_told_to_come_again_and_the_answer_still_comes() -> None:
    desk = Desk()
    shares = desk.shares()
    early = desk.take(shares[0])
    desk.now += 999
    desk.intake.tick()
    assert early.records == {}
    desk.now += 1
    desk.intake.tick()
    assert early.causes() == {0: Cause.BUSY}
    again, last = desk.take(shares[0]), desk.take(shares[1])
    desk.models.futures[0].set_result(ANSWER)
    await asyncio.sleep(0.01)
    assert again.causes() == last.causes() == {0: 0}
    assert len(early.records[0]) == 1


@in_loop
async def test_a_set_that_stays_half_finished_is_dropped() -> None:
    desk = Desk()
    share = desk.shares()[0]
    first = desk.take(share)
    desk.now += 4900
    desk.intake.tick()
    assert first.causes() == {0: Cause.BUSY}
    again = desk.take(share)
    desk.now += 100
    desk.intake.tick()
    assert again.causes() == {0: Cause.INCOMPLETE}
    assert desk.take(share).causes() == {0: Cause.ALREADY_USED}


@in_loop
async def test_copies_that_wait_are_bounded() -> None:
    desk = Desk()
    share = desk.shares()[0]
    replies = [desk.take(share) for _ in range(MOST_WAITERS + 10)]
    assert [each.causes() for each in replies[MOST_WAITERS:]] == [{0: Cause.BUSY}] * 10
    assert desk.intake.waiting == MOST_WAITERS


@pytest.mark.parametrize("error", [UserError("image"), Busy("full")])
def test_an_image_that_no_model_takes_has_failed(error) -> None:
    async def go() -> None:
        desk = Desk()
        desk.models.error = error
        first, second = desk.shares()
        waiting, last = desk.take(first), desk.take(second)
        assert waiting.causes() == last.causes() == {0: Cause.FAILED}
        assert desk.intake.waiting == 0

    asyncio.run(go())


@in_loop
async def test_an_error_of_a_model_reaches_who_asked_and_nobody_else() -> None:
    desk = Desk()
    first, second = ([desk.take(share) for share in desk.shares()] for _ in range(2))
    first, second = list(first), list(second)
    desk.models.futures[0].set_exception(RuntimeError("out of memory"))
    desk.models.futures[1].set_result(ANSWER)
    await asyncio.sleep(0.01)
    assert [each.causes() for each in first] == [{0: Cause.FAILED}] * 2
    assert [each.causes() for each in second] == [{0: 0}] * 2
    assert desk.counted == {"failed": 2, "answered": 2}


@in_loop
async def test_shares_that_do_not_make_up_what_was_committed_to_end_the_image_for_all_who_wait() -> None:
    desk = Desk()
    content, salt = bytes(desk.session.terms.payload_bytes), bytes(32)
    slot, wire = desk.session._schedule.slot(0), desk.session.scheme.wire
    replies = []
    for which, share in enumerate(desk.session.scheme.split(content)):
        header = Header(wire, which, desk.session.terms.session, slot.image, desk.now + 1000, bytes(32))
        envelope = seal_share(desk.session._to_server, header, 0, salt, share)
        replies.append(desk.take(SealedShare(slot.relays[which], envelope)))
    assert [each.causes() for each in replies] == [{0: Cause.BAD_COMMITMENT}] * 2
    assert desk.intake.waiting == 0
    assert desk.models.futures == []


@in_loop
async def test_each_envelope_of_a_batch_gets_its_own_record() -> None:
    desk = Desk()
    shares = [share for _ in range(4) for share in desk.shares()]
    by_relay = {name: [share.envelope for share in shares if share.relay == name] for name in "abc"}
    replies = {name: Replies() for name in "abc"}
    for name, envelopes in by_relay.items():
        desk.intake.accept(name, [*envelopes, b"garbage", *envelopes[:1]], replies[name])
    for future in desk.models.futures:
        future.set_result(ANSWER)
    await asyncio.sleep(0.01)
    assert len(desk.models.futures) == 4
    for name, envelopes in by_relay.items():
        causes = replies[name].causes()
        assert len(causes) == len(envelopes) + 1 + len(envelopes[:1])
        assert causes.pop(len(envelopes)) == Cause.WRONG_SIZE
        assert set(causes.values()) <= {0}
