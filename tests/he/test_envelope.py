"""Every way to tamper with an envelope is refused by its own cause, before mask and body are parsed."""

import hashlib
import json
import signal
import struct
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.he.envelope import (
    HEADER_BYTES,
    SIGNED_BYTES,
    Draft,
    EnvelopeError,
    Expected,
    Header,
    check_mask,
    claimed_client,
    open_envelope,
    open_signed,
)
from fedpriv.he.identity import SigningKey
from tests.envelopes import seal

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "envelope.json").read_text())
ALICE = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GOLDEN["seed"]))
MALLORY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MASK, BODY = bytes.fromhex(GOLDEN["mask"]), bytes.fromhex(GOLDEN["body"])
SENT = {
    **GOLDEN["header"],
    **{name: bytes.fromhex(GOLDEN["header"][name]) for name in ("run_id", "layout", "start", "codec")},
}
EXPECTED = Expected(**SENT, mask_bytes=len(MASK), body_bytes=len(BODY))
CAP = GOLDEN["max_bytes"]


def by_hand(key=ALICE, mask=MASK, body=BODY, **changed):
    """Build an envelope from the table in the documentation, without fedpriv; return its bytes."""
    fields = {
        "magic": b"FEDPRIV\0",
        "version": 3,
        "header_bytes": 256,
        "reserved": 0,
        **SENT,
        "mask_bytes": len(mask),
        "body_bytes": len(body),
        "mask_digest": hashlib.sha256(mask).digest(),
        "body_digest": hashlib.sha256(body).digest(),
        **changed,
    }
    widths = {"version": 2, "header_bytes": 2, "reserved": 4, "round": 4, "client": 4}
    header = b""
    for name, value in fields.items():
        if name == "scheme":
            header += value.encode() + bytes(16 - len(value))
        elif name == "weight":
            header += struct.pack("<d", value)
        elif isinstance(value, int):
            header += value.to_bytes(widths.get(name, 8), "little")
        else:
            header += value
    assert len(header) == 256
    return header + key.sign(b"fedpriv-update-3\0" + header) + mask + body


VALID = by_hand()
CHANGES = {
    "magic": (b"FEDPRIW\0", "malformed"),
    "version": (2, "malformed"),
    "header_bytes": (224, "malformed"),
    "reserved": (1, "malformed"),
    "scheme": ("ckks", "wrong_scheme"),
    "run_id": (bytes(16), "wrong_run"),
    "round": (4, "wrong_round"),
    "client": (8, "wrong_client"),
    "parameters": (1001, "wrong_model"),
    "layout": (bytes(32), "wrong_model"),
    "start": (bytes(32), "wrong_model"),
    "codec": (bytes(32), "wrong_parameters"),
    "examples": (251, "wrong_examples"),
    "weight": (0.5, "wrong_weight"),
    "mask_bytes": (len(MASK) - 1, "malformed"),
    "body_bytes": (2**63, "malformed"),
    "mask_digest": (bytes(32), "tampered"),
    "body_digest": (bytes(32), "tampered"),
}
"""Field to another value and the cause by which it is refused, even if the client itself signed it."""

ENDS = {
    "magic": 8,
    "version": 10,
    "header_bytes": 12,
    "reserved": 16,
    "scheme": 32,
    "run_id": 48,
    "round": 52,
    "client": 56,
    "parameters": 64,
    "layout": 96,
    "start": 128,
    "codec": 160,
    "examples": 168,
    "weight": 176,
    "mask_bytes": 184,
    "body_bytes": 192,
    "mask_digest": 224,
    "body_digest": 256,
}


class Exploded(Exception):
    pass


def receive(data, expected=EXPECTED, key=ALICE, cap=CAP):
    """Do what a server does; its aggregator explodes on whatever it is given."""
    open_envelope(data, expected, key.public_key().public_bytes_raw(), cap)
    raise Exploded


def cause(data, **options):
    with pytest.raises(EnvelopeError) as refusal:
        receive(data, **options)
    return refusal.value.cause


def test_an_honest_envelope_reaches_the_parser():
    with pytest.raises(Exploded):
        receive(VALID)


def test_sealing_gives_the_bytes_that_were_built_by_hand():
    sealed = seal(Header(**SENT), MASK, BODY, SigningKey(ALICE))
    assert sealed == VALID
    assert sealed.hex() == GOLDEN["vectors"][0]["hex"]
    assert (HEADER_BYTES, SIGNED_BYTES) == (256, 320)


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["name"])
def test_golden_vectors_are_accepted_or_refused_for_their_cause(vector):
    data = bytes.fromhex(vector["hex"])
    if vector["cause"] is not None:
        assert cause(data) == vector["cause"]
        return
    envelope = open_envelope(data, EXPECTED, ALICE.public_key().public_bytes_raw(), CAP)
    assert (bytes(envelope.mask), bytes(envelope.body)) == (MASK, BODY)
    assert envelope.signed == data[:320]


def test_golden_vectors_cover_every_cause():
    assert {vector["cause"] for vector in GOLDEN["vectors"]} - {None} == {
        "oversized",
        "truncated",
        "malformed",
        "wrong_scheme",
        "wrong_run",
        "wrong_round",
        "wrong_client",
        "wrong_model",
        "wrong_parameters",
        "wrong_examples",
        "wrong_weight",
        "forged",
        "tampered",
    }


@given(
    mask=st.binary(max_size=50),
    body=st.binary(max_size=200),
    examples=st.integers(0, 2**64 - 1),
    number=st.integers(0, 2**32 - 1),
    weight=st.floats(min_value=0.0, exclude_min=True, allow_infinity=False),
    scheme=st.sampled_from(["plain", "bfv", "a_sixteen_byte_s"]),
)
def test_what_was_sealed_opens_again(mask, body, examples, number, weight, scheme):
    header = replace(Header(**SENT), examples=examples, round=number, weight=weight, scheme=scheme)
    expected = Expected(**asdict(header), mask_bytes=len(mask), body_bytes=len(body))
    key = SigningKey(ALICE)
    envelope = open_envelope(seal(header, mask, body, key), expected, key.public, 1000)
    assert {name: getattr(envelope.header, name) for name in SENT} == asdict(header)
    assert (bytes(envelope.mask), bytes(envelope.body)) == (mask, body)
    assert open_signed(envelope.signed, expected, key.public) == envelope.header
    check_mask(envelope.header, mask)


# The tampering matrix: fields


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_is_refused_by_its_own_cause_even_if_the_client_signed_it(field):
    value, expected = CHANGES[field]
    assert cause(by_hand(**{field: value})) == expected


@pytest.mark.parametrize("field", sorted(CHANGES.keys() - {"mask_digest", "body_digest"}))
@pytest.mark.parametrize("signer", ["other key", "old signature", "no signature"])
def test_a_changed_field_is_refused_by_its_own_cause_whoever_signed_it(field, signer):
    value, expected = CHANGES[field]
    data = by_hand(key=MALLORY, **{field: value})
    if signer != "other key":
        signature = VALID[256:320] if signer == "old signature" else bytes(64)
        data = data[:256] + signature + data[320:]
    assert cause(data) == expected


@pytest.mark.parametrize("field", sorted(CHANGES.keys() - {"magic", "version", "header_bytes", "reserved"}))
@pytest.mark.parametrize("signer", ["other key", "old signature", "no signature"])
def test_the_signature_covers_every_field(field, signer):
    """A receiver that expects the changed value is stopped by the signature alone."""
    value, mask, body = CHANGES[field][0], MASK, BODY
    if field == "mask_bytes":
        mask = MASK[:value]
    if field == "body_bytes":
        body, value = BODY[:-1], len(BODY) - 1
    data = by_hand(key=MALLORY, mask=mask, body=body, **{field: value})
    if signer != "other key":
        signature = VALID[256:320] if signer == "old signature" else bytes(64)
        data = data[:256] + signature + data[320:]
    changed = {} if field.endswith("digest") else {field: value}
    expected = replace(EXPECTED, **{"mask_bytes": len(mask), "body_bytes": len(body), **changed})
    assert cause(data, expected=expected) == "forged"
    if not field.endswith("digest"):
        with pytest.raises(Exploded):
            receive(by_hand(mask=mask, body=body, **{field: value}), expected=expected)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_no_receiver_takes_a_weight_that_is_no_weight(weight):
    for known in (weight, None):
        assert cause(by_hand(weight=weight), expected=replace(EXPECTED, weight=known)) == "wrong_weight"


def test_start_examples_and_weight_may_be_unknown_to_the_receiver():
    data = by_hand(start=bytes(32), examples=1, weight=7.0)
    with pytest.raises(Exploded):
        receive(data, expected=replace(EXPECTED, start=None, examples=None, weight=None))
    header = open_signed(
        data[:320], replace(EXPECTED, start=None, examples=None, weight=None), SigningKey(ALICE).public
    )
    assert (header.start, header.examples, header.weight) == (bytes(32), 1, 7.0)


# The tampering matrix: bytes


def test_any_flipped_bit_is_refused_by_the_cause_of_its_place():
    for position in range(len(VALID)):
        if position < 256:
            field = next(name for name, end in ENDS.items() if position < end)
            expected = "forged" if field.endswith("digest") else CHANGES[field][1]
        else:
            expected = "forged" if position < 320 else "tampered"
        for bit in range(8):
            damaged = bytearray(VALID)
            damaged[position] ^= 1 << bit
            assert cause(bytes(damaged)) == expected, (position, bit)


@given(data=st.data(), start=st.integers(0, len(VALID) - 1), length=st.integers(1, 40))
def test_any_overwritten_region_is_refused(data, start, length):
    region = VALID[start : start + length]
    other = data.draw(
        st.binary(min_size=len(region), max_size=len(region)).filter(lambda drawn: drawn != region)
    )
    damaged = VALID[:start] + other + VALID[start + len(region) :]
    assert cause(damaged) not in ("oversized", "truncated")


@given(data=st.binary(max_size=800))
def test_random_bytes_are_refused(data):
    cause(data)


def test_cut_anywhere_is_truncated():
    for keep in range(len(VALID)):
        assert cause(VALID[:keep]) == "truncated"


@pytest.mark.parametrize("further", [1, 16, CAP - len(VALID)])
def test_bytes_after_the_body_are_malformed(further):
    assert cause(VALID + bytes(further)) == "malformed"


def test_bytes_that_move_between_mask_and_body_are_malformed():
    joined = MASK + BODY
    for middle in set(range(len(joined) + 1)) - {len(MASK)}:
        assert cause(by_hand(mask=joined[:middle], body=joined[middle:])) == "malformed"


def test_mask_and_body_of_two_envelopes_do_not_mix():
    other = by_hand(mask=MASK[::-1], body=BODY[::-1])
    assert cause(VALID[: 320 + len(MASK)] + other[320 + len(MASK) :]) == "tampered"
    assert cause(other[:320] + VALID[320:]) == "tampered"
    assert cause(VALID[:256] + other[256:]) == "forged"


# The tampering matrix: replays


def test_a_replay_is_refused_in_another_round_run_model_codec_and_for_another_weight():
    for field, expected in (
        ("round", "wrong_round"),
        ("run_id", "wrong_run"),
        ("start", "wrong_model"),
        ("codec", "wrong_parameters"),
        ("weight", "wrong_weight"),
    ):
        assert cause(VALID, expected=replace(EXPECTED, **{field: CHANGES[field][0]})) == expected


def test_another_client_can_neither_send_nor_relabel_nor_resign_an_envelope():
    mallory = replace(EXPECTED, client=8)
    assert cause(VALID, expected=mallory, key=MALLORY) == "wrong_client"
    relabelled = by_hand(client=8)
    assert cause(relabelled[:256] + VALID[256:], expected=mallory, key=MALLORY) == "forged"
    assert cause(by_hand(key=MALLORY)) == "forged"


def test_a_signature_made_for_another_purpose_is_forged():
    header = VALID[:256]
    for message in (header, b"fedpriv-update-2\0" + header, hashlib.sha256(header).digest()):
        assert cause(header + ALICE.sign(message) + VALID[320:]) == "forged"


# Order of the checks


def test_the_cap_counts_bytes_and_comes_before_everything():
    assert cause(bytes(CAP + 1)) == "oversized"
    assert cause(VALID, cap=len(VALID) - 1) == "oversized"
    with pytest.raises(Exploded):
        receive(VALID, cap=len(VALID))
    words = memoryview(bytes(8 * (CAP // 8 + 1))).cast("Q")
    assert len(words) < CAP
    assert cause(words) == "oversized"


def test_nothing_is_read_before_it_must_be():
    """Pages behind the end of a file kill whoever reads them: header in front of such pages."""
    program = textwrap.dedent("""
        import mmap, os, resource
        from tests.he import test_envelope as matrix
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        page = mmap.PAGESIZE

        def behind(readable):
            handle = os.memfd_create("envelope")
            os.ftruncate(handle, 2 * page)
            memory = mmap.mmap(handle, 2 * page)
            memory[page - len(readable):page] = readable
            os.ftruncate(handle, page)
            return memoryview(memory)[page - len(readable):]

        def refused(data, why, **options):
            assert matrix.cause(data, **options) == why, why

        size = 320 + page
        announced = {"mask_bytes": 8, "body_bytes": page - 8}
        sizes = matrix.replace(matrix.EXPECTED, **announced)
        nothing = behind(b"")
        refused(nothing, "oversized", cap=page - 1)
        for field, (value, expected) in matrix.CHANGES.items():
            if not field.endswith("digest"):
                header = matrix.by_hand(**{**announced, field: value})[:320]
                refused(behind(header), expected, expected=sizes, cap=size)
        header = matrix.by_hand(**announced)[:256]
        refused(behind(header + bytes(64)), "forged", expected=sizes, cap=size)
        refused(behind(matrix.by_hand(mask_bytes=8, body_bytes=page)[:320]), "truncated",
                expected=matrix.replace(sizes, body_bytes=page), cap=size)
        print("unread", flush=True)
        refused(behind(matrix.by_hand(**announced)[:320]), "tampered", expected=sizes, cap=size)
        print("survived", flush=True)
    """)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "unread\n", done.stderr
    assert done.returncode == -signal.SIGBUS  # only the last case had to read its payload


def test_a_draft_becomes_the_envelope_of_what_was_written_into_it():
    draft = Draft(len(MASK), len(BODY))
    draft.mask[:], draft.body[:] = MASK, BODY
    assert draft.seal(Header(**SENT), SigningKey(ALICE)) == by_hand()
    with pytest.raises(ValueError, match="released"):
        draft.body[0] = 1
    nothing = Draft(0, 0)
    assert (len(nothing.mask), len(nothing.body)) == (0, 0)
    assert nothing.seal(Header(**SENT), SigningKey(ALICE)) == by_hand(mask=b"", body=b"")


def test_a_draft_is_not_sealed_while_somebody_could_still_change_it():
    draft = Draft(len(MASK), len(BODY))
    held = draft.body[3:]
    with pytest.raises(BufferError):
        draft.seal(Header(**SENT), SigningKey(ALICE))
    held.release()


def test_neither_sealing_nor_opening_copies_a_body():
    size = 1 << 23
    tracemalloc.start()
    try:
        draft = Draft(len(MASK), size)
        draft.mask[:] = MASK
        sealed = draft.seal(Header(**SENT), SigningKey(ALICE))
        assert tracemalloc.get_traced_memory()[1] < size + 100_000
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        expected = replace(EXPECTED, body_bytes=size)
        envelope = open_envelope(sealed, expected, SigningKey(ALICE).public, len(sealed))
        assert tracemalloc.get_traced_memory()[1] - before < 100_000
    finally:
        tracemalloc.stop()
    assert envelope.body.nbytes == size


def test_mask_and_body_are_views_but_what_was_signed_is_a_copy():
    data = bytearray(VALID)
    envelope = open_envelope(memoryview(data), EXPECTED, SigningKey(ALICE).public, CAP)
    data[:] = bytes(len(data))
    assert bytes(envelope.mask) == bytes(len(MASK))
    assert bytes(envelope.body) == bytes(len(BODY))
    assert envelope.signed == VALID[:320]


# What key holders check


@pytest.mark.parametrize("field", CHANGES)
def test_a_key_holder_refuses_changed_headers_by_the_same_causes(field):
    value, expected = CHANGES[field]
    signed = by_hand(**{field: value})[:320]
    if field.endswith("digest"):
        header = open_signed(signed, EXPECTED, SigningKey(ALICE).public)
        if field == "mask_digest":
            with pytest.raises(EnvelopeError, match="tampered"):
                check_mask(header, MASK)
        return
    with pytest.raises(EnvelopeError, match=expected):
        open_signed(signed, EXPECTED, SigningKey(ALICE).public)


def test_a_key_holder_refuses_headers_of_another_size_or_signer():
    public = SigningKey(ALICE).public
    for signed, expected in ((VALID[:319], "truncated"), (VALID[:321], "malformed"), (b"", "truncated")):
        for read in (claimed_client, lambda data: open_signed(data, EXPECTED, public)):
            with pytest.raises(EnvelopeError, match=expected):
                read(signed)
    with pytest.raises(EnvelopeError, match="forged"):
        open_signed(by_hand(key=MALLORY)[:320], EXPECTED, public)
    assert claimed_client(VALID[:320]) == SENT["client"]
    assert claimed_client(b"\xff" * 320) == 2**32 - 1


def test_a_mask_of_another_size_or_content_is_refused():
    header = open_signed(VALID[:320], EXPECTED, SigningKey(ALICE).public)
    for mask, expected in (
        (MASK[:-1], "truncated"),
        (MASK + b"\0", "malformed"),
        (MASK[::-1], "tampered"),
        (b"", "truncated"),
    ):
        with pytest.raises(EnvelopeError, match=expected):
            check_mask(header, mask)


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "seventeen_bytes__"},
        {"scheme": ""},
        {"scheme": "bfv\0"},
        {"scheme": "bfü"},
        {"run_id": bytes(15)},
        {"layout": bytes(33)},
        {"start": bytes(31)},
        {"codec": b""},
        {"round": -1},
        {"round": 2**32},
        {"client": 2**32},
        {"parameters": 2**64},
        {"examples": -1},
        {"examples": 2**64},
        {"weight": 0.0},
        {"weight": float("nan")},
        {"weight": float("inf")},
    ],
)
def test_fields_that_do_not_fit_their_place_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(Header(**SENT), **change)
