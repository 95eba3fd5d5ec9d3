"""Envelopes: a golden one, every bit of it flipped, every truncation, and bodies of several."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.envelope import (
    HEADER_BYTES,
    Header,
    cut_batch,
    envelope_bytes,
    open_share,
    read_header,
    seal_share,
)
from fedpriv.sharing.scheme import Scheme

CIPHER = ChaCha20Poly1305(bytes(range(32)))
SALT = b"z" * 32
FIELDS = Header((1, 3, 3), 2, b"s" * 16, b"i" * 16, 0x0102030405060708, b"c" * 32)
# The header spelled out by hand from the table in the module; the sealed part made once by this code.
GOLDEN = bytes.fromhex(
    "46505301"
    + "01020303"
    + "73" * 16
    + "69" * 16
    + "0102030405060708"
    + "63" * 32
    + "00000034"
    + "84d96927159e9ffee37e72b2273f9d1b770501ed1a0a62157bd8fbb8"
    + "ae272d37a64b04fc43359af400383460c09e1e6b83cf2970"
)
FIELD_PLACES = {
    "magic": (0, 3), "version": (3, 4), "scheme": (4, 5), "share": (5, 6), "n": (6, 7), "t": (7, 8),
    "session": (8, 24), "image": (24, 40), "expiry": (40, 48), "commitment": (48, 80), "length": (80, 84),
    "body": (84, 136),
}  # fmt: skip


def test_the_golden_envelope_is_made_and_read():
    assert seal_share(CIPHER, FIELDS, 5, SALT, b"abcd") == GOLDEN
    assert read_header(GOLDEN) == FIELDS
    assert open_share(CIPHER, GOLDEN, 5, 2) == (SALT, b"abcd")


def test_the_nonce_is_256_times_the_image_number_plus_the_share_index():
    sealed = ChaCha20Poly1305(bytes(range(32))).encrypt(
        bytes(4) + (5 * 256 + 2).to_bytes(8, "little"), SALT + b"abcd", GOLDEN[:84]
    )
    assert sealed == GOLDEN[84:]


@pytest.mark.parametrize("field", FIELD_PLACES)
def test_no_flipped_bit_of_any_field_passes(field):
    start, end = FIELD_PLACES[field]
    for place in range(8 * start, 8 * end):
        changed = bytearray(GOLDEN)
        changed[place // 8] ^= 1 << place % 8
        try:
            header = read_header(bytes(changed))
        except SharingError as error:
            seen = error.cause
        else:
            assert (header != FIELDS) == (field != "body")
            with pytest.raises(SharingError) as refused:
                open_share(CIPHER, bytes(changed), 5, header.share)
            seen = refused.value.cause
        expected = {
            "magic": Cause.MALFORMED, "version": Cause.WRONG_VERSION, "length": Cause.WRONG_SIZE
        }.get(field, Cause.NOT_AUTHENTIC)  # fmt: skip
        assert seen is expected


@pytest.mark.parametrize("size", [*range(len(GOLDEN)), len(GOLDEN) + 1])
def test_every_truncation_and_any_more_bytes_are_of_the_wrong_size(size):
    with pytest.raises(SharingError) as refused:
        read_header((GOLDEN + b"\0")[:size])
    assert refused.value.cause is Cause.WRONG_SIZE


@pytest.mark.parametrize(("number", "share"), [(4, 2), (6, 2), (5, 1), (5, 3)])
def test_it_opens_as_no_other_image_or_share(number, share):
    with pytest.raises(SharingError) as refused:
        open_share(CIPHER, GOLDEN, number, share)
    assert refused.value.cause is Cause.NOT_AUTHENTIC


def test_it_does_not_open_under_another_key():
    with pytest.raises(SharingError):
        open_share(ChaCha20Poly1305(bytes(32)), GOLDEN, 5, 2)


@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    try:
        header = read_header(data)
    except SharingError:
        return
    assert len(header.session) == len(header.image) == 16


@pytest.mark.parametrize("scheme", [Scheme("additive", 3, 3), Scheme("shamir", 3, 2)])
@pytest.mark.parametrize("payload_bytes", [9, 4104])
def test_the_size_is_known_beforehand(scheme, payload_bytes):
    for share in scheme.split(bytes(payload_bytes)):
        made = seal_share(CIPHER, FIELDS, 0, SALT, share)
        assert len(made) == envelope_bytes(scheme, payload_bytes)


def test_envelopes_back_to_back_are_cut_apart():
    longer = seal_share(CIPHER, FIELDS, 5, SALT, b"abcdefgh")
    assert cut_batch(GOLDEN + longer + GOLDEN) == [GOLDEN, longer, GOLDEN]
    assert cut_batch(GOLDEN * 64) == [GOLDEN] * 64


@pytest.mark.parametrize(
    "body",
    [
        b"",
        GOLDEN * 65,
        GOLDEN[:-1],
        GOLDEN + GOLDEN[:HEADER_BYTES],
        GOLDEN + b"\0",
        GOLDEN + GOLDEN[:40],
        b"\0" + GOLDEN,
        GOLDEN[:80] + b"\xff\xff\xff\xff" + GOLDEN[84:],
    ],
)
def test_a_body_that_is_no_row_of_envelopes_is_malformed(body):
    with pytest.raises(SharingError) as refused:
        cut_batch(body)
    assert refused.value.cause is Cause.MALFORMED


@settings(deadline=None)
@given(body=st.binary(max_size=500))
def test_what_is_cut_joins_to_the_body(body):
    for candidate in (body, GOLDEN + body):
        try:
            found = cut_batch(candidate)
        except SharingError:
            continue
        assert b"".join(found) == candidate
