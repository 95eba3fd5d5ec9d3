"""Residue arithmetic against Python's integers, products against the definition."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedpriv.he.parameters import SealParameters, data_primes, key_primes
from fedpriv.he.primes import batching_prime
from fedpriv.he.ring import Ring, add, expand, multiply, negate, smudging
from fedpriv.he.sealio import SealBuffer
from tests.he.parties import lift

BITS = range(37, 61)
LARGEST = [batching_prime(1 << (bits - 1), 8192) for bits in BITS] + [
    # the largest number of each length with no small factor need not be prime for additions and products
    (1 << bits) - 1
    for bits in BITS
]
RINGS = {
    "one prime": SealParameters(2_199_023_288_321),
    "two primes": SealParameters(2_199_023_288_321, 8192, (56, 56, 56)),
    "three primes": SealParameters(0, 8192, (47, 47, 47, 47), "ckks"),
    "longest primes": SealParameters(0, 8192, (60, 60, 60), "ckks"),
}


@pytest.fixture(scope="module", params=RINGS)
def ring(request):
    return Ring(RINGS[request.param])


def uniform(ring, seed):
    shape = (len(ring.moduli), ring.degree)
    return np.random.default_rng(seed).integers(0, ring.moduli, shape, dtype=np.uint64)


@st.composite
def residues(draw):
    """Two rows of equal length under one modulus, with many extreme values."""
    modulus = draw(st.sampled_from(LARGEST) | st.integers(1 << 36, (1 << 60) - 1))
    extreme = st.sampled_from(
        [0, 1, modulus - 1, modulus - 2, modulus // 2, modulus // 2 + 1, 1 << 30, (1 << 30) - 1]
    )
    row = st.lists(extreme | st.integers(0, modulus - 1), min_size=5, max_size=5)
    return modulus, draw(row), draw(row)


@settings(max_examples=300, deadline=None)
@given(residues())
def test_sums_products_and_negatives_are_those_of_the_integers(drawn):
    modulus, first, second = drawn
    moduli = np.array([[modulus]], np.uint64)
    one, other = (np.array([row], np.uint64) for row in (first, second))
    total = one.copy()
    add(total, other, moduli)
    assert total[0].tolist() == [(a + b) % modulus for a, b in zip(first, second, strict=True)]
    assert negate(one, moduli)[0].tolist() == [-a % modulus for a in first]
    product = multiply(one, other, moduli)
    assert product[0].tolist() == [a * b % modulus for a, b in zip(first, second, strict=True)]
    assert (one[0].tolist(), other[0].tolist()) == (first, second)


@pytest.mark.parametrize("bits", BITS)
def test_products_of_many_random_residues_under_the_longest_moduli(bits):
    for modulus in ((1 << bits) - 1, batching_prime(1 << (bits - 1), 8192)):
        random = np.random.default_rng(bits)
        first, second = random.integers(0, modulus, (2, 1, 2000), dtype=np.uint64)
        product = multiply(first, second, np.array([[modulus]], np.uint64))
        exact = first.astype(object) * second.astype(object) % modulus
        assert np.array_equal(product.astype(object), exact)


@pytest.mark.parametrize("bits", BITS)
def test_products_next_to_a_multiple_of_the_modulus(bits):
    """There floating-point quotients are off by one: with 1 / m times m 2^30 + m those of both halves."""
    modulus = batching_prime((1 << bits) - (1 << (bits - 4)), 8192)
    largest = modulus >> 30
    factors = [
        int(value) for value in np.random.default_rng(bits).integers(largest // 2, largest, 2000) if value
    ]
    for high, low in ((1, 1), (0, 1), (0, -1)):
        first = [pow(factor, -1, modulus) * (low or 1) % modulus for factor in factors]
        second = [high * factor << 30 | factor for factor in factors]
        product = multiply(
            *(np.array([row], np.uint64) for row in (first, second)), np.array([[modulus]], np.uint64)
        )
        assert product[0].tolist() == [(high * (1 << 30) + 1) * low % modulus] * len(factors)


def test_rows_have_moduli_of_their_own():
    moduli = np.array([[(1 << 37) - 25], [(1 << 60) - 93]], np.uint64)
    top = moduli - np.uint64(1) + np.zeros((1, 3), np.uint64)
    assert (multiply(top, top, moduli) == 1).all()
    assert (negate(top, moduli) == 1).all()
    total = top.copy()
    add(total, top, moduli)
    assert np.array_equal(total, moduli - np.uint64(2) + np.zeros((1, 3), np.uint64))


def test_the_moduli_are_the_data_primes(ring):
    parameters = RINGS["one prime"]
    assert np.array_equal(Ring(parameters).moduli[:, 0], data_primes(parameters))
    assert np.array_equal(key_primes(parameters)[:-1], data_primes(parameters))
    assert ring.moduli.shape[1] == 1


def test_the_transform_and_back_is_the_identity(ring):
    polynomial = uniform(ring, 1)
    with SealBuffer() as buffer:
        transformed = ring.to_ntt(buffer, polynomial)
        assert not np.array_equal(transformed, polynomial)
        assert np.array_equal(ring.from_ntt(buffer, transformed), polynomial)
        assert np.array_equal(ring.to_ntt(buffer, ring.from_ntt(buffer, polynomial)), polynomial)
        zero = np.zeros_like(polynomial)
        assert not ring.to_ntt(buffer, zero).any()
        assert not ring.from_ntt(buffer, zero).any()


def test_products_of_polynomials_are_negacyclic(ring):
    """Coefficient k is the sum of a_i b_(k-i), less the sum of what wraps around X^N = -1."""
    first, second = uniform(ring, 2), uniform(ring, 3)
    with SealBuffer() as buffer:
        factor = ring.factor(buffer, ring.to_ntt(buffer, second))
        product = ring.times(buffer, first, factor, ntt=False)
        assert np.array_equal(ring.times(buffer, ring.to_ntt(buffer, first), factor, ntt=True), product)
    for row, modulus in enumerate(ring.moduli[:, 0]):
        a, b = first[row].astype(object), second[row].astype(object)
        for k in (0, 1, ring.degree // 2 + 1, ring.degree - 1):
            low, high = a[: k + 1] * b[k::-1], a[k + 1 :] * b[:k:-1]
            assert int(product[row, k]) == (low.sum() - high.sum()) % int(modulus)


def test_times_zero_and_the_wrap_of_the_highest_power(ring):
    zero, top, linear = (np.zeros((len(ring.moduli), ring.degree), np.uint64) for _ in range(3))
    top[:, -1], linear[:, 1] = 1, 1
    with SealBuffer() as buffer:
        factor = ring.factor(buffer, ring.to_ntt(buffer, linear))
        assert not ring.times(buffer, zero, factor, ntt=False).any()
        wrapped = ring.times(buffer, top, factor, ntt=False)
    assert np.array_equal(wrapped[:, :1], ring.moduli - np.uint64(1))
    assert not wrapped[:, 1:].any()


# ------------------------------------------------------------------ smudging

WIDE = key_primes(RINGS["longest primes"])[:, np.newaxis]
"""Three primes of 60 bits: they tell integers of up to 179 bits apart."""


@pytest.mark.parametrize("width", [2, 3, 10, 63, 64, 65, 66, 97, 127, 128])
def test_smudging_is_uniform_on_its_range(width):
    drawn = lift(smudging(width, WIDE, 4096), WIDE)
    half = 1 << (width - 1)
    assert -half <= min(drawn)
    assert max(drawn) < half
    bins = min(width, 4)
    for shift in {width - bins, (width - bins) // 2, 0}:
        counts = np.bincount(
            [(value + half >> shift) & ((1 << bins) - 1) for value in drawn], minlength=1 << bins
        )
        assert len(counts) == 1 << bins
        assert stats.chisquare(counts).pvalue > 1e-7
    if width >= 63:
        assert len(set(drawn)) == 4096


def test_smudging_under_one_modulus_is_the_same_integer_everywhere():
    """Residues under different primes belong to one integer: also narrow ones, of either sign."""
    drawn = smudging(20, WIDE, 1000)
    values = np.array(lift(drawn, WIDE), object)
    assert np.array_equal(drawn.astype(object), values % WIDE.astype(object))
    assert (values < 0).any()
    assert (values > 0).any()


def test_smudging_never_repeats():
    draws = {smudging(80, WIDE, 64).tobytes() for _ in range(200)}
    assert len(draws) == 200


# ------------------------------------------------------------------ expand


def expanded(seed, modulus, row, degree):
    """Read words of the stream one by one, cut them, keep those below the modulus."""
    stream = hashlib.shake_256(seed + row.to_bytes(4, "little")).digest(8 * 8 * degree)
    kept = []
    for start in range(0, len(stream), 8):
        word = int.from_bytes(stream[start : start + 8], "little") % 2 ** modulus.bit_length()
        if word < modulus:
            kept.append(word)
    return kept[:degree]


@pytest.mark.parametrize(
    "moduli", [[(1 << 54) - 77], [17, 31], [(1 << 40) + 15, (1 << 60) - 93, (1 << 47) - 115]]
)
def test_expansion_equals_reading_the_stream_word_by_word(moduli):
    """With a modulus just above a power of two half of all words are rejected."""
    found = expand(b"seed", np.array(moduli, np.uint64)[:, np.newaxis], 512)
    for row, modulus in enumerate(moduli):
        assert found[row].tolist() == expanded(b"seed", modulus, row, 512)
    assert found.dtype == np.uint64


def test_expansion_goes_on_where_the_first_words_do_not_suffice(monkeypatch):
    """Two words a coefficient leave some rows short: half of them are rejected here."""
    moduli = np.array([[(1 << 40) + 15]], np.uint64)
    asked = []

    class Counting:
        def __init__(self, data):
            self._real = real(data)

        def digest(self, size):
            asked.append(size)
            return self._real.digest(size)

    real = hashlib.shake_256
    monkeypatch.setattr(hashlib, "shake_256", Counting)
    found = [expand(bytes([seed]), moduli, 8192)[0] for seed in range(12)]
    monkeypatch.undo()
    assert [row.tolist() for row in found] == [
        expanded(bytes([seed]), int(moduli[0, 0]), 0, 8192) for seed in range(12)
    ]
    assert max(asked) > min(asked)


def test_expansion_is_uniform_and_depends_on_seed_and_row():
    moduli = np.array([[(1 << 40) + 15]] * 2, np.uint64)
    first, second = expand(b"a", moduli, 4096), expand(b"b", moduli, 4096)
    assert np.array_equal(first, expand(b"a", moduli, 4096))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], second[0])
    counts = np.bincount((first[0] >> np.uint64(36)).astype(np.int64), minlength=16)[:16]
    assert stats.chisquare(counts).pvalue > 1e-7
