"""The handshake's payloads."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.scheme import Scheme, every_scheme
from fedpriv.sharing.terms import Hello, Terms

TERMS = Terms(b"s" * 16, 1000, 60_000, 8, 4104, ("a", "b"), ("gaze",))


@settings(deadline=None)
@given(clock_ms=st.integers(0, 2**64 - 1), scheme=st.sampled_from(every_scheme(5)))
def test_a_hello_comes_back(clock_ms, scheme):
    assert Hello.unpack(Hello(clock_ms, scheme).pack()) == Hello(clock_ms, scheme)


def test_a_hello_of_another_size_is_malformed():
    packed = Hello(5, Scheme("shamir", 3, 2)).pack()
    for damaged in (b"", packed[:-1], packed + b"\0"):
        with pytest.raises(SharingError) as refused:
            Hello.unpack(damaged)
        assert refused.value.cause is Cause.MALFORMED


def test_a_scheme_that_does_not_exist_is_not_offered():
    with pytest.raises(SharingError) as refused:
        Hello.unpack(bytes(8) + bytes([1, 3, 2]))
    assert refused.value.cause is Cause.NOT_OFFERED


def test_terms_come_back():
    assert Terms.unpack(TERMS.pack()) == TERMS


GOOD = json.loads(TERMS.pack())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session", "00"), ("session", "zz" * 16), ("session", 5),
        ("clock_ms", -1), ("clock_ms", 1.5), ("clock_ms", True), ("clock_ms", "1"), ("clock_ms", None),
        ("lifetime_ms", 0), ("window", 1), ("window", 3), ("window", 1 << 17), ("window", "8"),
        ("payload_bytes", 8), ("payload_bytes", (1 << 20) + 1),
        ("relays", []), ("relays", ["a", "a"]), ("relays", ["a", 1]), ("relays", "ab"), ("relays", ["", "b"]),
        ("relays", [str(each) for each in range(256)]), ("relays", {"a": 1}),
        ("models", []), ("models", list("abcdefghi")), ("models", ["gaze", "gaze"]),
        ("another", 1),
    ],
)  # fmt: skip
def test_terms_with_a_wrong_field_are_malformed(name, value):
    with pytest.raises(SharingError) as refused:
        Terms.unpack(json.dumps({**GOOD, name: value}).encode())
    assert refused.value.cause is Cause.MALFORMED


@pytest.mark.parametrize("name", GOOD)
def test_terms_without_a_field_are_malformed(name):
    with pytest.raises(SharingError) as refused:
        Terms.unpack(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())
    assert refused.value.cause is Cause.MALFORMED


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 60_000, b"null"])
def test_what_is_no_terms_at_all_is_malformed(data):
    with pytest.raises(SharingError) as refused:
        Terms.unpack(data)
    assert refused.value.cause is Cause.MALFORMED
