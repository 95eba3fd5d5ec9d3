"""The client's end of a session."""

import os
import threading

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.sharing import answer, payload
from fedpriv.sharing.admission import Admission, Offer
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.commitment import opens
from fedpriv.sharing.envelope import open_share, read_header
from fedpriv.sharing.opening import ClientOpening, Credentials
from tests.sharing.parties import (
    ADDITIVE,
    NOW,
    RELAYS,
    SERVER,
    SERVER_PUBLIC,
    SHAMIR,
    open_session,
    picture,
)


def answered(server, sealed, content=b"{}"):
    return answer.seal_answer(server.to_client, server.terms.session, sealed.image, sealed.number, content)


@pytest.mark.parametrize("scheme", [ADDITIVE, SHAMIR])
def test_the_server_can_open_what_is_sealed_and_its_fields_are_the_sessions(scheme):
    client, server = open_session(scheme)
    for number in range(3):
        image = picture(number)
        sealed = client.seal(image, ("emotion", "gaze"), NOW)
        slot = server.schedule.slot(number)
        assert (sealed.number, sealed.image) == (number, slot.image)
        assert tuple(share.relay for share in sealed.shares) == slot.relays
        shares = {}
        for which, (_, envelope) in enumerate(sealed.shares):
            header = read_header(envelope)
            assert (header.scheme, header.share) == (scheme.wire, which)
            assert (header.session, header.image) == (server.terms.session, slot.image)
            salt, shares[which] = open_share(server.to_server, envelope, number, which)
        content = scheme.combine(shares, server.terms.payload_bytes)
        assert opens(header.commitment, salt, content)
        opened = payload.unpack(content)
        assert np.array_equal(opened.image, image)
        assert opened.wanted == (0, 1)


def test_all_envelopes_of_a_session_have_one_size():
    client, server = open_session(payload_bytes=64)
    images = [picture(0, (1, 1)), picture(1, (7, 8)), np.zeros((7, 8), np.uint8)]
    sizes = {len(each.envelope) for image in images for each in client.seal(image, ("gaze",), NOW).shares}
    assert sizes == {server.envelope_bytes}


def test_the_same_image_twice_shares_nothing_with_itself():
    client, _ = open_session()
    one, other = (client.seal(picture(), ("gaze",), NOW) for _ in range(2))
    assert one.image != other.image
    headers = [read_header(each.envelope) for sealed in (one, other) for each in sealed.shares]
    assert len({header.commitment for header in headers}) == 2


def test_shares_expire_by_the_servers_clock_and_not_after_the_session():
    client, server = open_session(ahead_ms=20_000, lifetime_ms=60_000)
    sealed = client.seal(picture(), ("gaze",), NOW + 20_000)
    assert sealed.expires_ms == NOW + 30_000
    assert read_header(sealed.shares[0].envelope).expiry_ms == NOW + 10_000
    late = client.seal(picture(), ("gaze",), NOW + 20_000 + 55_000)
    assert read_header(late.shares[0].envelope).expiry_ms == server.ends_ms == NOW + 60_000


def test_a_session_that_is_over_seals_nothing():
    client, _ = open_session(lifetime_ms=60_000)
    client.seal(picture(), ("gaze",), NOW + 59_999)
    with pytest.raises(SharingError) as refused:
        client.seal(picture(), ("gaze",), NOW + 60_000)
    assert refused.value.cause is Cause.EXPIRED_SESSION


def test_half_a_window_may_wait_beyond_the_last_answer():
    client, server = open_session(window=8)
    sealed = [client.seal(picture(), ("gaze",), NOW) for _ in range(4)]
    with pytest.raises(SharingError) as refused:
        client.seal(picture(), ("gaze",), NOW)
    assert refused.value.cause is Cause.WINDOW_FULL
    client.open_answer(1, answered(server, sealed[1]))
    assert [client.seal(picture(), ("gaze",), NOW).number for _ in range(2)] == [4, 5]
    with pytest.raises(SharingError):
        client.seal(picture(), ("gaze",), NOW)
    client.open_answer(0, answered(server, sealed[0]))  # an older answer does not move it
    with pytest.raises(SharingError):
        client.seal(picture(), ("gaze",), NOW)


def test_the_answer_comes_back_and_may_be_opened_again():
    client, server = open_session()
    sealed = client.seal(picture(), ("gaze",), NOW)
    back = answered(server, sealed, b'{"gaze": 1}')
    assert [client.open_answer(0, back) for _ in range(2)] == [b'{"gaze": 1}'] * 2


def test_the_answer_to_another_image_or_session_is_not_authentic_and_frees_no_window():
    client, server = open_session(window=2)
    sealed = client.seal(picture(), ("gaze",), NOW)
    foreign, _ = open_session()
    back = answered(server, sealed)
    for session, number in ((client, 1), (foreign, 0)):
        with pytest.raises(SharingError) as refused:
            session.open_answer(number, back)
        assert refused.value.cause is Cause.NOT_AUTHENTIC
    with pytest.raises(SharingError):
        client.seal(picture(), ("gaze",), NOW)


@pytest.mark.parametrize(
    ("image", "models", "error"),
    [
        (np.zeros((5, 5), np.uint8), ("gaze",), UserError),
        (picture(), ("gaze", "age"), UserError),
        (picture(), (), ValueError),
        (np.zeros((2, 2)), ("gaze",), ValueError),
    ],
)
def test_an_image_that_is_refused_uses_up_no_number(image, models, error):
    client, _ = open_session()
    with pytest.raises(error):
        client.seal(image, models, NOW)
    assert client.seal(picture(), ("gaze",), NOW).number == 0


def test_threads_never_get_the_same_number():
    client, _ = open_session(window=1024)
    numbers = []

    def work():
        numbers.extend(client.seal(picture(), ("gaze",), NOW).number for _ in range(40))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(160))


def test_a_forked_process_may_not_go_on_with_the_session(monkeypatch):
    client, _ = open_session()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="fork"):
        client.seal(picture(), ("gaze",), NOW)


def test_a_reply_that_is_not_the_servers_is_refused():
    credentials = Credentials.generate()
    admission = Admission(SERVER, {credentials.key_id: credentials.secret}, Offer(RELAYS, ("gaze",)))
    openings = [ClientOpening(SERVER_PUBLIC, credentials, ADDITIVE, NOW) for _ in range(2)]
    reply, _ = admission.admit(openings[0].message, NOW)
    for damaged, cause in ((reply[:40], Cause.WRONG_SIZE), (reply[:-1], Cause.NOT_AUTHENTIC)):
        opening = ClientOpening(SERVER_PUBLIC, credentials, ADDITIVE, NOW)
        with pytest.raises(SharingError) as refused:
            opening.finish(damaged, NOW)
        assert refused.value.cause is cause
    with pytest.raises(SharingError) as refused:
        openings[1].finish(reply, NOW)
    assert refused.value.cause is Cause.NOT_AUTHENTIC


def test_sizes_of_credentials_and_server_key_are_checked():
    for key_id, secret in ((b"short", bytes(32)), (bytes(8), bytes(31))):
        with pytest.raises(ValueError, match="credentials"):
            Credentials(key_id, secret)
    with pytest.raises(ValueError, match="32"):
        ClientOpening(bytes(31), Credentials.generate(), ADDITIVE, NOW)


def test_secrets_do_not_show_when_printed():
    credentials = Credentials.generate()
    assert repr(credentials.secret) not in repr(credentials)
    assert credentials != Credentials.generate()


def test_numbers_whose_relays_are_down_are_passed_over_as_long_as_the_window_lasts():
    client, server = open_session(ADDITIVE, window=64)
    down = RELAYS[0]
    without = [number for number in range(64) if down not in server.schedule.slot(number).relays]
    within = [number for number in without if number < 32]
    for number in within:
        sealed = client.seal(picture(), ("gaze",), NOW, avoid={down})
        assert sealed.number == number
        assert down not in {share.relay for share in sealed.shares}
    with pytest.raises(SharingError) as refused:
        client.seal(picture(), ("gaze",), NOW, avoid={down})
    assert refused.value.cause is Cause.WINDOW_FULL
    client.open_answer(sealed.number, answered(server, sealed))
    assert client.seal(picture(), ("gaze",), NOW, avoid={down}).number in without


def test_a_window_without_any_number_that_does_is_no_reason_to_stop():
    client, _ = open_session(ADDITIVE, window=64)
    assert client.seal(picture(), ("gaze",), NOW, avoid=set(RELAYS)).number == 0
    with pytest.raises(SharingError):  # the one before may yet be answered
        client.seal(picture(), ("gaze",), NOW, avoid=set(RELAYS))
    assert client.seal(picture(), ("gaze",), NOW).number == 1


def test_shares_that_may_be_missing_pass_nothing_over():
    client, _ = open_session(SHAMIR, window=16)
    for number in range(8):
        assert client.seal(picture(), ("gaze",), NOW, avoid={RELAYS[0]}).number == number
