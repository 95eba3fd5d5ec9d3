import pytest
from tenseal import sealapi

from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError, seal_header


@pytest.fixture
def context(server):
    return seal_context(server.parameters)


def test_a_ciphertext_survives_bytes(context, secret_key):
    plaintext, ciphertext = sealapi.Plaintext(), sealapi.Ciphertext()
    with SealBuffer() as buffer:
        body = buffer.dump(
            sealapi.Encryptor(seal_context(secret_key.parameters), secret_key._key).encrypt_symmetric(
                sealapi.Plaintext("1x^3 + 2")
            ),
            10**6,
        )
        buffer.load(ciphertext, context, [body], len(body))
    secret_key.decryptor().decrypt(ciphertext, plaintext)
    assert [plaintext.data(index) for index in range(4)] == [2, 0, 0, 1]


def test_a_body_may_come_in_parts(context):
    plaintext = sealapi.Plaintext()
    with SealBuffer() as buffer:
        body = buffer.dump(sealapi.Plaintext("7x^1 + 5"), 1000)
        buffer.load(plaintext, context, [body[:10], memoryview(body)[10:]], 1000)
    assert plaintext.to_string() == "7x^1 + 5"


def test_a_buffer_can_be_used_again_for_shorter_objects(context):
    plaintext = sealapi.Plaintext()
    with SealBuffer() as buffer:
        long = buffer.dump(sealapi.Plaintext("1x^900"), 10**5)
        short = buffer.dump(sealapi.Plaintext("3"), 10**5)
        assert len(short) < len(long)
        buffer.load(plaintext, context, [long], 10**5)
        buffer.load(plaintext, context, [short], 10**5)
    assert plaintext.to_string() == "3"


def test_the_cap_is_checked_before_the_library_sees_the_bytes():
    class Untouchable:
        def load(self, context, path):
            raise AssertionError("loaded")

    with SealBuffer() as buffer, pytest.raises(SealDataError, match="at most 9"):
        buffer.load(Untouchable(), None, [bytes(5), bytes(5)], 9)


def test_what_is_larger_than_its_cap_is_not_dumped():
    with SealBuffer() as buffer, pytest.raises(SealDataError, match="into 100 bytes"):
        buffer.dump(sealapi.Plaintext("1x^900"), 100)


@pytest.mark.parametrize("keep", [0, 10, 60, -1])
def test_a_body_that_the_library_refuses_is_one_kind_of_error(context, keep):
    with SealBuffer() as buffer:
        body = buffer.dump(sealapi.Plaintext("1x^3"), 1000)
        with pytest.raises(SealDataError):
            buffer.load(sealapi.Plaintext(), context, [body[:keep]], 1000)


def test_our_header_is_the_one_that_the_library_reads():
    header = sealapi.Serialization.SEALHeader()
    with SealBuffer() as buffer:
        buffer.load(_HeaderReader(header), None, [bytes(84)], 100)
    assert sealapi.Serialization.IsValidHeader(header)
    assert header.size == 100
    assert len(seal_header(84)) == 16


class _HeaderReader:
    """Lets the library read the header alone."""

    def __init__(self, header):
        self.header = header

    def load(self, context, path):
        sealapi.Serialization.LoadHeader(path, self.header, True)
