"""Cards: what they say is signed, and nothing else is taken for one."""

import hashlib
import json
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.cards import Card
from fedpriv.he.identity import MOST_PARTIES, SigningKey

# RFC 8032, section 7.1, test 1
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.fixture
def key():
    return SigningKey(Ed25519PrivateKey.from_private_bytes(SEED))


@pytest.fixture
def written(tmp_path, key):
    path = tmp_path / "client-3.card.json"
    Card.of("client", 3, key).save(path)
    return path


def test_a_card_is_what_its_page_says(written):
    content = json.loads(written.read_text())
    assert {name: content[name] for name in ("version", "role", "number", "public")} == {
        "version": 1,
        "role": "client",
        "number": 3,
        "public": PUBLIC,
    }
    said = b"fedpriv-card-1\0client 3 " + bytes.fromhex(PUBLIC)
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(PUBLIC)).verify(
        bytes.fromhex(content["signature"]), said
    )
    assert len(content) == 5
    fingerprint = hashlib.sha256(b"fedpriv-party-1\0client 3 " + bytes.fromhex(PUBLIC)).hexdigest()
    assert Card.load(written).fingerprint == fingerprint[:32]
    assert SEED.hex() not in written.read_text()


def test_no_two_parties_have_one_fingerprint(key):
    other = SigningKey.generate()
    cards = [Card.of(role, n, k) for role in ("client", "holder") for n in (1, 11) for k in (key, other)]
    assert len({card.fingerprint for card in cards}) == len(cards)


@pytest.mark.parametrize("number", [0, MOST_PARTIES - 1])
@pytest.mark.parametrize("role", ["client", "holder"])
def test_what_is_saved_is_loaded(tmp_path, key, role, number):
    card = Card.of(role, number, key)
    card.save(tmp_path / "card")
    assert Card.load(tmp_path / "card") == card


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_byte_changed_on_the_way_is_seen_or_changes_nothing(tmp_path, written, data):
    before = written.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    damaged = bytearray(before)
    damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    try:
        found = Card.load(path)
    except UserError as error:
        said = str(error)
    else:
        assert found == Card.load(written)
        return
    assert said.startswith(str(path))
    assert "\n" not in said


@pytest.mark.parametrize(
    ("field", "value"), [("number", 4), ("role", "holder"), ("public", "5" * 64), ("signature", "0" * 128)]
)
def test_a_card_that_was_altered_does_not_check(written, field, value):
    altered = {**json.loads(written.read_text()), field: value}
    written.write_text(json.dumps(altered))
    with pytest.raises(UserError, match=r"card\.json: signature: is not that of this role, number and key"):
        Card.load(written)


WRONG = {
    "an unknown field": (lambda card: {**card, "note": ""}, "a card has version, role, number, public"),
    "a missing field": (lambda card: {n: v for n, v in card.items() if n != "public"}, "a card has version"),
    "another version": (lambda card: {**card, "version": 2}, "version: this program reads 1"),
    "true for a version": (lambda card: {**card, "version": True}, "version: this program reads 1"),
    "a float for a number": (lambda card: {**card, "number": 3.0}, "need a role and the number of a party"),
    "a text for a number": (lambda card: {**card, "number": "3"}, "need a role and the number of a party"),
    "a list for a role": (lambda card: {**card, "role": ["client"]}, "need a role and the number of a party"),
    "another role": (lambda card: {**card, "role": "server"}, "role='server': choose one of client, holder"),
    "a negative number": (lambda card: {**card, "number": -1}, "client -1: numbers go from 0 to 99999"),
    "a giant number": (lambda card: {**card, "number": 10**3000}, "client 1000.*: numbers go from 0"),
    "upper case": (lambda card: {**card, "public": card["public"].upper()}, "public: need 64 lower-case"),
    "spaces": (lambda card: {**card, "public": " ".join(card["public"])}, "public: need 64 lower-case"),
    "a short key": (lambda card: {**card, "public": card["public"][2:]}, "public: need 64 lower-case"),
    "no text for a key": (lambda card: {**card, "public": None}, "public: need 64 lower-case"),
    "a short signature": (lambda card: {**card, "signature": "00"}, "signature: need 128 lower-case"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_card_is_one_line_that_names_the_file(written, name):
    change, said = WRONG[name]
    written.write_text(json.dumps(change(json.loads(written.read_text()))))
    with pytest.raises(UserError, match=said) as refused:
        Card.load(written)
    assert str(refused.value).startswith(f"{written}: ")
    assert len(str(refused.value)) < 400 + len(str(written))


def test_no_terminal_is_sent_what_a_card_holds(written):
    card = {**json.loads(written.read_text()), "role": "\x1b[31mred\x07"}
    written.write_text(json.dumps(card))
    with pytest.raises(UserError) as refused:
        Card.load(written)
    assert str(refused.value).isprintable()


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "card"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="1099511627776 bytes, at most 4096 expected"):
        Card.load(path)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(UserError, match=str(path)):
            Card.load(path)


def test_a_card_is_not_made_for_what_would_be_refused(key):
    for role, number in (("server", 0), ("client", -1), ("holder", MOST_PARTIES)):
        with pytest.raises(UserError):
            Card.of(role, number, key)
