"""Noise against the published vector, and against everybody who is not the other party.

Vector: ``Noise_NKpsk0_25519_ChaChaPoly_SHA256`` of the cacophony collection, which several
implementations of Noise carry.
"""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.handshake import MAX_MESSAGE_BYTES, OVERHEAD_BYTES, Initiator, Responder, nonce

PROLOGUE = b"John Galt"
SECRET = b"This is my Austrian perspective!"


def private(text):
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


STATIC = private("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893")
PUBLIC = STATIC.public_key().public_bytes_raw()
OURS = private("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
THEIRS = private("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
FIRST = bytes.fromhex(
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
    "190fec41487219f2069c3ba7b7f9521437045935231f0ed399dfd4baf6bd825b"
)
SECOND = bytes.fromhex(
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
    "85010e0c56e886e6da0c69aee7388bcf4000cc357af5ebd11a46a169a3712c"
)


def test_the_published_vector_comes_out_byte_for_byte():
    client = Initiator(PUBLIC, SECRET, PROLOGUE, OURS)
    server = Responder(STATIC, SECRET, PROLOGUE, THEIRS)
    assert client.first(b"Ludwig von Mises") == FIRST
    assert server.read(FIRST) == b"Ludwig von Mises"
    message, keys = server.reply(b"Murray Rothbard")
    assert message == SECOND
    content, same = client.finish(SECOND)
    assert content == b"Murray Rothbard"
    assert keys == same
    assert keys.transcript.hex() == "1609ef057bdd62c752b5960546a255a78aebff08c5f07ef2adaa1db8350e7077"
    sealed = ChaCha20Poly1305(keys.to_server).encrypt(nonce(0), b"F. A. Hayek", b"")
    assert sealed.hex() == "4beed26535f1a387c950fab9a162dc613cc5bf84e8a62653130b83"
    sealed = ChaCha20Poly1305(keys.to_client).encrypt(nonce(0), b"Carl Menger", b"")
    assert sealed.hex() == "ceaffe71ce7f1bf7b080736d62e0579ce5dc1530a36e7df795a4cc"


def test_the_nonce_is_four_zero_bytes_and_the_number_little_endian():
    assert nonce(0x0102) == bytes([0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0])


def test_two_handshakes_of_the_same_parties_share_no_key():
    keys = []
    for _ in range(2):
        client, server = Initiator(PUBLIC, SECRET, b""), Responder(STATIC, SECRET, b"")
        server.read(client.first(b""))
        keys.append(client.finish(server.reply(b"")[0])[1])
    assert len({each for pair in keys for each in (pair.to_server, pair.to_client, pair.transcript)}) == 6


@pytest.mark.parametrize(
    ("static", "secret", "prologue"),
    [(OURS, SECRET, PROLOGUE), (STATIC, bytes(32), PROLOGUE), (STATIC, SECRET, b"John Galt ")],
    ids=["another server", "another secret", "another prologue"],
)
def test_a_first_message_for_somebody_else_is_not_authentic(static, secret, prologue):
    with pytest.raises(SharingError) as refused:
        Responder(static, secret, prologue).read(FIRST)
    assert refused.value.cause is Cause.NOT_AUTHENTIC


@settings(deadline=None)
@given(place=st.integers(0, len(FIRST) * 8 - 1))
def test_every_flipped_bit_of_the_first_message_is_noticed(place):
    changed = bytearray(FIRST)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(SharingError) as refused:
        Responder(STATIC, SECRET, PROLOGUE, THEIRS).read(bytes(changed))
    assert refused.value.cause is Cause.NOT_AUTHENTIC


@settings(deadline=None)
@given(place=st.integers(0, len(SECOND) * 8 - 1))
def test_every_flipped_bit_of_the_second_message_is_noticed(place):
    client = Initiator(PUBLIC, SECRET, PROLOGUE, OURS)
    client.first(b"Ludwig von Mises")
    changed = bytearray(SECOND)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(SharingError) as refused:
        client.finish(bytes(changed))
    assert refused.value.cause is Cause.NOT_AUTHENTIC


def test_a_reply_by_who_knows_the_secret_but_not_the_servers_key_is_not_authentic():
    client = Initiator(PUBLIC, SECRET, PROLOGUE)
    message = client.first(b"")
    impostor = Responder(OURS, SECRET, PROLOGUE)
    with pytest.raises(SharingError):
        impostor.read(message)
    with pytest.raises(SharingError) as refused:
        client.finish(impostor.reply(b"")[0])
    assert refused.value.cause is Cause.NOT_AUTHENTIC


def test_a_reply_to_another_first_message_is_not_authentic():
    one, other = Initiator(PUBLIC, SECRET, b""), Initiator(PUBLIC, SECRET, b"")
    server = Responder(STATIC, SECRET, b"")
    other.first(b"")
    server.read(one.first(b""))
    with pytest.raises(SharingError) as refused:
        other.finish(server.reply(b"")[0])
    assert refused.value.cause is Cause.NOT_AUTHENTIC


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_of_small_order_is_refused(point):
    with pytest.raises(SharingError) as refused:
        Responder(STATIC, SECRET, PROLOGUE).read(point + bytes(16))
    assert refused.value.cause is Cause.NOT_AUTHENTIC
    with pytest.raises(SharingError) as refused:
        Initiator(point, SECRET, PROLOGUE).first(b"")
    assert refused.value.cause is Cause.NOT_AUTHENTIC


@pytest.mark.parametrize("size", [0, OVERHEAD_BYTES - 1, MAX_MESSAGE_BYTES + 1])
def test_messages_of_impossible_sizes_are_refused(size):
    with pytest.raises(SharingError) as refused:
        Responder(STATIC, SECRET, PROLOGUE).read(bytes(size))
    assert refused.value.cause is Cause.WRONG_SIZE


def test_sizes_of_keys_and_payloads_are_checked():
    with pytest.raises(ValueError, match="secret"):
        Initiator(PUBLIC, SECRET[1:], b"")
    with pytest.raises(ValueError, match="secret"):
        Responder(STATIC, SECRET + b"!", b"")
    with pytest.raises(ValueError, match="32"):
        Initiator(PUBLIC[1:], SECRET, b"")
    with pytest.raises(ValueError, match="payload"):
        Initiator(PUBLIC, SECRET, b"").first(bytes(MAX_MESSAGE_BYTES))


def test_keys_do_not_show_when_printed():
    server = Responder(STATIC, SECRET, PROLOGUE, THEIRS)
    server.read(FIRST)
    keys = server.reply(b"")[1]
    assert repr(keys.to_server) not in repr(keys)
    assert repr(keys.to_client) not in repr(keys)
