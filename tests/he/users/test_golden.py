"""Files that version 1 wrote stay readable, and are written again byte for byte."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from fedpriv.he.parameters import SealParameters
from fedpriv.he.users import sets
from fedpriv.he.users.cipher_reading import open_ciphers
from fedpriv.he.users.cipher_writing import CipherWriter
from fedpriv.he.users.keys import UserKeys

GOLDEN = Path(__file__).parent / "golden"
SMALL = sets.ParameterSet(
    "golden", "images", SealParameters(12289, 2048, (27, 27)), 0, relinearises=False, splits=True
)
"""For small files: too few bits for any use."""
FINGERPRINT = "fc3bcb90d235360690e4045d90d508c9c9c473a57a0bb038b57408bbbe878e53"
DIGESTS = {
    "secret.key": "76293b87a32765731a795c4bbd94cecffa2faf148aea10bd23f78a052650c843",
    "public.key": "0a293c0a7a79e33d730be1f6b18ad5c84f12c3b6a8cbe5e77631e0466cfe10b5",
    "signed.fpct": "a5167b6a12473572334048e17c9002bdc1b7590cbcc2e687a0778d45404929d2",
    "unsigned.fpct": "aef5e9c90e8de9aa61a5fe2a3fe4f845f1ef6c37727e2ed2d31e83aa5055ec0c",
}
METADATA = {"rows": 2048, "columns": ["a", "b"]}
VALUES = [np.arange(2048) - 1024, np.arange(2048) * 3 % 6000]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sets.SETS, "golden", SMALL)
    for name in DIGESTS:
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes())
    (tmp_path / "secret.key").chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("name", DIGESTS)
def test_the_files_are_those_that_were_written(name):
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == DIGESTS[name]


def test_the_keys_are_read_and_written_again_byte_for_byte(folder, tmp_path):
    keys = UserKeys.load(folder)
    assert keys.fingerprint == FINGERPRINT
    again = tmp_path / "again"
    again.mkdir()
    keys.save(again)
    for name in ("secret.key", "public.key"):
        assert (again / name).read_bytes() == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("name", ["signed.fpct", "unsigned.fpct"])
def test_the_ciphertexts_are_read_decrypted_and_written_again_byte_for_byte(folder, name):
    keys, signed = UserKeys.load(folder), name == "signed.fpct"
    with open_ciphers(folder / name, keys.public, most=2, require_signed=signed) as reader:
        head = reader.head
        assert [keys.decrypt_integers(each).tolist() for each in reader] == [each.tolist() for each in VALUES]
    assert (head.metadata, head.signed, head.shape.seeded) == (METADATA, signed, signed)
    with open_ciphers(folder / name, keys.public, most=2) as reader:
        bodies = list(reader.bodies())
    with CipherWriter(folder / "again", head, keys.signer if signed else None) as writer:
        for body in bodies:
            writer.write(body)
    assert (folder / "again").read_bytes() == (GOLDEN / name).read_bytes()
