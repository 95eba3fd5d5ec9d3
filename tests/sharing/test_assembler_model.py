"""The assembler against a naive reference, over random runs of honest and hostile traffic."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.outcomes import Complete, Dropped, ImageKey, Refused, Waiting
from fedpriv.sharing.room import Limits
from tests.sharing.parties import ADDITIVE, NOW, RELAYS, SHAMIR, forge, picture, seeded_session

WINDOW, LIFETIME_MS = 6, 30_000
LIMITS = Limits(
    max_partial_bytes=400,
    max_client_bytes=250,
    max_closed=10_000,
    set_timeout_ms=1_000,
    retention_ms=2_000,
    idle_ms=10**9,
)


class Naive:
    """What one session ought to do, written for the reader: every list is searched, nothing is kept tidy."""

    def __init__(self, server):
        self.server, self.scheme = server, server.scheme
        self.size = server.scheme.share_bytes(server.terms.payload_bytes)
        self.low = 0
        self.open = {}  # number -> {"shares": set, "deadline": ms, "computing": bool}
        self.closed = {}  # number -> (sealed answer or None, kept until)
        self.gone = False

    def expiry_ms(self, number):
        return NOW + 4_000 + 1_500 * number

    def bytes(self):
        return sum(self.size * len(each["shares"]) for each in self.open.values() if not each["computing"])


class Traffic(RuleBasedStateMachine):
    """Two clients, one with additive and one with Shamir shares."""

    @initialize()
    def start(self):
        self.now = NOW
        self.assembler = Assembler(LIMITS)
        self.clients, self.models = [], []
        for seed, scheme in enumerate((ADDITIVE, SHAMIR)):
            client, server = seeded_session(scheme, seed, window=WINDOW, lifetime_ms=LIFETIME_MS)
            self.assembler.add(server, NOW)
            self.clients.append(client)
            self.models.append(Naive(server))
        self.accepted, self.completed, self.dropped, self.answers = set(), set(), [], {}

    def shares(self, who, number):
        model = self.models[who]
        expiry_ms = min(model.expiry_ms(number), model.server.ends_ms)
        return forge(model.server, number, expiry_ms=expiry_ms)

    def key(self, who, number):
        return ImageKey(self.models[who].server.terms.session, number)

    def give_up_overdue(self):
        for who, model in enumerate(self.models):
            for number, each in sorted(model.open.items()):
                if not each["computing"] and each["deadline"] <= self.now:
                    del model.open[number]
                    model.closed[number] = (None, 0)
                    self.dropped.append(Dropped(self.key(who, number), Cause.INCOMPLETE))

    def expected(self, who, number, share, relay):
        model, image = self.models[who], self.key(who, number)
        if model.gone:
            return Refused(Cause.UNKNOWN_SESSION)
        if self.now >= model.server.ends_ms:
            return Refused(Cause.EXPIRED_SESSION)
        if self.now >= model.expiry_ms(number):
            return Refused(Cause.EXPIRED)
        if number in model.closed:
            answer, until = model.closed[number]
            return Refused(Cause.ALREADY_USED, answer if self.now < until else None)
        if number not in model.open and not model.low <= number < model.low + WINDOW:
            return Refused(Cause.UNEXPECTED_ID)
        if relay != self.shares(who, number)[share][0]:
            return Refused(Cause.WRONG_RELAY)
        if number in model.open:
            each = model.open[number]
            if share in each["shares"]:
                return Waiting(image, copy=True)
            if each["computing"]:
                each["shares"].add(share)
                return Waiting(image, copy=False)
            if len(each["shares"]) + 1 == model.scheme.t:
                each["shares"].add(share)
                each["computing"] = True
                return "complete"
        elif len(model.open) >= WINDOW:
            return Refused(Cause.BUSY)
        if model.bytes() + model.size > LIMITS.max_client_bytes:
            return Refused(Cause.BUSY)
        if sum(each.bytes() for each in self.models) + model.size > LIMITS.max_partial_bytes:
            return Refused(Cause.BUSY)
        if number not in model.open:
            model.open[number] = {
                "shares": set(), "deadline": self.now + LIMITS.set_timeout_ms, "computing": False
            }  # fmt: skip
            while model.low < number - WINDOW // 2 + 1:
                if model.low not in model.open and model.low not in model.closed:
                    model.closed[model.low] = (None, 0)
                model.low += 1
        model.open[number]["shares"].add(share)
        return Waiting(image, copy=False)

    # In and around the window, with replays of anything sent before.
    places = st.integers(-4, WINDOW + 1)

    @rule(
        who=st.integers(0, 1), place=places, share=st.integers(0, 2), astray=st.sampled_from([None, *RELAYS])
    )
    def send(self, who, place, share, astray):
        """A first copy, a retry, a replay or a share of an image not expected; sometimes by another relay."""
        number = max(0, self.models[who].low + place)
        relay, envelope = self.shares(who, number)[share]
        relay = astray or relay
        self.give_up_overdue()
        expected = self.expected(who, number, share, relay)
        found = self.assembler.accept(relay, envelope, self.now)
        if expected == "complete":
            assert isinstance(found, Complete)
            assert found.image == self.key(who, number)
            assert np.array_equal(found.payload.image, picture(number))
            assert found.image not in self.completed
            self.completed.add(found.image)
        else:
            assert found == expected
        if isinstance(found, Complete) or (isinstance(found, Waiting) and not found.copy):
            assert (who, number, share) not in self.accepted
            self.accepted.add((who, number, share))

    @rule(who=st.integers(0, 1), place=places, data=st.data())
    def send_all_but(self, who, place, data):
        """The traffic of one image in any order, possibly without some of it."""
        for share in data.draw(st.lists(st.integers(0, 2), unique=True, max_size=3)):
            self.send(who, place, share, None)

    @rule(who=st.integers(0, 1), place=places, share=st.integers(0, 2), data=st.data())
    def tamper(self, who, place, share, data):
        """Flip a bit, mix two envelopes, swap the index, or use the other client's: never an effect."""
        number = max(0, self.models[who].low + place)
        shares = self.shares(who, number)
        relay, envelope = shares[share]
        kind = data.draw(st.sampled_from(["flip", "splice", "swap", "foreign", "cut"]))
        if kind == "flip":
            at = data.draw(st.integers(0, len(envelope) * 8 - 1))
            changed = bytearray(envelope)
            changed[at // 8] ^= 1 << at % 8
        elif kind == "splice":
            cut = data.draw(st.integers(1, len(envelope) - 1))
            changed = envelope[:cut] + self.shares(who, number + 1)[share][1][cut:]
        elif kind == "swap":
            other = (share + 1) % 3
            relay, changed = shares[other][0], envelope[:5] + bytes([other]) + envelope[6:]
        elif kind == "foreign":
            changed = envelope[:8] + self.models[1 - who].server.terms.session + envelope[24:]
        else:
            changed = envelope[: data.draw(st.integers(0, len(envelope) - 1))]
        if bytes(changed) in {each for n in (number, number + 1) for _, each in self.shares(who, n)}:
            return
        self.give_up_overdue()
        found = self.assembler.accept(relay, bytes(changed), self.now)
        assert isinstance(found, Refused)
        assert found.closed is None
        assert found.answer in {None, *self.answers.values()}

    def computing(self):
        return [
            (who, number)
            for who, model in enumerate(self.models)
            for number, each in model.open.items()
            if each["computing"]
        ]

    @precondition(lambda self: self.computing())
    @rule(data=st.data(), fails=st.booleans())
    def answer(self, data, fails):
        who, number = data.draw(st.sampled_from(self.computing()))
        image = self.key(who, number)
        del self.models[who].open[number]
        if fails:
            self.assembler.failed(image)
            self.models[who].closed[number] = (None, 0)
            return
        sealed = self.assembler.answered(image, b"%d" % number, self.now)
        assert self.clients[who].open_answer(number, sealed) == b"%d" % number
        self.answers[image] = sealed
        self.models[who].closed[number] = (sealed, self.now + LIMITS.retention_ms)

    @rule(ms=st.sampled_from([1, 300, 999, 1_000, 2_000, 5_000]))
    def wait(self, ms):
        self.now += ms

    @rule(short=st.booleans(), skip=st.integers(0, 2))
    def wait_for_an_edge(self, short, skip):
        """Stop at, or one millisecond before, one of the next times at which something changes."""
        edges = set()
        for model in self.models:
            edges |= {each["deadline"] for each in model.open.values()}
            edges |= {until for _, until in model.closed.values()}
            edges |= {model.expiry_ms(number) for number in range(model.low + WINDOW)}
            edges |= {model.server.ends_ms, model.server.ends_ms + LIMITS.retention_ms}
        ahead = sorted(edge for edge in edges if edge > self.now)
        if ahead:
            self.now = max(self.now, ahead[min(skip, len(ahead) - 1)] - short)

    @rule()
    def expire(self):
        self.give_up_overdue()
        assert sorted(self.assembler.expire(self.now)) == sorted(self.dropped)
        self.dropped = []
        for model in self.models:
            if not model.open and self.now >= model.server.ends_ms + LIMITS.retention_ms:
                model.gone = True

    @invariant()
    def what_is_held_is_what_ought_to_be(self):
        gauges = self.assembler.gauges
        assert gauges["open_sets"] == sum(len(model.open) for model in self.models)
        assert gauges["partial_bytes"] == sum(model.bytes() for model in self.models)
        assert gauges["partial_bytes"] <= LIMITS.max_partial_bytes
        assert self.assembler.counters.get("accepted", 0) == len(self.accepted)
        assert self.assembler.counters.get("complete", 0) == len(self.completed)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
