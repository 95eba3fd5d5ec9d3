"""Commitments to payloads."""

import hashlib

import pytest

from fedpriv.sharing.commitment import commit, opens

SALT = bytes(range(32))


def test_it_is_the_hash_of_salt_and_payload():
    assert commit(SALT, b"abc") == hashlib.sha256(bytes(range(32)) + b"abc").digest()


def test_it_opens_to_its_own_payload_and_salt_only():
    made = commit(SALT, b"abc")
    assert opens(made, SALT, b"abc")
    assert not opens(made, SALT, b"abd")
    assert not opens(made, bytes(32), b"abc")
    assert not opens(made[:-1], SALT, b"abc")


def test_the_boundary_between_salt_and_payload_cannot_move():
    for salt in (SALT[:-1], SALT + b"a", b""):
        with pytest.raises(ValueError, match="salt"):
            commit(salt, b"abc")
