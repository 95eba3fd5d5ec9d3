import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.he.envelope import HEADER_BYTES, EnvelopeError, Expected, Header, open_envelope, seal

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "envelope.json").read_text())
FIELDS = {
    **GOLDEN["expected"],
    "run_id": bytes.fromhex(GOLDEN["expected"]["run_id"]),
    "layout": bytes.fromhex(GOLDEN["expected"]["layout"]),
}
EXPECTED = Expected(**FIELDS)
HEADER = Header(**FIELDS, examples=GOLDEN["examples"])
PAYLOAD = bytes.fromhex(GOLDEN["payload"])
SEALED = seal(HEADER, PAYLOAD)


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_golden_vectors_are_accepted_or_refused_for_their_cause(vector):
    data = bytes.fromhex(vector["hex"])
    if vector["cause"] is None:
        assert bytes(open_envelope(data, EXPECTED, GOLDEN["max_bytes"]).payload) == PAYLOAD
        return
    with pytest.raises(EnvelopeError) as refusal:
        open_envelope(data, EXPECTED, GOLDEN["max_bytes"])
    assert refusal.value.cause == vector["cause"]


def test_golden_vectors_cover_every_cause():
    causes = {vector["cause"] for vector in GOLDEN["vectors"]} - {None}
    assert causes == {
        "oversized",
        "truncated",
        "malformed",
        "wrong_run",
        "wrong_round",
        "wrong_client",
        "wrong_scheme",
        "wrong_model",
        "tampered",
    }


def test_sealing_gives_the_golden_bytes():
    assert SEALED.hex() == GOLDEN["vectors"][0]["hex"]
    assert len(SEALED) == HEADER_BYTES + len(PAYLOAD)


@given(
    payload=st.binary(max_size=200),
    examples=st.integers(0, 2**64 - 1),
    number=st.integers(0, 2**32 - 1),
    scheme=st.sampled_from(["plain", "bfv", "a_sixteen_byte_s"]),
)
def test_what_was_sealed_opens_again(payload, examples, number, scheme):
    header = replace(HEADER, examples=examples, round=number, scheme=scheme)
    expected = replace(EXPECTED, round=number, scheme=scheme)
    envelope = open_envelope(seal(header, payload), expected, 1000)
    assert envelope.header == header
    assert bytes(envelope.payload) == payload


@given(offset=st.integers(0, len(SEALED) - 1), change=st.integers(1, 255))
def test_any_changed_byte_is_refused(offset, change):
    damaged = bytearray(SEALED)
    damaged[offset] ^= change
    with pytest.raises(EnvelopeError):
        open_envelope(bytes(damaged), EXPECTED, 1000)


@given(data=st.binary(max_size=400))
def test_random_bytes_are_refused(data):
    with pytest.raises(EnvelopeError):
        open_envelope(data, EXPECTED, 1000)


@given(keep=st.integers(0, len(SEALED) - 1))
def test_any_shortened_envelope_is_truncated(keep):
    with pytest.raises(EnvelopeError) as refusal:
        open_envelope(SEALED[:keep], EXPECTED, 1000)
    assert refusal.value.cause == "truncated"


def test_size_is_checked_before_anything_else():
    with pytest.raises(EnvelopeError) as refusal:
        open_envelope(bytes(1001), EXPECTED, 1000)
    assert refusal.value.cause == "oversized"
    open_envelope(SEALED, EXPECTED, len(SEALED))


def test_the_payload_is_a_view_of_the_received_bytes():
    data = bytearray(SEALED)
    envelope = open_envelope(memoryview(data), EXPECTED, 1000)
    data[-1] = 0
    assert envelope.payload[-1] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "seventeen_bytes__"},
        {"scheme": ""},
        {"scheme": "bfv\0"},
        {"scheme": "bfü"},
        {"run_id": bytes(15)},
        {"layout": bytes(33)},
        {"round": -1},
        {"round": 2**32},
        {"client": 2**32},
        {"parameters": 2**64},
        {"examples": -1},
        {"examples": 2**64},
    ],
)
def test_fields_that_do_not_fit_their_place_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(HEADER, **change)
