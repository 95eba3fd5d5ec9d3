"""What people agree to: whatever changes the terms changes the words."""

from dataclasses import replace

import pytest

from fedpriv.enrol.words import grouped, terms, ungrouped, whole
from fedpriv.errors import UserError
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.policy import Policy

COMMITTEE = Policy("bfv", "committee", 3, 4, 56, False, "client", "secure", "clients", 8.0, 1e-5)
OTHERS = {
    "scheme": "ckks",
    "keys": "authority",
    "holders": 2,
    "min_clients": 3,
    "smudging_bits": 40,
    "clear": True,
    "unit": "sample",
    "noise": "fast",
    "noise_by": "server",
    "epsilon": 9.0,
    "delta": 1e-4,
}


def test_every_field_of_a_policy_is_among_them():
    assert set(OTHERS) == set(Policy.__dataclass_fields__)


@pytest.mark.parametrize("field", OTHERS)
def test_another_value_is_said_in_other_words(field):
    changed = replace(COMMITTEE, **{field: OTHERS[field]})
    assert list(terms(changed)) != list(terms(COMMITTEE))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (COMMITTEE, "a run may state epsilon 8 at delta 1e-05 at most"),
        (replace(COMMITTEE, epsilon=None), "epsilon is NOT BOUNDED, delta at most 1e-05"),
        (replace(COMMITTEE, epsilon=None, delta=None), "epsilon and delta are NOT BOUNDED"),
        (replace(COMMITTEE, noise="fast"), "PROTECTS NOBODY"),
        (replace(COMMITTEE, clear=True), "PART OF EVERY UPDATE may travel in clear"),
        (COMMITTEE, "opened as sums only, of at least 4 clients"),
        (COMMITTEE, "all 3 key holders together"),
        (Policy("plain", "authority", 0), "the server reads every client's update"),
        (Policy("plain", "authority", 0), "differential privacy is not demanded"),
        (Policy("bfv", "authority", 1), "clients have the key too"),
    ],
)
def test_what_a_party_gives_up_is_said_plainly(policy, said):
    assert said in "\n".join(terms(policy))


def test_what_has_no_effect_is_not_said():
    assert "noise" not in "\n".join(terms(Policy("bfv", "authority", 1, smudging_bits=56)))
    assert "sum" not in "\n".join(terms(Policy("plain", "authority", 0, min_clients=5)))


def test_an_enrolment_is_told_whole():
    keys = [SigningKey.generate().public for _ in range(13)]
    clients = dict(enumerate(keys[:11]))
    enrolment = Enrolment(clients, {0: keys[11], 1: keys[12]}, "ab" * 16, replace(COMMITTEE, holders=2))
    lines = list(whole(enrolment))
    assert [line[:13].strip() for line in lines[:14]] == [
        *(f"client {n}" for n in range(11)),
        "holder 0",
        "holder 1",
        "shared key",
    ]
    assert lines[13].endswith("  " + " ".join(["abab"] * 8))
    assert lines[-1] == f"digest {grouped(enrolment.digest.hex())}"
    assert max(map(len, lines)) <= 110


def test_what_is_read_aloud_is_read_back():
    digits = "0123456789abcdef" * 2
    assert grouped(digits) == "0123 4567 89ab cdef 0123 4567 89ab cdef"
    for text in (grouped(digits), digits, digits.upper(), f"  {grouped(digits)}\n"):
        assert ungrouped("--digest", text, 32) == digits


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "g" * 32, "-" + "0" * 31, "٣" * 32, "\x1b" * 32])
def test_what_is_no_fingerprint_is_refused(text):
    with pytest.raises(UserError, match="need 32 hexadecimal digits") as refused:
        ungrouped("--digest", text, 32)
    assert str(refused.value).isprintable()
