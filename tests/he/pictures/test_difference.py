"""Encrypted differences: numpy's, and exact by a bound and not by luck."""

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.pictures.difference import encrypted, opened, subtracted
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS


@pytest.fixture(scope="module")
def keys():
    return UserKeys.make(SETS["images"])


@pytest.fixture(scope="module")
def server(keys):
    return Evaluation(keys.public)


def ciphertexts(keys, values):
    encryptor = keys.encryptor()
    return [encryptor.ciphertext(body) for body in encrypted(encryptor, values)]


@pytest.mark.parametrize("count", [1, 4095, 16_384, 16_385, 40_000])
def test_any_number_of_values_is_subtracted_exactly(keys, server, count):
    generator = np.random.default_rng(count)
    a, b = (generator.integers(0, 256, count, dtype=np.uint8) for _ in range(2))
    differences = list(subtracted(server, ciphertexts(keys, b), ciphertexts(keys, a)))
    assert len(differences) == -(-count // 16_384)
    assert np.array_equal(opened(keys, differences, count), b.astype(np.int16) - a)


def test_the_noise_of_a_difference_stays_below_the_stated_bound(keys, server):
    # SEAL's budget is log2(q / (2 t noise)) rounded down: with noise <= 44 at least this much is left
    modulus, plain = int(keys.set.moduli(1)[0, 0]), keys.set.seal.plain_modulus
    least = int(np.floor(np.log2(modulus / (2 * plain * 44))))
    values = np.full(16_384, 255, np.uint8)
    budgets = [
        keys.noise_budget(each)
        for _ in range(20)
        for each in subtracted(server, ciphertexts(keys, values), ciphertexts(keys, 255 - values))
    ]
    assert min(budgets) >= least > 5


def test_one_ciphertext_minus_itself_is_refused(keys, server):
    (one,) = ciphertexts(keys, np.arange(100, dtype=np.uint8))
    with pytest.raises(UserError, match="hide nothing"):
        list(subtracted(server, [one], [one]))


def test_unequal_numbers_are_a_mistake(keys, server):
    one, other = (ciphertexts(keys, np.arange(9, dtype=np.uint8)) for _ in range(2))
    with pytest.raises(ValueError, match="shorter"):
        list(subtracted(server, one + one, other))


def test_another_key_opens_nothing(keys, server):
    a, b = (ciphertexts(keys, np.arange(9, dtype=np.uint8)) for _ in range(2))
    with pytest.raises(UserError, match="does not decrypt"):
        opened(UserKeys.make(SETS["images"]), subtracted(server, a, b), 9)


def test_too_few_and_too_many_ciphertexts_are_refused(keys, server):
    a, b = (ciphertexts(keys, np.arange(20_000).astype(np.uint8)) for _ in range(2))
    differences = list(subtracted(server, a, b))
    with pytest.raises(UserError, match="16384 of 20000 values"):
        opened(keys, differences[:1], 20_000)
    with pytest.raises(UserError, match="more than 1 ciphertexts"):
        opened(keys, differences, 16_384)
