import numpy as np
import pytest
from tenseal import sealapi

from fedpriv.he.keys import generate_key
from fedpriv.he.parameters import SealParameters, seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.wire import CiphertextWire, dump_plaintext, load_plaintext

MODULUS = 18_014_398_509_293_569
"""The first 54-bit prime that SEAL takes for N = 4096, read from its list."""
CKKS = SealParameters(0, 8192, (46, 46, 46), "ckks")


def encryptor_of(key):
    return sealapi.Encryptor(seal_context(key.parameters), key._key)


@pytest.fixture
def wire(parameters):
    return CiphertextWire(parameters)


@pytest.fixture
def context(parameters):
    return seal_context(parameters)


def test_sizes_are_those_of_the_residues(wire, parameters):
    assert (wire.polynomial_bytes, wire.shape) == (4096 * 54 // 8, (1, 4096))
    assert wire.moduli.tolist() == [[MODULUS]]
    assert CiphertextWire(parameters, level="key").polynomial_bytes == 2 * 4096 * 54 // 8
    assert CiphertextWire(CKKS).polynomial_bytes == 2 * 8192 * 46 // 8


def encrypted(key, text):
    ciphertext = sealapi.Ciphertext()
    encryptor_of(key).encrypt_symmetric(sealapi.Plaintext(text), ciphertext)
    return ciphertext


def test_a_ciphertext_decrypts_after_the_wire(wire, secret_key):
    decryptor, plaintext = secret_key.decryptor(), sealapi.Plaintext()
    with SealBuffer() as buffer:
        packed = [wire.pack(part) for part in wire.split(buffer, encrypted(secret_key, "1x^4095 + 2"))]
        assert [len(part) for part in packed] == [wire.polynomial_bytes] * 2
        ciphertext = wire.join(buffer, *(wire.unpack(memoryview(part)) for part in packed))
        decryptor.decrypt(ciphertext, plaintext)
    assert plaintext.to_string() == "1x^4095 + 2"


def test_polynomials_add_like_ciphertexts(wire, secret_key):
    plaintext = sealapi.Plaintext()
    with SealBuffer() as buffer:
        one, two = (wire.split(buffer, encrypted(secret_key, text)) for text in ("3x^7", "5"))
        total = wire.join(buffer, *((a + b) % wire.moduli for a, b in zip(one, two, strict=True)))
        secret_key.decryptor().decrypt(total, plaintext)
    assert plaintext.to_string() == "3x^7 + 5"


@pytest.mark.parametrize("level", ["data", "key"])
def test_ckks_ciphertexts_and_public_keys_survive(level):
    key, wire = generate_key(CKKS), CiphertextWire(CKKS, 2.0**60, level)
    context = seal_context(CKKS)
    with SealBuffer() as buffer:
        if level == "key":
            public, copied = sealapi.PublicKey(), sealapi.PublicKey()
            sealapi.KeyGenerator(context, key._key).create_public_key(public)
            wire = CiphertextWire(CKKS, level=level)
            wire.join(buffer, *wire.split(buffer, public), target=copied)
        plain, out, ciphertext = sealapi.Plaintext(), sealapi.Plaintext(), sealapi.Ciphertext()
        encoder = sealapi.CKKSEncoder(context)
        encoder.encode([0.5, -0.25], 2.0**60, plain)
        if level == "key":
            sealapi.Encryptor(context, copied).encrypt(plain, ciphertext)
        else:
            encryptor_of(key).encrypt_symmetric(plain, ciphertext)
            ciphertext = wire.join(buffer, *wire.split(buffer, ciphertext))
        key.decryptor().decrypt(ciphertext, out)
    assert np.allclose(encoder.decode_double(out)[:3], [0.5, -0.25, 0], atol=1e-9)


@pytest.mark.parametrize("change", [-1, 1])
def test_other_sizes_are_refused(wire, change):
    with pytest.raises(SealDataError, match="bytes"):
        wire.unpack(memoryview(bytes(wire.polynomial_bytes + change)))


@pytest.mark.parametrize("place", [0, 4095])
def test_residues_must_be_below_their_modulus(wire, place):
    words = np.zeros((1, 4096), np.uint64)
    words[0, place] = MODULUS - 1
    assert np.array_equal(wire.unpack(wire.pack(words)), words)
    words[0, place] = MODULUS
    with pytest.raises(SealDataError, match="not below its modulus"):
        wire.unpack(wire.pack(words))


def test_each_row_has_a_modulus_of_its_own():
    wire = CiphertextWire(CKKS)
    larger, smaller = int(wire.moduli.argmax()), int(wire.moduli.argmin())
    words = np.zeros(wire.shape, np.uint64)
    words[larger, 9] = wire.moduli.min()
    assert np.array_equal(wire.unpack(wire.pack(words)), words)
    words[smaller, 9] = wire.moduli.min()
    with pytest.raises(SealDataError, match="not below its modulus"):
        wire.unpack(wire.pack(words))


def test_ciphertexts_of_three_polynomials_are_not_split(wire, context, secret_key):
    longer = encrypted(secret_key, "1")
    longer.resize(context, context.first_parms_id(), 3)
    with SealBuffer() as buffer, pytest.raises(SealDataError):
        wire.split(buffer, longer)


def test_seeded_ciphertexts_and_those_of_another_form_are_not_split(wire, secret_key):
    with SealBuffer() as buffer:
        with pytest.raises(SealDataError):
            wire.split(buffer, encryptor_of(secret_key).encrypt_symmetric(sealapi.Plaintext("1")))
        plain = sealapi.Ciphertext()
        encryptor_of(secret_key).encrypt_symmetric(sealapi.Plaintext("1"), plain)
        with pytest.raises(SealDataError, match="form"):
            wire.split(buffer, plain, ntt=True)


def test_what_is_not_below_the_primes_does_not_pass_seal_either(wire):
    """A second line of defence, should a caller forget to check."""
    bad = np.full(wire.shape, MODULUS, np.uint64)
    with SealBuffer() as buffer, pytest.raises(SealDataError):
        wire.join(buffer, bad, np.ones_like(bad))


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
        fresh = wire.split(buffer, encrypted(secret_key, "0"))
        secret_key.decryptor().decrypt(wire.join(buffer, *fresh), plaintext)
        assert not dump_plaintext(buffer, plaintext, 4096).any()
