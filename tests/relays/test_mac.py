"""The relay's authentication: checked against HMAC written out by hand, and every change is refused."""

import hashlib
import hmac

import pytest

from fedpriv.relays import mac

KEYS = {"a": bytes(range(32)), "b": bytes(32)}


def test_the_mac_is_hmac_of_its_fields() -> None:
    headers = mac.sign("a", KEYS["a"], "/v1/shares", b"body", 123)
    text = b"a\0/v1/shares\x00123\0" + hashlib.sha256(b"body").digest()
    assert headers["relay-mac"] == hmac.new(KEYS["a"], text, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("late", [-1000, 0, 1000])
def test_the_relay_is_known_within_the_skew(late) -> None:
    headers = mac.sign("a", KEYS["a"], "/p", b"body", 5000 + late)
    assert mac.verify(headers, KEYS, "/p", b"body", 5000, 1000) == "a"


@pytest.mark.parametrize(
    ("change", "path", "body", "now"),
    [
        ({}, "/q", b"body", 5000),
        ({}, "/p", b"bodY", 5000),
        ({}, "/p", b"body", 6001),
        ({}, "/p", b"body", 3999),
        ({"relay": "b"}, "/p", b"body", 5000),
        ({"relay": "c"}, "/p", b"body", 5000),
        ({"relay": ""}, "/p", b"body", 5000),
        ({"relay-time": "5001"}, "/p", b"body", 5000),
        ({"relay-time": "-5000"}, "/p", b"body", 5000),
        ({"relay-time": "9" * 5000}, "/p", b"body", 5000),
        ({"relay-time": "\u0665"}, "/p", b"body", 5000),
        ({"relay-mac": "0" * 64}, "/p", b"body", 5000),
        ({"relay-mac": "ä"}, "/p", b"body", 5000),
        ({"relay-mac": ""}, "/p", b"body", 5000),
    ],
)
def test_anything_else_is_nobody(change, path, body, now) -> None:
    headers = {**mac.sign("a", KEYS["a"], "/p", b"body", 5000), **change}
    assert mac.verify(headers, KEYS, path, body, now, 1000) is None
