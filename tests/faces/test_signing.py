"""Cards, signed requests, tickets and answers: what checks, and that nothing else does."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.faces import signing
from fedpriv.faces.answers import answer_signed, sign_answer
from fedpriv.faces.cards import Caller, Card
from fedpriv.faces.signing import SKEW_MS, Gatekeeper, Unsigned, signed_headers
from fedpriv.faces.tickets import Ticket, open_ticket, ticket_name
from fedpriv.he.identity import SigningKey

OWNER = SigningKey.generate()
CALLER = Caller.make(OWNER)
TICKET = Ticket("verify", CALLER.card.caller, "abcdefghijkl", 0.5, 1_000_000, "0" * 64)


def test_a_card_reads_back_and_is_good_with_its_owner_only():
    text = CALLER.card.text()
    assert Card.read(text, OWNER.public) == CALLER.card
    assert Card.read(text, SigningKey.generate().public) is None


@given(st.integers(0, 2 * 104 - 1), st.sampled_from("0123456789abcdef"))
def test_a_card_with_any_digit_changed_is_none(position, digit):
    text = CALLER.card.text()
    changed = text[:position] + digit + text[position + 1 :]
    assert (Card.read(changed, OWNER.public) is None) == (changed != text)


@given(st.text(max_size=300))
def test_no_other_text_is_a_card(text):
    assert Card.read(text, OWNER.public) is None


def test_a_callers_folder_is_private_and_reads_back(tmp_path):
    CALLER.save(tmp_path)
    assert Caller.load(tmp_path, OWNER.public).card == CALLER.card
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    with pytest.raises(UserError, match="no card of this caller"):
        Caller.load(tmp_path, SigningKey.generate().public)
    other = Caller.make(OWNER)
    (tmp_path / "caller.card").write_text(other.card.text())
    with pytest.raises(UserError, match="no card of this caller"):
        Caller.load(tmp_path, OWNER.public)


def test_a_request_passes_once_and_at_its_time():
    gate = Gatekeeper(OWNER.public)
    headers = signed_headers(CALLER, "POST", "/v1/x?y=1", b"body", 1_000_000)
    for now in (1_000_000 - SKEW_MS - 1, 1_000_000 + SKEW_MS + 1):
        with pytest.raises(Unsigned, match="clocks"):
            gate.caller(headers, "POST", "/v1/x?y=1", b"body", now)
    assert gate.caller(headers, "POST", "/v1/x?y=1", b"body", 1_000_000) == CALLER.card.caller
    with pytest.raises(Unsigned, match="was made before"):
        gate.caller(headers, "POST", "/v1/x?y=1", b"body", 1_000_000)


def test_a_request_is_remembered_for_as_long_as_its_repetition_may_take_to_arrive(monkeypatch):
    """The clock is compared when the headers come: a body takes another ``body_s`` at most."""
    monkeypatch.setattr(signing, "_MOST_SEEN", 1)
    gate, signed_ms = Gatekeeper(OWNER.public, body_s=300.0), 1_000_000
    first = signed_headers(OWNER, "POST", "/a", b"", signed_ms)
    gate.owner(first, "POST", "/a", b"", signed_ms - SKEW_MS)
    # the last moment at which a body whose headers came in time can be whole
    last = signed_ms + SKEW_MS + 300_000
    for now, passes in ((last, False), (last + SKEW_MS + 1, True)):
        other = signed_headers(OWNER, "POST", "/a", b"", now)
        if passes:
            gate.owner(other, "POST", "/a", b"", now)
            continue
        with pytest.raises(Unsigned, match="too many requests"):
            gate.owner(other, "POST", "/a", b"", now)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/x", b"body"),
        ("POST", "/v1/y", b"body"),
        ("POST", "/v1/x?a", b"body"),
        ("POST", "/v1/x", b"b"),
    ],
)
def test_a_signature_is_for_one_request(method, path, body):
    headers = signed_headers(CALLER, "POST", "/v1/x", b"body", 1_000_000)
    with pytest.raises(Unsigned, match="does not check"):
        Gatekeeper(OWNER.public).caller(headers, method, path, body, 1_000_000)


def test_fields_do_not_run_into_each_other():
    headers = signed_headers(CALLER, "POST", "/v1/x", b"", 1_000_000)
    with pytest.raises(Unsigned):
        Gatekeeper(OWNER.public).caller(headers, "POST/v1", "/x", b"", 1_000_000)


@given(
    st.dictionaries(st.sampled_from(["faces-sender", "faces-time", "faces-signature"]), st.text(max_size=300))
)
def test_no_headers_from_outside_raise_anything_else(headers):
    gate = Gatekeeper(OWNER.public)
    for check in (gate.owner, gate.caller):
        with pytest.raises(Unsigned):
            check(headers, "GET", "/", b"", 1_000_000)


def test_the_owner_passes_as_owner_and_a_caller_does_not():
    gate = Gatekeeper(OWNER.public)
    gate.owner(signed_headers(OWNER, "POST", "/a", b"", 5), "POST", "/a", b"", 5)
    with pytest.raises(Unsigned, match="only the gallery's owner"):
        gate.owner(signed_headers(CALLER, "POST", "/a", b"", 5), "POST", "/a", b"", 5)
    with pytest.raises(Unsigned, match="no caller"):
        gate.caller(signed_headers(OWNER, "POST", "/a", b"", 5), "POST", "/a", b"", 5)


def test_a_ticket_opens_with_its_servers_key_only():
    server = SigningKey.generate()
    data = TICKET.seal(b"question", server)
    assert open_ticket(data, server.public) == (TICKET, b"question")
    with pytest.raises(UserError, match="not signed by the server"):
        open_ticket(data, OWNER.public)
    assert ticket_name(data) != ticket_name(TICKET.seal(b"question ", server))


@given(st.data())
def test_a_ticket_with_any_byte_changed_or_cut_is_refused(data):
    server = SigningKey.generate()
    sealed = TICKET.seal(b"question", server)
    position = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytearray(sealed)
    changed[position] ^= data.draw(st.integers(1, 255))
    for wrong in (bytes(changed), sealed[:position], sealed + b"x"):
        with pytest.raises(UserError, match="not signed by the server"):
            open_ticket(wrong, server.public)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\x02\0\0\0{}",
        b"\x10\0\0\0{}",
        b'\x11\0\0\0{"kind":"verify"}',
    ],
)
def test_what_a_server_signed_and_is_no_ticket_is_refused_in_one_line(content):
    server = SigningKey.generate()
    signature = server.sign(b"fedpriv-faces-ticket-1\0" + hashlib.sha256(content).digest())
    with pytest.raises(UserError, match=r"^ticket: "):
        open_ticket(signature + content, server.public)


def test_an_answer_is_bound_to_its_ticket():
    signature = sign_answer(OWNER, b"ticket", b"yes")
    assert answer_signed(OWNER.public, b"ticket", b"yes", signature)
    for ticket, answer in ((b"ticket", b"no"), (b"other", b"yes")):
        assert not answer_signed(OWNER.public, ticket, answer, signature)
    assert not answer_signed(OWNER.public, b"ticket", b"yes", "zz" * 64)
    assert not answer_signed(OWNER.public, b"ticket", b"yes", "")
