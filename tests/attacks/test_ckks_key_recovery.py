"""The attack on CKKS as commonly deployed: it works, and these are its limits."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedpriv.attacks.ckks_embedding import doubled_real_part, evaluate
from fedpriv.attacks.ckks_key_recovery import Opened, decrypt, recover_key, tolerated_error
from fedpriv.he.naive_ckks import NaiveCKKS
from fedpriv.he.ring import add, multiply, negate
from fedpriv.he.sealio import SealBuffer

FLARE = (8192, (60, 40, 40), 40)
SMALL = (4096, (54, 54), 30)


@pytest.fixture(scope="module")
def flare() -> NaiveCKKS:
    return NaiveCKKS(*FLARE)


@pytest.fixture(scope="module")
def small() -> NaiveCKKS:
    return NaiveCKKS(*SMALL)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


def naive_sum(naive, random, size=0.05, clients=3):
    """Return the ciphertext of the sum of some clients' updates."""
    total = naive.encrypt(random.normal(0, size, naive.slots))
    for _ in range(clients - 1):
        total = total + naive.encrypt(random.normal(0, size, naive.slots))
    return total


def published(naive, ciphertext, release=lambda values: values):
    """Return what an onlooker has when everybody gets the decryption of a ciphertext."""
    return Opened(*naive.polynomials(ciphertext), release(naive.decrypt(ciphertext)), naive.scale)


def recover(naive, random, release=lambda values: values, size=0.05, sums=2):
    opened = [published(naive, naive_sum(naive, random, size), release) for _ in range(sums)]
    return recover_key(naive.ring, opened)


def reads_another_client(naive, result, random) -> bool:
    """Whether the key opens what a client who took no part in the attack sends under the same shared key."""
    update = random.normal(0, 0.05, naive.slots)
    sent = Opened(*naive.polynomials(naive.encrypt(update)), update, naive.scale)
    return result.opens(naive.ring, sent, tolerance=4000 / naive.scale)


def assert_nothing_recovered(naive, result, random):
    secret = naive.secret_key()
    chance = 5 * math.sqrt(2 / 9 / len(secret))
    assert not result.certain
    assert abs(result.fraction(secret) - 1 / 3) < chance
    assert not reads_another_client(naive, result, random)


@pytest.mark.parametrize(
    "setting", [FLARE, SMALL, (8192, (60, 60), 24), (8192, (60, 40, 40), 32), (4096, (54, 54), 40)]
)
def test_two_exact_decryptions_give_the_whole_key(setting, random):
    naive = NaiveCKKS(*setting)
    result = recover(naive, random)
    assert result.certain
    assert result.fraction(naive.secret_key()) == 1
    assert reads_another_client(naive, result, random)


def test_public_key_encryption_does_not_help(random):
    naive = NaiveCKKS(*SMALL, public_key=True)
    assert recover(naive, random).fraction(naive.secret_key()) == 1


def test_one_decryption_of_real_slots_is_half_of_what_it_takes(flare, random):
    with pytest.raises(ValueError, match="two of the slots"):
        recover(flare, random, sums=1)


def test_float32_outputs_give_the_key_at_small_scales(small, random):
    assert recover(small, random, np.float32).fraction(small.secret_key()) == 1


def test_float32_at_flares_scale_gives_the_key_where_the_updates_are_small(flare, random):
    assert_nothing_recovered(flare, recover(flare, random, np.float32), random)
    assert recover(flare, random, np.float32, size=5e-5).fraction(flare.secret_key()) == 1


def test_float32_does_not_stop_who_asks_for_the_difference(flare, random):
    def asked_twice():
        total = naive_sum(flare, random)
        first = flare.decrypt(total).astype(np.float32)
        return published(flare, total - first.tolist(), np.float32)

    result = recover_key(flare.ring, [asked_twice(), asked_twice()])
    assert result.fraction(flare.secret_key()) == 1


def test_the_most_precise_of_many_sums_are_used(flare, random):
    coarse = [published(flare, naive_sum(flare, random), np.float32) for _ in range(6)]
    fine = [published(flare, naive_sum(flare, random, 5e-5), np.float32) for _ in range(2)]
    assert recover_key(flare.ring, coarse + fine, most_tries=1).certain


@pytest.mark.parametrize("setting", [FLARE, SMALL])
@pytest.mark.parametrize("defence", ["rounding", "flooding"])
def test_coarse_enough_releases_give_nothing(setting, defence, random):
    naive = NaiveCKKS(*setting)
    releases = {
        "rounding": lambda values: np.round(values * 2**16) / 2**16,
        "flooding": lambda values: values + random.normal(0, 2**-14, values.shape),
    }
    assert_nothing_recovered(naive, recover(naive, random, releases[defence]), random)


def test_rounding_finer_than_the_scale_carries_protects_nothing(random):
    """Digits do not count: 2^-16 protects at a scale of 2^30 and gives the key away at 2^20."""
    naive = NaiveCKKS(8192, (60, 60), 20)
    result = recover(naive, random, lambda values: np.round(values * 2**16) / 2**16, sums=4)
    assert result.fraction(naive.secret_key()) == 1


@pytest.mark.parametrize("setting", [FLARE, SMALL])
def test_tolerated_error_is_where_the_attack_stops(setting, random):
    naive = NaiveCKKS(*setting)
    limit = tolerated_error(naive.scale, setting[0])

    def flooded(factor):
        return recover(naive, random, lambda values: values + random.normal(0, factor * limit, values.shape))

    assert flooded(0.7).certain
    assert not flooded(1.5).certain


def by_hand(ring, key, coefficients, c1):
    """Encrypt integers without error: c0 = m - c1 s."""

    def ntt(polynomial):
        primes = ring.moduli.astype(np.int64)
        with SealBuffer() as buffer:
            return ring.to_ntt(buffer, np.mod(polynomial, primes).astype(np.uint64))

    c0 = ntt(coefficients)
    add(c0, negate(multiply(c1, ntt(key), ring.moduli), ring.moduli), ring.moduli)
    return c0


def uniform(ring, random):
    rows = [random.integers(1, prime, ring.degree, np.uint64) for prime in ring.moduli[:, 0]]
    return np.stack(rows)


def test_published_coefficients_give_the_key_from_one_ciphertext(flare, random):
    ring, key = flare.ring, random.integers(-1, 2, flare.ring.degree)
    message, c1 = random.integers(-(2**45), 2**45, ring.degree), uniform(ring, random)
    opened = Opened(by_hand(ring, key, message, c1), c1, message / 2.0**40, 2.0**40)
    result = recover_key(ring, [opened])
    assert result.certain
    np.testing.assert_array_equal(result.key, key)


def test_a_ciphertext_with_a_zero_is_passed_over(small, random):
    ring, key = small.ring, random.integers(-1, 2, small.ring.degree)

    def opened(with_zero):
        message, c1 = random.integers(-(2**40), 2**40, ring.degree), uniform(ring, random)
        c1[0, 5] = 0 if with_zero else c1[0, 5]
        return Opened(by_hand(ring, key, message, c1), c1, message / 2.0**30, 2.0**30)

    np.testing.assert_array_equal(recover_key(ring, [opened(True), opened(False)]).key, key)
    with pytest.raises(ValueError, match="no unique solution"):
        recover_key(ring, [opened(True)])


def test_a_joint_key_is_recovered_within_its_bound(small, random):
    ring, key = small.ring, random.integers(-1, 2, (3, small.ring.degree)).sum(axis=0)
    message, c1 = random.integers(-(2**40), 2**40, ring.degree), uniform(ring, random)
    opened = [Opened(by_hand(ring, key, message, c1), c1, message / 2.0**30, 2.0**30)]
    assert recover_key(ring, opened, bound=3).fraction(key) == 1
    assert not recover_key(ring, opened, bound=1).certain


def test_slots_are_the_values_at_the_powers_of_three():
    polynomial = np.random.default_rng(1).normal(size=16)
    points = [np.exp(1j * np.pi * 3**slot / 16) for slot in range(8)]
    expected = [sum(c * point**k for k, c in enumerate(polynomial)) for point in points]
    np.testing.assert_allclose(evaluate(polynomial), expected, atol=1e-12)
    mirrored = np.concatenate([polynomial[:1], -polynomial[:0:-1]])
    np.testing.assert_allclose(doubled_real_part(np.real(expected)), polynomial + mirrored, atol=1e-12)


def test_decrypting_by_hand_agrees_with_seal(flare, random):
    ciphertext = naive_sum(flare, random)
    ours = decrypt(flare.ring, flare.secret_key(), *flare.polynomials(ciphertext), flare.scale)
    np.testing.assert_allclose(ours, flare.decrypt(ciphertext), atol=1e-12)


def test_what_does_not_fit_is_refused(small, random):
    opened, other = (published(small, naive_sum(small, random)) for _ in range(2))
    refused = {
        "slots or": replace(opened, values=opened.values[:-1]),
        "shapes": replace(opened, c0=opened.c0[:, 1:]),
        "not finite": replace(opened, values=np.full_like(opened.values, np.nan)),
        "no unique solution": other,
    }
    for reason, item in refused.items():
        with pytest.raises(ValueError, match=reason):
            recover_key(small.ring, [item, other])
