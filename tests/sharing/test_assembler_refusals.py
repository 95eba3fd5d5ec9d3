"""The model server's core, one attack at a time."""

import numpy as np
import pytest

from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.commitment import commit
from fedpriv.sharing.envelope import Header, read_header, seal_share
from fedpriv.sharing.opening import Credentials
from fedpriv.sharing.outcomes import Complete, Refused, Waiting
from tests.sharing.parties import (
    ADDITIVE,
    NOW,
    RELAYS,
    SHAMIR,
    forge,
    key,
    open_session,
    picture,
    refused,
    send,
    started,
)


def test_faults_are_named_in_their_order():
    _, server, assembler = started(lifetime_ms=60_000)
    relay, good = forge(server, 0)[1]
    stranger = next(name for name in RELAYS if name not in server.schedule.slot(0).relays)
    wrong = bytearray(good)
    wrong[-1] ^= 1  # not authentic

    def with_field(start, content):
        wrong[start : start + len(content)] = content
        return bytes(wrong)

    assert refused(assembler, relay, bytes(wrong)) is Cause.NOT_AUTHENTIC
    assert refused(assembler, stranger, bytes(wrong)) is Cause.WRONG_RELAY
    assert refused(assembler, stranger, with_field(6, b"\x02")) is Cause.WRONG_SCHEME
    assert refused(assembler, stranger, with_field(24, bytes(16))) is Cause.UNEXPECTED_ID
    assert refused(assembler, stranger, with_field(40, (NOW).to_bytes(8, "big"))) is Cause.EXPIRED
    shorter = bytes(wrong[:80]) + (len(wrong) - 85).to_bytes(4, "big") + bytes(wrong[84:-1])
    assert refused(assembler, stranger, shorter) is Cause.WRONG_SIZE
    assert refused(assembler, stranger, shorter, NOW + 60_000) is Cause.EXPIRED_SESSION
    assert refused(assembler, stranger, with_field(8, bytes(16)), NOW + 60_000) is Cause.UNKNOWN_SESSION
    assert refused(assembler, stranger, with_field(3, b"\x02")) is Cause.WRONG_VERSION
    assert refused(assembler, stranger, with_field(0, b"\x00")) is Cause.MALFORMED
    assert refused(assembler, stranger, bytes(wrong)[:100]) is Cause.WRONG_SIZE
    assert isinstance(send(assembler, forge(server, 0))[-1], Complete)


def test_every_flipped_header_bit_is_refused_and_the_honest_share_still_counts():
    _, server, assembler = started()
    shares = forge(server, 3)
    for place in range(84 * 8):
        for relay, envelope in (shares[0], shares[2]):
            changed = bytearray(envelope)
            changed[place // 8] ^= 1 << place % 8
            assert refused(assembler, relay, bytes(changed)) in {
                Cause.MALFORMED, Cause.WRONG_VERSION, Cause.WRONG_SCHEME, Cause.WRONG_RELAY,
                Cause.UNKNOWN_SESSION, Cause.UNEXPECTED_ID, Cause.EXPIRED, Cause.NOT_AUTHENTIC,
                Cause.WRONG_SIZE,
            }  # fmt: skip
    assert isinstance(send(assembler, shares)[-1], Complete)


@pytest.mark.parametrize("size", [0, 1, 84, 133, 163])
def test_truncated_envelopes_are_refused(size):
    _, server, assembler = started()
    relay, envelope = forge(server, 0)[0]
    assert refused(assembler, relay, envelope[:size]) is Cause.WRONG_SIZE


def test_the_body_of_one_image_under_the_header_of_another_is_refused():
    _, server, assembler = started()
    for (relay, one), (_, other) in zip(forge(server, 0), forge(server, 1), strict=True):
        assert refused(assembler, relay, one[:84] + other[84:]) is Cause.NOT_AUTHENTIC


def test_a_share_under_another_index_is_refused():
    _, server, assembler = started()
    shares = forge(server, 0)
    for which, (_, envelope) in enumerate(shares):
        for other in {0, 1, 2} - {which}:
            changed = envelope[:5] + bytes([other]) + envelope[6:]
            assert refused(assembler, shares[other][0], changed) is Cause.NOT_AUTHENTIC
    assert (
        refused(assembler, shares[0][0], shares[0][1][:5] + b"\x03" + shares[0][1][6:]) is Cause.WRONG_SCHEME
    )


def test_a_share_through_any_relay_but_its_own_is_refused():
    _, server, assembler = started()
    for relay, envelope in forge(server, 0):
        for other in {*RELAYS, "unknown"} - {relay}:
            assert refused(assembler, other, envelope) is Cause.WRONG_RELAY


def test_a_share_of_another_session_of_the_same_client_is_refused():
    credentials = Credentials.generate()
    _, one = open_session(credentials=credentials)
    _, other = open_session(credentials=credentials)
    assembler = Assembler()
    assembler.add(one, NOW)
    relay, envelope = forge(other, 0)[0]
    assert refused(assembler, relay, envelope) is Cause.UNKNOWN_SESSION
    moved = envelope[:8] + one.terms.session + envelope[24:]
    assert refused(assembler, relay, moved) is Cause.UNEXPECTED_ID
    moved = moved[:24] + one.schedule.slot(0).image + moved[40:]
    assert refused(assembler, one.schedule.slot(0).relays[0], moved) is Cause.NOT_AUTHENTIC


def test_a_restarted_server_knows_no_session():
    _, server, assembler = started()
    shares = forge(server, 0)
    send(assembler, shares)
    assert [refused(Assembler(), *share) for share in shares] == [Cause.UNKNOWN_SESSION] * 3


def test_a_share_expires_at_its_expiry_and_not_before():
    _, server, assembler = started()
    relay, envelope = forge(server, 0, expiry_ms=NOW + 500)[0]
    assert refused(assembler, relay, envelope, NOW + 500) is Cause.EXPIRED
    assert isinstance(assembler.accept(relay, envelope, NOW + 499), Waiting)


def test_authentic_shares_that_contradict_each_other_are_inconsistent_and_the_set_survives():
    _, server, assembler = started()
    first, *rest = forge(server, 0)
    send(assembler, [first])
    for other in (forge(server, 0, image=picture(9)), forge(server, 0, commitment=bytes(32))):
        for relay, envelope in other:
            assert refused(assembler, relay, envelope) is Cause.INCONSISTENT
    # the same commitment and share index, but not the same bytes
    assert refused(assembler, *forge(server, 0, expiry_ms=NOW + 1)[0]) is Cause.INCONSISTENT
    header = read_header(rest[0][1])
    unsalted = seal_share(server.to_server, header, 0, bytes(32), bytes(32))
    assert refused(assembler, rest[0][0], unsalted) is Cause.INCONSISTENT
    assert np.array_equal(send(assembler, rest)[-1].payload.image, picture(0))


@pytest.mark.parametrize("scheme", [ADDITIVE, SHAMIR])
def test_shares_of_two_payloads_under_one_commitment_do_not_open_it(scheme):
    """A sender with the keys mixes two images; nothing is inferred, and the number is closed."""
    _, server, assembler = started(scheme)
    shares = forge(server, 0)
    header = read_header(shares[1][1])
    salt = np.random.default_rng([0, 7]).bytes(32)
    mixed = seal_share(server.to_server, header, 0, salt, bytes(scheme.share_bytes(32)))
    send(assembler, shares[:1])
    rest = [(shares[1][0], mixed), *shares[2:]]
    outcome = send(assembler, rest[: scheme.t - 1])[-1]
    assert outcome == Refused(Cause.BAD_COMMITMENT, closed=key(server, 0))
    assert send(assembler, shares)[0] == Refused(Cause.ALREADY_USED)
    assert assembler.gauges["open_sets"] == assembler.gauges["partial_bytes"] == 0


@pytest.mark.parametrize(
    "content",
    [bytes(32), bytes([0, 1, 0, 1, 1, 0b100, 0, 0, 7]) + bytes(23)],
    ids=["no image", "no such model"],
)
def test_a_committed_payload_that_is_no_request_is_malformed_and_closed(content):
    _, server, assembler = started()
    outcome = send(assembler, forge(server, 0, content=content))[-1]
    assert outcome == Refused(Cause.MALFORMED, closed=key(server, 0))


def test_a_hand_made_share_of_the_wrong_length_inside_is_never_combined():
    _, server, assembler = started()
    slot = server.schedule.slot(0)
    header = Header(server.scheme.wire, 0, server.terms.session, slot.image, NOW + 1, commit(bytes(32), b""))
    short = seal_share(server.to_server, header, 0, bytes(32), bytes(31))
    assert refused(assembler, slot.relays[0], short) is Cause.WRONG_SIZE
