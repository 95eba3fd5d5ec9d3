"""Our symmetric encryption against Python's integers, a ChaCha20 written out, and SEAL."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tenseal import sealapi

from fedpriv.he import symmetric
from fedpriv.he.keys import generate_key
from fedpriv.he.parameters import SealParameters, data_primes
from fedpriv.he.primes import batching_prime
from fedpriv.he.ring import Ring, add, negate
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.symmetric import SymmetricCipher, UniformHalf, centred_binomial, uniform
from fedpriv.he.wire import CiphertextWire
from fedpriv.privacy.noise import SecureSource
from tests.he.parties import lift

DEGREES = [(4096, 54), (8192, 60), (8192, 36)]


def chacha_block(key, counter, nonce):
    """RFC 8439, section 2.3: sixteen words after ten double rounds."""

    def words(data):
        return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]

    start = [*words(b"expand 32-byte k"), *words(key), counter, *words(nonce)]
    state = list(start)

    def turn(word, bits):
        return (word << bits | word >> (32 - bits)) & 0xFFFFFFFF

    for _ in range(10):
        for a, b, c, d in (
            (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
        ):  # fmt: skip
            for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[x] = (state[x] + state[y]) & 0xFFFFFFFF
                state[z] = turn(state[z] ^ state[x], bits)
    return b"".join(((s + t) & 0xFFFFFFFF).to_bytes(4, "little") for s, t in zip(state, start, strict=True))


@pytest.mark.parametrize(
    ("moduli", "index"), [([(1 << 54) - 77], 0), ([17, (1 << 40) + 15], 3), ([31], 1 << 40)]
)
def test_the_uniform_half_is_the_keystream_of_the_standard(moduli, index):
    seed, degree = bytes(range(32)), 48
    found = uniform(seed, index, np.array(moduli, np.uint64)[:, np.newaxis], degree)
    for row, modulus in enumerate(moduli):
        nonce = row.to_bytes(4, "little") + index.to_bytes(8, "little")
        stream = b"".join(chacha_block(seed, counter, nonce) for counter in range(24))
        words = (int.from_bytes(stream[i : i + 8], "little") for i in range(0, len(stream), 8))
        kept = [word for word in (w % 2 ** modulus.bit_length() for w in words) if word < modulus]
        assert found[row].tolist() == kept[:degree]


def test_the_uniform_half_depends_on_seed_index_and_row():
    moduli = np.array([[(1 << 54) - 77]] * 2, np.uint64)
    draws = [uniform(bytes([seed]) * 32, index, moduli, 64) for seed in (1, 2) for index in (0, 1)]
    assert len({row.tobytes() for drawn in draws for row in drawn}) == 8
    counts = np.bincount((uniform(bytes(32), 0, moduli, 4096)[0] >> np.uint64(50)).astype(int), minlength=16)
    assert stats.chisquare(counts).pvalue > 1e-7


def test_the_polynomials_of_one_seed_come_in_any_order():
    moduli = np.array([[17], [(1 << 54) - 77]], np.uint64)
    half = UniformHalf(bytes(range(32)), moduli, 64)
    for index in (3, 0, 1 << 40, 3):
        assert np.array_equal(half.polynomial(index), uniform(bytes(range(32)), index, moduli, 64))


def test_errors_are_centred_binomial_with_21_pairs():
    words = SecureSource().words(200_000)
    drawn = centred_binomial(words)
    low, high = (1 << 21) - 1, ((1 << 21) - 1) << 21
    by_hand = [(int(w) & low).bit_count() - (int(w) & high).bit_count() for w in words[:2000]]
    assert drawn[:2000].tolist() == by_hand
    assert drawn.var() == pytest.approx(10.5, rel=0.03)
    assert abs(drawn.mean()) < 6 * np.sqrt(10.5 / len(drawn))


@pytest.mark.parametrize(("degree", "bits"), DEGREES)
@pytest.mark.parametrize("extreme", [False, True])
def test_products_are_exact_at_the_largest_sizes(degree, bits, extreme):
    """Negacyclic, by definition; the extreme case has every product of one sign."""
    modulus = batching_prime((1 << bits) - (1 << (bits - 4)), degree)
    random = np.random.default_rng(bits)
    secret = np.ones(degree, np.int8) if extreme else random.integers(-1, 2, degree, dtype=np.int8)
    polynomial = (
        np.full(degree, modulus - 1, np.uint64)
        if extreme
        else random.integers(0, modulus, degree, dtype=np.uint64)
    )
    cipher = SymmetricCipher(secret, np.array([[modulus]], np.uint64))
    found = cipher._product(polynomial.copy(), modulus)
    a, b = polynomial.astype(object), secret.astype(object)
    for k in (0, 1, degree // 2 + 1, degree - 1):
        exact = (a[: k + 1] * b[k::-1]).sum() - (a[k + 1 :] * b[:k:-1]).sum()
        assert int(found[k]) == exact % modulus


@pytest.mark.parametrize(
    "parameters", [SealParameters(2_199_023_288_321), SealParameters(0, 8192, (46, 46, 46), "ckks")], ids=str
)
def test_c0_is_the_message_and_a_small_fresh_error(parameters):
    """C0 + c1 s - m, by way of SEAL's transforms, is of the variance 10.5, and never the same."""
    key, ring = generate_key(parameters), Ring(parameters)
    cipher, seed = SymmetricCipher(key.coefficients(), ring.moduli), bytes(32)
    message = np.random.default_rng(1).integers(
        0, ring.moduli, (len(ring.moduli), ring.degree), dtype=np.uint64
    )
    errors = []
    residues = key.coefficients().astype(np.int64) % ring.moduli.astype(np.int64)
    for _ in range(2):
        total = cipher.encrypt(message.copy(), seed, 5)
        assert (total < ring.moduli).all()
        c1 = uniform(seed, 5, ring.moduli, ring.degree)
        with SealBuffer() as buffer:
            secret = ring.factor(buffer, ring.to_ntt(buffer, residues.astype(np.uint64)))
            add(total, ring.times(buffer, c1, secret, ntt=False), ring.moduli)
        add(total, negate(message, ring.moduli), ring.moduli)
        errors.append(np.array(lift(total, ring.moduli), float))
    for error in errors:
        assert np.abs(error).max() <= 21
        assert error.var() == pytest.approx(10.5, rel=0.15)
    assert np.mean(errors[0] == errors[1]) < 0.2


def test_seal_decrypts_it():
    parameters = SealParameters(2_199_023_288_321)
    key, wire, plaintext = generate_key(parameters), CiphertextWire(parameters), sealapi.Plaintext()
    delta = int(wire.moduli[0, 0]) // parameters.plain_modulus
    message = np.zeros(wire.shape, np.uint64)
    message[0, 0], message[0, 4095] = 2 * delta, 7 * delta
    c0 = SymmetricCipher(key.coefficients(), wire.moduli).encrypt(message, bytes(32), 0)
    with SealBuffer() as buffer:
        key.decryptor().decrypt(wire.join(buffer, c0, uniform(bytes(32), 0, wire.moduli, 4096)), plaintext)
    assert plaintext.to_string() == "7x^4095 + 2"


def test_secrets_are_ternary_and_of_all_three_values():
    secret = generate_key(SealParameters(2_199_023_288_321)).coefficients()
    assert secret.shape == (4096,)
    assert [abs(np.mean(secret == value) - 1 / 3) < 0.05 for value in (-1, 0, 1)] == [True] * 3


@given(
    st.sampled_from([(36, 8192), (54, 4096), (59, 4096)]),
    st.integers(0, 2**32),
    st.sampled_from([4, 64, 256]),
)
@settings(max_examples=20, deadline=None)
def test_products_agree_with_the_schoolbook(prime, seed, degree):
    bits, root = prime
    modulus = batching_prime(2 ** (bits - 1), root)
    random = np.random.default_rng(seed)
    secret = random.integers(-1, 2, degree).astype(np.int8)
    polynomial = random.choice(np.array([0, 1, modulus - 1, modulus // 2], np.uint64), degree)
    expected = [0] * degree
    for i, a in enumerate(polynomial.tolist()):
        for j, b in enumerate(secret.tolist()):
            expected[(i + j) % degree] += a * b if i + j < degree else -a * b
    found = SymmetricCipher(secret, np.array([[modulus]], np.uint64))._product(polynomial, modulus)
    assert found.tolist() == [value % modulus for value in expected]


def test_an_inexact_product_is_refused(monkeypatch):
    monkeypatch.setattr(symmetric, "_LARGEST_FRACTION", 0.0)
    secret = np.random.default_rng(0).integers(-1, 2, 4096).astype(np.int8)
    cipher = SymmetricCipher(secret, np.array([[batching_prime(2**53, 4096)]], np.uint64))
    with pytest.raises(ArithmeticError):
        cipher.encrypt(np.zeros((1, 4096), np.uint64), bytes(32), 0)


def test_the_uniform_half_has_not_changed():
    """A golden value: clients and key holders of different versions must grow the same polynomial."""
    moduli = data_primes(SealParameters(batching_prime(1 << 41, 4096)))[:, np.newaxis]
    digest = hashlib.sha256(uniform(bytes(range(32)), 5, moduli, 4096).astype("<u8").tobytes()).hexdigest()
    assert digest == "d4634d13d9541cf2467510c30e8df47414a5898404095185b42837df918f9d94"
