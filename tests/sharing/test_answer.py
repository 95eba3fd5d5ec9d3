"""Sealed answers and the records that carry them."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.sharing.answer import (
    ANSWER_BYTES,
    MAX_CONTENT_BYTES,
    RECORD_BYTES,
    Record,
    open_answer,
    pack_records,
    seal_answer,
    unpack_records,
)
from fedpriv.sharing.causes import Cause, SharingError

CIPHER = ChaCha20Poly1305(bytes(range(32)))
SESSION, IMAGE = b"s" * 16, b"i" * 16


@settings(deadline=None)
@given(content=st.binary(max_size=MAX_CONTENT_BYTES))
def test_every_answer_has_one_size_and_comes_back(content):
    sealed = seal_answer(CIPHER, SESSION, IMAGE, 9, content)
    assert len(sealed) == ANSWER_BYTES
    assert open_answer(CIPHER, SESSION, IMAGE, 9, sealed) == content


def test_it_is_sealed_as_documented():
    sealed = seal_answer(CIPHER, SESSION, IMAGE, 9, b"abc")
    opened = CIPHER.decrypt(bytes(4) + (9).to_bytes(8, "little"), sealed, SESSION + IMAGE + b"answer")
    assert opened == b"\x00\x03abc" + bytes(MAX_CONTENT_BYTES - 3)


def test_a_longer_content_is_refused():
    with pytest.raises(ValueError, match=f"at most {MAX_CONTENT_BYTES}"):
        seal_answer(CIPHER, SESSION, IMAGE, 9, bytes(MAX_CONTENT_BYTES + 1))


@pytest.mark.parametrize(
    ("session", "image", "number"), [(IMAGE, IMAGE, 9), (SESSION, SESSION, 9), (SESSION, IMAGE, 8)]
)
def test_it_opens_for_no_other_session_or_image(session, image, number):
    sealed = seal_answer(CIPHER, SESSION, IMAGE, 9, b"abc")
    with pytest.raises(SharingError) as refused:
        open_answer(CIPHER, session, image, number, sealed)
    assert refused.value.cause is Cause.NOT_AUTHENTIC


@settings(deadline=None)
@given(place=st.integers(0, ANSWER_BYTES * 8 - 1))
def test_no_flipped_bit_passes(place):
    sealed = bytearray(seal_answer(CIPHER, SESSION, IMAGE, 9, b"abc"))
    sealed[place // 8] ^= 1 << place % 8
    with pytest.raises(SharingError):
        open_answer(CIPHER, SESSION, IMAGE, 9, bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", bytes(15), bytes(ANSWER_BYTES)])
def test_what_is_no_answer_is_not_authentic(sealed):
    with pytest.raises(SharingError) as refused:
        open_answer(CIPHER, SESSION, IMAGE, 9, sealed)
    assert refused.value.cause is Cause.NOT_AUTHENTIC


ANSWER = seal_answer(CIPHER, SESSION, IMAGE, 9, b"abc")
RECORDS = [Record(None, ANSWER), Record(Cause.BUSY, None), Record(Cause.ALREADY_USED, ANSWER)]


def test_records_come_back_in_their_order():
    body = pack_records(RECORDS)
    assert len(body) == 3 * RECORD_BYTES
    assert unpack_records(body, 3) == RECORDS
    assert body[RECORD_BYTES] == Cause.BUSY
    assert unpack_records(b"", 0) == []


def test_every_cause_travels():
    records = [Record(cause, None) for cause in Cause]
    assert unpack_records(pack_records(records), len(records)) == records


@pytest.mark.parametrize("record", [Record(None, None), Record(None, b"short"), Record(Cause.BUSY, b"short")])
def test_a_record_of_nothing_or_half_an_answer_is_refused(record):
    with pytest.raises(ValueError, match="record"):
        pack_records([record])


@pytest.mark.parametrize("change", [-1, 1, RECORD_BYTES])
def test_more_or_fewer_records_than_asked_for_are_refused(change):
    body = pack_records(RECORDS) + bytes(RECORD_BYTES)
    with pytest.raises(SharingError) as refused:
        unpack_records(body[: 3 * RECORD_BYTES + change], 3)
    assert refused.value.cause is Cause.WRONG_SIZE


def test_an_unknown_status_is_read_as_malformed():
    assert unpack_records(b"\xfe" + bytes(ANSWER_BYTES), 1) == [Record(Cause.MALFORMED, None)]


def test_status_bytes_and_labels_are_settled():
    assert min(Cause) == 1
    assert [cause.label for cause in Cause] == [
        "malformed", "wrong_size", "wrong_version", "unknown_session", "expired_session", "expired",
        "unexpected_id", "already_used", "wrong_scheme", "wrong_relay", "not_authentic", "inconsistent",
        "bad_commitment", "busy", "incomplete", "failed", "unknown_client", "clock_skew",
        "replayed_handshake", "not_offered", "window_full",
    ]  # fmt: skip
    assert str(SharingError(Cause.BUSY, "wait")) == "busy: wait"
