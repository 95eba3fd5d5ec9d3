"""Who gets a session, and what replays of a first message get."""

import pytest
from cryptography.exceptions import InvalidTag

from fedpriv.sharing.admission import MAX_FIRST_BYTES, Admission, Offer
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.opening import PREFIX_BYTES, ClientOpening, Credentials
from fedpriv.sharing.scheme import Scheme
from tests.sharing.parties import ADDITIVE, NOW, RELAYS, SERVER, SERVER_PUBLIC, SHAMIR

CLIENT = Credentials(b"c" * 8, b"k" * 32)
OFFER = Offer(RELAYS, ("gaze", "emotion"), lifetime_ms=60_000)


@pytest.fixture
def admission():
    return Admission(SERVER, {CLIENT.key_id: CLIENT.secret}, OFFER, max_skew_ms=30_000)


def first(scheme=ADDITIVE, now_ms=NOW, credentials=CLIENT, server=SERVER_PUBLIC):
    return ClientOpening(server, credentials, scheme, now_ms).message


def cause_of(admission, message, now_ms=NOW):
    with pytest.raises(SharingError) as refused:
        admission.admit(message, now_ms)
    return refused.value.cause


@pytest.mark.parametrize("scheme", [ADDITIVE, SHAMIR, Scheme("additive", 4, 4)])
def test_both_ends_of_an_admitted_session_agree(admission, scheme):
    opening = ClientOpening(SERVER_PUBLIC, CLIENT, scheme, NOW + 5_000)
    reply, server = admission.admit(opening.message, NOW)
    client = opening.finish(reply, NOW + 5_010)
    assert client.terms == server.terms
    assert client.scheme == server.scheme == scheme
    assert server.client == CLIENT.key_id
    assert server.terms.relays == RELAYS
    assert server.ends_ms == NOW + 60_000
    assert client.ends_ms == NOW + 5_010 + 60_000


def test_sessions_have_distinct_ids(admission):
    ids = {admission.admit(first(), NOW)[1].terms.session for _ in range(50)}
    assert len(ids) == 50


def test_an_unknown_client_is_refused(admission):
    assert cause_of(admission, first(credentials=Credentials.generate())) is Cause.UNKNOWN_CLIENT


def test_a_client_enrolled_later_is_admitted_and_one_struck_off_is_not():
    clients = {}
    admission = Admission(SERVER, clients, OFFER)
    assert cause_of(admission, first()) is Cause.UNKNOWN_CLIENT
    clients[CLIENT.key_id] = CLIENT.secret
    admission.admit(first(), NOW)
    clients.clear()
    assert cause_of(admission, first()) is Cause.UNKNOWN_CLIENT


def test_a_known_key_id_without_its_secret_is_not_authentic(admission):
    forged = Credentials(CLIENT.key_id, bytes(32))
    assert cause_of(admission, first(credentials=forged)) is Cause.NOT_AUTHENTIC


def test_a_message_for_another_server_is_not_authentic(admission):
    assert cause_of(admission, first(server=bytes([9] + [7] * 31))) is Cause.NOT_AUTHENTIC


def test_another_clients_key_id_on_a_message_is_not_authentic():
    other = Credentials(b"d" * 8, CLIENT.secret)  # even with the same secret: the prologue differs
    admission = Admission(SERVER, {each.key_id: each.secret for each in (CLIENT, other)}, OFFER)
    message = first()
    assert cause_of(admission, message[:4] + other.key_id + message[PREFIX_BYTES:]) is Cause.NOT_AUTHENTIC


@pytest.mark.parametrize("scheme", [Scheme("additive", 5, 5), Scheme("shamir", 5, 2)])
def test_more_shares_than_relays_are_not_offered(admission, scheme):
    assert cause_of(admission, first(scheme)) is Cause.NOT_OFFERED


def test_only_the_schemes_listed_are_offered():
    offer = Offer(RELAYS, ("gaze",), schemes=(ADDITIVE,))
    admission = Admission(SERVER, {CLIENT.key_id: CLIENT.secret}, offer)
    admission.admit(first(ADDITIVE), NOW)
    assert cause_of(admission, first(SHAMIR)) is Cause.NOT_OFFERED


@pytest.mark.parametrize(("off_ms", "accepted"), [(30_000, True), (30_001, False)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_clock_may_be_off_by_30_seconds_and_no_more(admission, off_ms, accepted, sign):
    message = first(now_ms=NOW + sign * off_ms)
    if accepted:
        admission.admit(message, NOW)
    else:
        assert cause_of(admission, message) is Cause.CLOCK_SKEW


def test_a_replayed_first_message_is_refused_as_long_as_its_clock_would_pass_and_after(admission):
    message = first(now_ms=NOW + 30_000)
    admission.admit(message, NOW)
    for later_ms in (0, 1, 30_000, 59_999, 60_000):
        assert cause_of(admission, message, NOW + later_ms) is Cause.REPLAYED_HANDSHAKE
    assert cause_of(admission, message, NOW + 60_001) is Cause.CLOCK_SKEW


def test_replays_are_still_known_after_the_memory_was_cleared_of_old_ones():
    admission = Admission(SERVER, {CLIENT.key_id: CLIENT.secret}, OFFER, max_remembered=3)
    old, new = first(now_ms=NOW), first(now_ms=NOW + 30_000)
    admission.admit(old, NOW)
    admission.admit(new, NOW + 30_000)
    for step_ms in (1, 2):  # the second one fills the memory; the first old message goes
        admission.admit(first(now_ms=NOW + 30_000 + step_ms), NOW + 30_000 + step_ms)
    assert cause_of(admission, new, NOW + 30_002) is Cause.REPLAYED_HANDSHAKE
    assert cause_of(admission, old, NOW + 30_002) is Cause.CLOCK_SKEW


def test_what_is_cleared_from_the_memory_is_what_no_clock_would_accept():
    admission = Admission(SERVER, {CLIENT.key_id: CLIENT.secret}, OFFER, max_remembered=2)
    just, over = first(now_ms=NOW), first(now_ms=NOW - 1)
    admission.admit(just, NOW)
    admission.admit(over, NOW)
    admission.admit(first(now_ms=NOW), NOW + 30_000)
    assert cause_of(admission, just, NOW + 30_000) is Cause.REPLAYED_HANDSHAKE
    assert cause_of(admission, over, NOW + 30_000) is Cause.CLOCK_SKEW


def test_the_memory_of_first_messages_is_bounded():
    admission = Admission(SERVER, {CLIENT.key_id: CLIENT.secret}, OFFER, max_remembered=3)
    for _ in range(3):
        admission.admit(first(), NOW)
    assert cause_of(admission, first()) is Cause.BUSY
    admission.admit(first(now_ms=NOW + 30_001), NOW + 30_001)


def test_messages_that_are_refused_take_no_memory():
    admission = Admission(SERVER, {CLIENT.key_id: CLIENT.secret}, OFFER, max_remembered=1)
    for _ in range(5):
        cause_of(admission, first(credentials=Credentials(CLIENT.key_id, bytes(32))))
        cause_of(admission, first(Scheme("additive", 5, 5)))
        cause_of(admission, first(now_ms=0))
    admission.admit(first(), NOW)


def test_a_restarted_server_admits_a_replay_to_a_session_nobody_else_can_use(admission):
    opening = ClientOpening(SERVER_PUBLIC, CLIENT, ADDITIVE, NOW)
    before = admission.admit(opening.message, NOW)[1]
    after = Admission(SERVER, {CLIENT.key_id: CLIENT.secret}, OFFER).admit(opening.message, NOW)[1]
    assert before.terms.session != after.terms.session
    assert before.schedule.slot(0) != after.schedule.slot(0)
    sealed = before.to_server.encrypt(bytes(12), b"share", b"")
    with pytest.raises(InvalidTag):
        after.to_server.decrypt(bytes(12), sealed, b"")


@pytest.mark.parametrize("size", [0, PREFIX_BYTES, PREFIX_BYTES + 47, MAX_FIRST_BYTES + 1, 10_000])
def test_a_message_of_another_size_is_refused(admission, size):
    assert cause_of(admission, (first() + bytes(10_000))[:size]) is Cause.WRONG_SIZE


@pytest.mark.parametrize("place", range(4))
def test_another_magic_or_version_is_malformed(admission, place):
    message = bytearray(first())
    message[place] ^= 1
    assert cause_of(admission, bytes(message)) is Cause.MALFORMED


@pytest.mark.parametrize("place", range(0, PREFIX_BYTES + 48 + 11))
def test_no_flipped_bit_of_a_first_message_is_admitted(admission, place):
    message = bytearray(first())
    message[place] ^= 0x10
    assert cause_of(admission, bytes(message)) in {
        Cause.MALFORMED, Cause.UNKNOWN_CLIENT, Cause.NOT_AUTHENTIC
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"relays": ("a",)},
        {"relays": ("a", "a")},
        {"models": ()},
        {"schemes": ()},
        {"schemes": (Scheme("additive", 5, 5),)},
        {"payload_bytes": 8},
        {"window": 7},
        {"lifetime_ms": 0},
    ],
)
def test_an_offer_that_contradicts_itself_is_refused(change):
    with pytest.raises(ValueError, match=r"schemes|relays|models|payload_bytes|window|lifetime_ms"):
        Offer(**{"relays": RELAYS, "models": ("gaze",), **change})
