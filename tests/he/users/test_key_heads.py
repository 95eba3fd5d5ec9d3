"""Key files from strangers: every field, every cut, every byte; a valid signature of their own included."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.he.identity import SigningKey
from fedpriv.he.users.key_heads import OVERHEAD, KeyHead, fingerprint, grouped, open_head
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.row_packing import RowPacking, key_moduli
from fedpriv.he.users.sets import SETS

HEAD = 140
KINDS = ("secret", "public", "share")


@pytest.fixture(scope="module")
def data(owner):
    return owner("images").public.to_bytes()


@pytest.fixture(scope="module")
def stranger():
    return SigningKey.generate()


def resigned(data, stranger, offset=0, put=b""):
    """The file with ``put`` at ``offset``, under a stranger's key and valid signature."""
    content = bytearray(data[:-64])
    content[96:128] = stranger.public
    content[offset : offset + len(put)] = put
    digest = hashlib.sha256(content).digest()
    return bytes(content) + stranger.sign(b"fedpriv-user-key-1\0" + digest)


def test_the_layout_is_the_documented_one(data, owner):
    magic, version, kind, reserved, name, parameters, key, verify_key, holder, holders, size = struct.unpack(
        "<4sHBB24s32s32s32sHHQ", data[:HEAD]
    )
    keys = owner("images")
    assert (magic, version, kind, reserved) == (b"FPKY", 1, 2, 0)
    assert (name.rstrip(b"\0"), parameters) == (b"images", keys.set.seal.fingerprint)
    assert (key.hex(), verify_key, holder, holders) == (keys.fingerprint, keys.signer.public, 0, 0)
    # two polynomials under two primes of 54 bits
    assert size == len(data) - OVERHEAD == 2 * 2 * 4096 * 54 // 8


def test_the_fingerprint_is_that_of_everything_public(data, owner):
    name = b"images".ljust(24, b"\0")
    body = hashlib.sha256(data[HEAD:-64]).digest()
    expected = hashlib.sha256(b"fedpriv-user-key-1\0" + name + data[32:64] + data[96:128] + body).hexdigest()
    assert owner("images").fingerprint == expected
    assert grouped(expected).replace(" ", "") == expected[:32]


@pytest.mark.parametrize(
    ("offset", "put", "reason"),
    [
        (0, b"FPKZ", "no key file"),
        (4, b"\2\0", "version 2; this program reads 1"),
        (4, b"\0\0", "version 0"),
        (6, b"\0", "kind 0, 1 to 3 known"),
        (6, b"\4", "kind 4, 1 to 3 known"),
        (6, b"\1", "a secret key, and a public key is needed"),
        (6, b"\3", "a share key, and a public key is needed"),
        (7, b"\1", "kind 2, 1 to 3 known"),
        (8, b"imagez\0", "parameter set 'imagez'"),
        (8, b"images\0x", "parameter set"),
        (8, b"\xff" * 24, "parameter set"),
        (8, b"\0" * 24, "parameter set ''"),
        (8, b"table\0", "other parameters than table"),
        (8, b"faces\0", "other parameters than faces"),
        (32, bytes(32), "other parameters than images"),
        (64, bytes(32), "is named 0000"),
        (128, b"\1\0", "key holder 1 of 0"),
        (130, b"\3\0", "key holder 0 of 3"),
        (128, b"\1\0\3\0", "key holder 1 of 3"),
        (132, struct.pack("<Q", 0), "followed by other bytes"),
        (132, struct.pack("<Q", 110591), "followed by other bytes"),
        (132, struct.pack("<Q", 110593), "cut short"),
        (132, struct.pack("<Q", 2**64 - 1), "cut short"),
        (HEAD, b"\1", "is named"),
    ],
)
def test_each_field_of_a_stranger_s_well_signed_file_is_checked(data, stranger, offset, put, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        PublicKeys.from_bytes(resigned(data, stranger, offset, put), "their.key")
    assert str(caught.value).startswith("their.key:")
    assert "\n" not in str(caught.value)


def test_an_owner_s_key_under_a_stranger_s_signature_has_not_its_name(data, stranger):
    with pytest.raises(FormatError, match="is named"):
        PublicKeys.from_bytes(resigned(data, stranger), "their.key")


@pytest.mark.parametrize(
    ("kind", "number", "holders"), [("share", 0, 3), ("share", 4, 3), ("share", 0, 0), ("secret", 1, 2)]
)
def test_a_share_has_a_number_among_its_holders_and_nothing_else_has_one(images, kind, number, holders):
    head = KeyHead(kind, images.set, images.fingerprint, images.signer.public, number, holders)
    with pytest.raises(FormatError, match=f"key holder {number} of {holders}"):
        open_head("a.key", head.seal(b"body", images.signer), KINDS)


@pytest.mark.parametrize("keep", [0, 1, 3, 4, 6, 100, HEAD - 1, HEAD, HEAD + 63, HEAD + 64, 50_000, -64, -1])
def test_a_file_cut_anywhere_is_refused(data, keep):
    with pytest.raises(FormatError, match=r"cut short|no key file"):
        PublicKeys.from_bytes(data[:keep], "cut.key")


def test_a_file_with_more_behind_it_is_refused(data):
    with pytest.raises(FormatError, match="followed by other bytes"):
        PublicKeys.from_bytes(data + b"\0", "long.key")


def test_a_file_beyond_the_largest_is_refused_whatever_it_is(data):
    with pytest.raises(FormatError, match="at most"):
        PublicKeys.from_bytes(data.ljust(PublicKeys.largest_bytes() + 1, b"\0"), "huge.key")


@pytest.mark.parametrize("name", SETS)
def test_no_public_key_is_larger_than_the_largest(owner, name):
    assert len(owner(name).public.to_bytes()) <= PublicKeys.largest_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 1 << 30), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(data, place, flip):
    changed = bytearray(data)
    changed[place % len(changed)] ^= flip
    with pytest.raises(FormatError):
        PublicKeys.from_bytes(bytes(changed), "changed.key")


@settings(max_examples=200, deadline=None)
@given(head=st.binary(max_size=300))
def test_any_bytes_at_all_are_refused_in_one_line(head):
    for data in (head, b"FPKY" + head, b"FPKY\1\0\2\0images" + bytes(18) + head):
        with pytest.raises(FormatError) as caught:
            open_head("any.key", data, KINDS)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", [0, 1, 2, 3])
@pytest.mark.parametrize("above", [0, 5])
def test_a_coefficient_that_is_not_below_its_prime_is_refused(data, stranger, owner, row, above):
    chosen = owner("images").set
    moduli = key_moduli(chosen.seal)
    rows = RowPacking(moduli, chosen.seal.poly_degree)
    polynomials = [rows.unpack(data[HEAD + at : HEAD + at + rows.size]).copy() for at in (0, rows.size)]

    def file(value):
        polynomials[row // 2][row % 2, -1] = value
        body = b"".join(rows.pack(each) for each in polynomials)
        name = fingerprint(chosen, stranger.public, body)
        return KeyHead("public", chosen, name, stranger.public).seal(body, stranger)

    prime = int(moduli[row % 2, 0])
    # the same with the largest residue is a key like any other
    assert PublicKeys.from_bytes(file(np.uint64(prime - 1)), "edge.key").set is chosen
    with pytest.raises(FormatError, match="not below its prime"):
        PublicKeys.from_bytes(file(np.uint64(prime + above)), "beyond.key")
