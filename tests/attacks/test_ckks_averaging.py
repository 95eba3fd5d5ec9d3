"""What many openings and many rounds give, and what they do not."""

import math

import numpy as np
import pytest

from fedpriv.attacks.ckks_averaging import (
    average,
    error_power,
    key_power,
    openings_needed,
    rounds_until_power_shows,
)
from fedpriv.attacks.ckks_key_recovery import Opened, recover_key, tolerated_error
from fedpriv.he.naive_ckks import NaiveCKKS

DEGREE, BITS, SCALE_BITS = 4096, (54, 54), 30


@pytest.fixture(scope="module")
def naive() -> NaiveCKKS:
    return NaiveCKKS(DEGREE, BITS, SCALE_BITS)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def openings(naive, message, count, flooding, random):
    """Return several flooded answers for one fresh ciphertext of a message."""
    ciphertext = naive.encrypt(message)
    c0, c1 = naive.polynomials(ciphertext)
    exact = naive.decrypt(ciphertext)
    answers = [exact + random.normal(0, flooding, naive.slots) for _ in range(count)]
    return [Opened(c0, c1, answer, naive.scale) for answer in answers]


def test_a_ciphertext_opened_often_gives_the_key_after_the_number_of_openings_that_is_promised(naive, random):
    flooding = 4 * tolerated_error(naive.scale, DEGREE)
    message, needed = random.normal(0, 0.05, naive.slots), openings_needed(flooding, naive.scale, DEGREE)
    assert needed == 16

    def averaged(count):
        means = [average(openings(naive, message, count, flooding, random)) for _ in range(2)]
        return recover_key(naive.ring, means).certain

    assert averaged(2 * needed)
    assert not averaged(needed // 3)


def test_the_same_message_encrypted_afresh_in_every_round_gives_nothing(naive, random):
    """Even with flooding that a mere 16 openings of one ciphertext would remove."""
    flooding, rounds = 4 * tolerated_error(naive.scale, DEGREE), 64
    message = random.normal(0, 0.05, naive.slots)
    opened = [openings(naive, message, 1, flooding, random)[0] for _ in range(rounds)]
    mean = np.mean([item.values for item in opened], axis=0)
    assert np.abs(mean - message).std() < 0.2 * flooding + 300 / naive.scale
    guessed = [Opened(item.c0, item.c1, mean, item.scale) for item in opened]
    secret, chance = naive.secret_key(), 5 * math.sqrt(2 / 9 / DEGREE)
    for result in (
        recover_key(naive.ring, opened, most_tries=20),
        recover_key(naive.ring, guessed, most_tries=20),
    ):
        assert not result.certain
        assert abs(result.fraction(secret) - 1 / 3) < chance


def correlation(naive, values, message):
    return float(np.corrcoef(error_power(values, message), key_power(naive.secret_key()))[0, 1])


def test_errors_of_a_public_key_show_the_power_of_the_key_and_those_of_a_secret_key_do_not(naive, random):
    public = NaiveCKKS(DEGREE, BITS, SCALE_BITS, public_key=True)
    message = random.normal(0, 0.05, naive.slots)

    def released(which):
        return np.array([which.decrypt(which.encrypt(message)) for _ in range(40)])

    exact = released(public)
    assert correlation(public, exact, message) > 0.9
    assert abs(correlation(naive, released(naive), message)) < 5 / math.sqrt(naive.slots)
    error = np.sqrt(error_power(exact, message).mean())
    flooded = exact + random.normal(0, 30 * error, exact.shape)
    assert abs(correlation(public, flooded, message)) < 5 / math.sqrt(naive.slots)
    assert rounds_until_power_shows(30 * error, error) > 40


def test_only_openings_of_one_ciphertext_are_averaged(naive, random):
    message = random.normal(0, 0.05, naive.slots)
    first, second = (openings(naive, message, 1, 0, random)[0] for _ in range(2))
    with pytest.raises(ValueError, match="different ciphertexts"):
        average([first, second])
    with pytest.raises(ValueError, match="none"):
        average([])
