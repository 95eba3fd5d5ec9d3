import numpy as np
import pytest
from tenseal import sealapi

from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.wire import CiphertextWire, dump_plaintext, load_plaintext
from fedpriv.he.words import pack_words

MODULUS = 18_014_398_509_293_569
"""The first 54-bit prime that SEAL takes for N = 4096, read from its list."""


@pytest.fixture
def wire(server):
    return CiphertextWire(server.parameters)


@pytest.fixture
def context(server):
    return seal_context(server.parameters)


def test_sizes_are_those_of_the_coefficients_and_the_seed(wire):
    assert wire.fresh_bytes == 4096 * 54 // 8 + 64
    assert wire.sum_bytes == 2 * 4096 * 54 // 8


def test_a_fresh_ciphertext_and_a_sum_decrypt_after_the_wire(wire, context, secret_key):
    decryptor, plaintext = secret_key.decryptor(), sealapi.Plaintext()
    with SealBuffer() as buffer:
        fresh = secret_key.encryptor().encrypt_symmetric(sealapi.Plaintext("1x^4095 + 2"))
        data = wire.write_fresh(buffer, fresh)
        assert len(data) == wire.fresh_bytes
        ciphertext = wire.load(buffer, wire.unpack(memoryview(data)))
        sealapi.Evaluator(context).add_inplace(ciphertext, ciphertext)
        total = wire.write_sum(buffer, ciphertext)
        assert len(total) == wire.sum_bytes
        decryptor.decrypt(wire.load(buffer, wire.unpack(memoryview(total))), plaintext)
    assert plaintext.to_string() == "2x^4095 + 4"


@pytest.mark.parametrize("size", ["fresh_bytes", "sum_bytes"])
@pytest.mark.parametrize("change", [-1, 1])
def test_other_sizes_are_refused(wire, size, change):
    with pytest.raises(SealDataError, match="bytes"):
        wire.unpack(memoryview(bytes(getattr(wire, size) + change)))


@pytest.mark.parametrize("place", [0, 4095])
def test_coefficients_must_be_below_their_modulus(wire, context, place):
    assert context.first_context_data().parms().coeff_modulus()[0].value() == MODULUS
    words = np.zeros(4096, np.uint64)
    words[place] = MODULUS - 1
    wire.unpack(memoryview(pack_words(words, 54) + bytes(64)))
    words[place] = MODULUS
    with pytest.raises(SealDataError, match="not below its modulus"):
        wire.unpack(memoryview(pack_words(words, 54) + bytes(64)))


@pytest.mark.parametrize("polynomials", [2, 3])
def test_only_fresh_seeded_ciphertexts_are_sent_as_such(wire, context, secret_key, polynomials):
    unseeded = sealapi.Ciphertext()
    secret_key.encryptor().encrypt_symmetric(sealapi.Plaintext("1"), unseeded)
    unseeded.resize(context, context.first_parms_id(), polynomials)
    with SealBuffer() as buffer, pytest.raises(SealDataError):
        wire.write_fresh(buffer, unseeded)


@pytest.mark.parametrize("count", [1, 5, 4096])
def test_plaintext_coefficients_survive(context, count):
    values = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(2**25 + 1)
    with SealBuffer() as buffer:
        plaintext = load_plaintext(buffer, context, values)
        assert [plaintext.data(index) for index in range(min(count, 5))] == values[:5].tolist()
        dumped = dump_plaintext(buffer, plaintext, 4096)
    assert dumped.shape == (4096,)
    assert np.array_equal(dumped[:count], values)
    assert not dumped[count:].any()


def test_a_plaintext_of_zeros_is_read_as_zeros(wire, secret_key):
    """SEAL shortens plaintexts whose highest coefficients are zero."""
    plaintext = sealapi.Plaintext()
    with SealBuffer() as buffer:
        data = wire.write_fresh(buffer, secret_key.encryptor().encrypt_symmetric(sealapi.Plaintext("0")))
        secret_key.decryptor().decrypt(wire.load(buffer, wire.unpack(memoryview(data))), plaintext)
        assert not dump_plaintext(buffer, plaintext, 4096).any()
