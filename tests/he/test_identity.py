import copy
import hashlib
import json
import pickle
import stat
import struct

import pytest

from fedpriv.errors import UserError
from fedpriv.he.identity import MOST_PARTIES, Enrolment, SigningKey, verify
from fedpriv.he.policy import Policy

# RFC 8032, 7.1, TEST 1 to 3: seed, public key, message, signature
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493


def key_file(seed):
    content = b"FPSIGKEY" + struct.pack("<II", 1, 0) + seed
    return content + hashlib.sha256(content).digest()


def private(path, data):
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_keys_sign_as_the_rfc_says(seed, public, message, signature, tmp_path):
    key = SigningKey.load(private(tmp_path / "key", key_file(bytes.fromhex(seed))))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verify(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_nothing_else_verifies(seed, public, message, signature):
    public, message, signature = (bytes.fromhex(each) for each in (public, message, signature))
    assert not verify(public, message + b"\0", signature)
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert not verify(public, message, bytes(changed))
    # S + L satisfies the equation too: the RFC demands S < L, so that signatures cannot be varied
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not verify(public, message, signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(("public", "signature"), [(31, 64), (33, 64), (0, 64), (32, 63), (32, 65), (32, 0)])
def test_keys_and_signatures_of_another_length_do_not_verify(public, signature):
    assert not verify(bytes(public), b"message", bytes(signature))


def test_generated_keys_differ_and_survive_their_file(tmp_path):
    key, other = SigningKey.generate(), SigningKey.generate()
    assert key.public != other.public
    key.save(tmp_path / "key", durable=False)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert SigningKey.load(tmp_path / "key").sign(b"x") == key.sign(b"x")
    with pytest.raises(UserError, match="exists already"):
        other.save(tmp_path / "key")


def test_a_damaged_key_file_is_refused_wherever_it_is_damaged(tmp_path):
    data = key_file(bytes(range(32)))
    path = tmp_path / "key"
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(UserError, match="signing key"):
            SigningKey.load(private(path, bytes(damaged)))
    for other in (b"", data[:-1], data[:40], data + b"\0"):
        with pytest.raises(UserError, match=r"signing key|at most"):
            SigningKey.load(private(path, other))


def test_a_key_that_others_may_read_is_refused(tmp_path):
    path = private(tmp_path / "key", key_file(bytes(32)))
    path.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        SigningKey.load(path)


def test_a_key_neither_shows_itself_nor_lets_itself_be_copied():
    seed = bytes(range(1, 33))
    key = SigningKey.generate()
    assert repr(key) == str(key) == f"SigningKey(public={key.public.hex()})"
    assert seed.hex() not in repr(key)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="SigningKey"):
            copying(key)


# Enrolment


PLAIN = Policy("plain", "authority", 0)
PLAIN_CANONICAL = (
    b'{"clear":false,"delta":null,"epsilon":null,"holders":0,"keys":"authority","min_clients":2,'
    b'"noise":"secure","noise_by":"clients","scheme":"plain","smudging_bits":0,"unit":"none"}'
)


def keys(*numbers):
    return {number: hashlib.sha256(bytes([number % 256])).digest() for number in numbers}


def test_an_enrolment_survives_its_file_and_is_named_by_its_digest(tmp_path):
    enrolment = Enrolment(keys(1, 0, 255), keys(7), policy=Policy("bfv", "authority", 1, epsilon=None))
    enrolment.save(tmp_path / "enrolment.json")
    loaded = Enrolment.load(tmp_path / "enrolment.json")
    assert loaded == enrolment
    assert loaded.digest == enrolment.digest
    flat = b"".join(struct.pack("<I", number) + keys(number)[number] for number in (0, 1, 255))
    terms = PLAIN_CANONICAL.replace(b"plain", b"bfv").replace(b'"holders":0', b'"holders":1')
    by_hand = b"fedpriv-enrolment-2\0" + bytes(32) + struct.pack("<I", len(terms)) + terms
    by_hand += b"\3\0\0\0" + flat + b"\1\0\0\0" + b"\7\0\0\0" + keys(7)[7]
    assert enrolment.digest == hashlib.sha256(by_hand).digest()


def test_digests_tell_enrolments_apart():
    parties = keys(1, 2, 3)
    enrolments = [
        Enrolment(parties, {}),
        Enrolment({}, parties),
        Enrolment(keys(1, 2), keys(3)),
        Enrolment(keys(1), keys(2, 3)),
        Enrolment({1: parties[2], 2: parties[1], 3: parties[3]}, {}),
        Enrolment({1: parties[1], 2: parties[2], 4: parties[3]}, {}),
        Enrolment({}, {}),
    ]
    assert len({enrolment.digest for enrolment in enrolments}) == len(enrolments)


def test_an_enrolment_does_not_change_with_what_it_was_made_from():
    clients = keys(1, 2)
    enrolment = Enrolment(clients, {})
    clients[3] = b"\3" * 32
    assert set(enrolment.clients) == {1, 2}


@pytest.mark.parametrize("roles", [("clients", "clients"), ("clients", "keyholders"), ("keyholders",) * 2])
def test_one_key_is_one_party(roles):
    parties = {"clients": {}, "keyholders": {}}
    for number, role in enumerate(roles):
        parties[role][number] = b"\3" * 32
    with pytest.raises(UserError, match=rf"{roles[1]}\.1: the key of {roles[0]}\.0"):
        Enrolment(**parties)


def test_parties_that_cannot_be_are_refused():
    for number in (-1, 2**32):
        with pytest.raises(UserError, match="0 to 2"):
            Enrolment({number: b"\3" * 32}, {})
    for size in (0, 31, 33):
        with pytest.raises(UserError, match=f"{size} bytes; a key has 32"):
            Enrolment({}, {0: bytes(size)})
    too_many = dict.fromkeys(range(MOST_PARTIES + 1), b"")
    with pytest.raises(UserError, match=f"at most {MOST_PARTIES}"):
        Enrolment(too_many, {})


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def has_small_order(encoded):
    """Whether 8 times the point is neutral; None when there is no such point (RFC 8032, 5.1.3 and 5.1.4)."""
    y, sign = int.from_bytes(encoded, "little") % 2**255 % P, encoded[-1] >> 7
    squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(squared, (P + 3) // 8, P)
    if x * x % P != squared:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != squared:
        return None
    x = (P - x) % P if x % 2 != sign else x
    for _ in range(3):
        product = D * x * x * y * y % P
        x, y = 2 * x * y * pow(1 + product, -1, P) % P, (y * y + x * x) * pow(1 - product, -1, P) % P
    return (x, y) == (0, 1)


def points_of_small_order():
    """Return every 32-byte encoding of such points, found by solving for them."""
    # twice a point of order 8 has y = 0, so x^2 + y^2 = 0, and then the curve says D y^4 + 2 y^2 - 1 = 0
    root = pow(D + 1, (P + 3) // 8, P)
    root = root if root * root % P == (D + 1) % P else root * pow(2, (P - 1) // 4, P) % P
    ys = {0, 1, P - 1}
    for sign in (root, -root):
        square = (sign - 1) * pow(D, -1, P) % P
        y = pow(square, (P + 3) // 8, P)
        y = y if y * y % P == square else y * pow(2, (P - 1) // 4, P) % P
        if y * y % P == square:
            ys |= {y, P - y}
    ys |= {y + P for y in ys if y + P < 2**255}
    return [(y + (sign << 255)).to_bytes(32, "little") for y in sorted(ys) for sign in (0, 1)]


def test_keys_of_small_order_are_refused():
    points = points_of_small_order()
    assert len(points) == 14
    assert all(has_small_order(point) for point in points)
    assert not has_small_order(bytes.fromhex(RFC_8032[0][1]))
    for point in points:
        with pytest.raises(UserError, match=r"clients\.3: a key that anybody can sign for"):
            Enrolment({3: point}, {})


def test_anybody_can_sign_for_a_key_of_small_order():
    """Why they are refused: R = neutral, S = 0 verifies under the neutral key for every message."""
    neutral = b"\1" + bytes(31)
    assert verify(neutral, b"whatever", neutral + bytes(32))
    with pytest.raises(UserError, match="anybody"):
        Enrolment({}, {0: neutral})


TERMS = json.loads(PLAIN_CANONICAL)
GOOD = {"version": 2, "clients": {"0": "aa" * 32}, "keyholders": {}, "shared_key": None, "policy": TERMS}
BAD_FILES = {
    "empty": b"",
    "not JSON": b"{",
    "not text": b"\xff\xfe{}",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "no version": json.dumps({name: GOOD[name] for name in GOOD if name != "version"}).encode(),
    "missing field": json.dumps({"version": 2, "clients": {}}).encode(),
    "no policy": json.dumps({name: GOOD[name] for name in GOOD if name != "policy"}).encode(),
    "policy null": json.dumps({**GOOD, "policy": None}).encode(),
    "policy a list": json.dumps({**GOOD, "policy": list(TERMS)}).encode(),
    "policy with a field missing": json.dumps({**GOOD, "policy": {"scheme": "plain"}}).encode(),
    "policy with an unknown field": json.dumps({**GOOD, "policy": {**TERMS, "rounds": 3}}).encode(),
    "policy with a wrong type": json.dumps({**GOOD, "policy": {**TERMS, "min_clients": "2"}}).encode(),
    "policy with a name twice": json.dumps(GOOD).replace('"clear"', '"clear": true, "clear"').encode(),
    "policy for more holders": json.dumps({**GOOD, "policy": {**TERMS, "holders": 1}}).encode(),
    "unknown field": json.dumps({**GOOD, "comment": ""}).encode(),
    "version 1": json.dumps({**GOOD, "version": 1}).encode(),
    "version null": json.dumps({**GOOD, "version": None}).encode(),
    "version 2.0": json.dumps({**GOOD, "version": 2.0}).encode(),
    "version true": json.dumps({**GOOD, "version": True}).encode(),
    "clients twice": json.dumps(GOOD).replace('"clients"', '"clients": {}, "clients"', 1).encode(),
    "client twice": json.dumps(GOOD).replace('"0"', '"0": "%s", "0"' % ("bb" * 32)).encode(),
    "clients a list": json.dumps({**GOOD, "clients": []}).encode(),
    "number 00": json.dumps({**GOOD, "clients": {"00": "aa" * 32}}).encode(),
    "number -1": json.dumps({**GOOD, "clients": {"-1": "aa" * 32}}).encode(),
    "number 1.0": json.dumps({**GOOD, "clients": {"1.0": "aa" * 32}}).encode(),
    "arabic number": json.dumps({**GOOD, "clients": {"\u0661": "aa" * 32}}).encode(),
    "huge number": json.dumps({**GOOD, "clients": {"9" * 5000: "aa" * 32}}).encode(),
    "number 2^32": json.dumps({**GOOD, "clients": {str(2**32): "aa" * 32}}).encode(),
    "short key": json.dumps({**GOOD, "clients": {"0": "aa" * 31}}).encode(),
    "upper case": json.dumps({**GOOD, "clients": {"0": "AA" * 32}}).encode(),
    "spaces": json.dumps({**GOOD, "clients": {"0": "aa " * 32}}).encode(),
    "key a number": json.dumps({**GOOD, "clients": {"0": 7}}).encode(),
    "key null": json.dumps({**GOOD, "clients": {"0": None}}).encode(),
    "one key twice": json.dumps({**GOOD, "keyholders": {"0": "aa" * 32}}).encode(),
    "shared key a number": json.dumps({**GOOD, "shared_key": 7}).encode(),
    "shared key short": json.dumps({**GOOD, "shared_key": "ab" * 15}).encode(),
    "shared key upper case": json.dumps({**GOOD, "shared_key": "AB" * 16}).encode(),
    "shared key with a newline": json.dumps({**GOOD, "shared_key": "ab" * 16 + "\n"}).encode(),
    "too large": b" " * ((1 << 25) + 1),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_enrolment_files_are_refused_in_one_line_that_names_the_file(name, tmp_path):
    path = tmp_path / "enrolment.json"
    path.write_bytes(BAD_FILES[name])
    with pytest.raises(UserError) as refusal:
        Enrolment.load(path)
    text = str(refusal.value)
    assert text.startswith(f"{path}: ")
    assert text.count(str(path)) == 1
    assert len(text) < len(str(path)) + 200


def test_a_name_that_stands_twice_is_the_reason(tmp_path):
    for name in ("clients twice", "client twice", "policy with a name twice"):
        (tmp_path / "enrolment.json").write_bytes(BAD_FILES[name])
        with pytest.raises(UserError, match="a name stands twice"):
            Enrolment.load(tmp_path / "enrolment.json")


def test_the_shared_keys_fingerprint_is_enrolled_with_the_rest(tmp_path):
    enrolment = Enrolment(keys(1), {}, "ab" * 16, PLAIN)
    enrolment.save(tmp_path / "enrolment.json")
    assert Enrolment.load(tmp_path / "enrolment.json") == enrolment
    assert len({Enrolment(keys(1), {}, key).digest for key in (None, "ab" * 16, "cd" * 16)}) == 3
    by_hand = (
        b"fedpriv-enrolment-2\0" + b"ab" * 16 + struct.pack("<I", len(PLAIN_CANONICAL)) + PLAIN_CANONICAL
    )
    by_hand += b"\1\0\0\0\1\0\0\0" + keys(1)[1] + bytes(4)
    assert enrolment.digest == hashlib.sha256(by_hand).digest()


def test_the_good_enrolment_file_is_read(tmp_path):
    (tmp_path / "enrolment.json").write_text(json.dumps(GOOD))
    assert Enrolment.load(tmp_path / "enrolment.json") == Enrolment({0: b"\xaa" * 32}, {}, None, PLAIN)


CHANGES = {
    "scheme": "ckks",
    "keys": "committee",
    "holders": 2,
    "min_clients": 3,
    "smudging_bits": 41,
    "clear": True,
    "unit": "client",
    "noise": "fast",
    "noise_by": "server",
    "epsilon": 2.0,
    "delta": 1e-7,
}


def test_the_digest_changes_with_every_field_of_the_policy():
    base = {**TERMS, "scheme": "bfv", "holders": 1, "unit": "sample", "epsilon": 1.0, "delta": 1e-5}
    assert CHANGES.keys() == base.keys()
    digests = set()
    for name in (None, *CHANGES):
        terms = Policy(**base if name is None else {**base, name: CHANGES[name]})
        digests.add(Enrolment(keys(1), keys(*range(2, 2 + terms.holders)), policy=terms).digest)
    digests.add(Enrolment(keys(1), keys(2)).digest)  # none at all
    assert len(digests) == len(CHANGES) + 2
    # the number of holders alone, for in an enrolment it goes with their keys
    assert Policy(**base).canonical != Policy(**{**base, "holders": 2}).canonical


def test_an_enrolment_without_a_policy_becomes_no_file(tmp_path):
    with pytest.raises(ValueError, match="parties would take any configuration"):
        Enrolment(keys(1), {}).save(tmp_path / "enrolment.json")
    assert not list(tmp_path.iterdir())


def test_an_older_file_is_named_as_such(tmp_path):
    older = {**{name: GOOD[name] for name in GOOD if name != "policy"}, "version": 1}
    (tmp_path / "enrolment.json").write_text(json.dumps(older))
    with pytest.raises(UserError, match="version: this program reads 2; enrol everybody anew"):
        Enrolment.load(tmp_path / "enrolment.json")
