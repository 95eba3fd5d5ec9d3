import struct

import pytest
from tenseal import sealapi

from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError


@pytest.fixture
def ciphertext_bytes(server, secret_key) -> bytes:
    with SealBuffer() as buffer:
        return buffer.dump(secret_key.encryptor().encrypt_symmetric(sealapi.Plaintext("1x^3 + 2")))


def load(server, data, max_bytes=10**6):
    ciphertext = sealapi.Ciphertext()
    with SealBuffer() as buffer:
        buffer.load(ciphertext, seal_context(server.parameters), data, max_bytes)
    return ciphertext


def test_a_ciphertext_survives_bytes(server, secret_key, ciphertext_bytes):
    plaintext = sealapi.Plaintext()
    secret_key.decryptor().decrypt(load(server, memoryview(ciphertext_bytes)), plaintext)
    assert [plaintext.data(index) for index in range(4)] == [2, 0, 0, 1]


def test_a_buffer_can_be_used_again_for_shorter_objects(server, ciphertext_bytes):
    context = seal_context(server.parameters)
    with SealBuffer() as buffer:
        long = buffer.dump(load(server, ciphertext_bytes))
        short = buffer.dump(sealapi.Plaintext("1"))
        assert len(short) < len(long)
        buffer.load(sealapi.Plaintext(), context, short, len(short))


def test_the_cap_is_checked_before_the_library_sees_the_bytes(server, ciphertext_bytes):
    class Untouchable:
        def load(self, context, path):
            raise AssertionError("loaded")

    with SealBuffer() as buffer:
        with pytest.raises(SealDataError, match="at most"):
            buffer.load(Untouchable(), None, ciphertext_bytes, len(ciphertext_bytes) - 1)
        with pytest.raises(SealDataError, match="header"):
            buffer.load(Untouchable(), None, b"x" * 100, 1000)


@pytest.mark.parametrize("offset", [0, 2, 3, 5, 6, 8, 15])
def test_every_checked_field_of_the_header_matters(server, ciphertext_bytes, offset):
    damaged = bytearray(ciphertext_bytes)
    damaged[offset] ^= 1
    with pytest.raises(SealDataError, match="SEAL object"):
        load(server, damaged)


def test_a_body_that_the_library_refuses_is_one_kind_of_error(server):
    data = struct.pack("<HBBBBHQ", 0xA15E, 16, 4, 3, 2, 0, 116) + bytes(100)
    with pytest.raises(SealDataError):
        load(server, data)
