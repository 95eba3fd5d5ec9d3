"""Stated bounds against the noise of real SEAL ciphertexts."""

import math

import numpy as np
import pytest
from tenseal import sealapi

from fedpriv.he.noise_bounds import ERROR_VARIANCE, public_key_noise, smudging_log2, symmetric_noise
from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer
from tests.he.parties import lift, masks_sum, noise, phase, polynomial, updates

CLIENTS = [1, 16, 256]


def bound_of(keys, clients, degree):
    return symmetric_noise(clients) if keys == "authority" else public_key_noise(clients, degree, 3)


@pytest.mark.parametrize("keys", ["authority", "committee"])
@pytest.mark.parametrize("clients", CLIENTS)
def test_the_noise_of_integer_sums_stays_below_its_bound_and_is_of_its_order(federation, keys, clients):
    """12 deviations are stated; the largest of thousands of coefficients lies near 4."""
    party = federation("bfv", keys, max_clients=256)
    encoded = party.encode(updates(clients, 100))
    found = np.abs(noise(party, phase(party, encoded))).max()
    bound = bound_of(keys, clients, party.encoding.parameters.poly_degree)
    assert bound / 100 < found < bound


@pytest.mark.parametrize("keys", ["authority", "committee"])
@pytest.mark.parametrize("clients", [1, 16])
def test_the_noise_of_float_sums_stays_below_its_bound_and_is_of_its_order(federation, keys, clients):
    """Zeros encode exactly, so that the phase is the noise."""
    party = federation("ckks", keys)
    encoded = party.encode(np.zeros((clients, 100), np.float32))
    found = np.abs(np.array(lift(phase(party, encoded), party.encoding.wire().moduli), float)).max()
    bound = bound_of(keys, clients, party.encoding.parameters.poly_degree)
    assert bound / 100 < found < bound


def test_the_deviation_of_a_public_key_ciphertext_is_the_derived_one(federation):
    party = federation("bfv", "committee", max_clients=256)
    encoded = party.encode(updates(16, 100))
    # the sum of secrets has the norm that it has: 2/3 N per holder on average, within a few percent
    expected = math.sqrt(16 * (1 / 12 + 8192 * 3 * (2 / 3) / 12))
    assert noise(party, phase(party, encoded)).std() == pytest.approx(expected, rel=0.1)


def test_the_deviation_of_a_symmetric_ciphertext_is_the_derived_one(federation):
    party = federation("bfv", "authority", max_clients=256)
    found = noise(party, phase(party, party.encode(updates(16, 100)))).std()
    # the rounding of q m / t adds at most 1/4 to each variance
    assert math.sqrt(16 * ERROR_VARIANCE) * 0.95 < found < math.sqrt(16 * (ERROR_VARIANCE + 0.25)) * 1.05


@pytest.mark.parametrize("clients", [1, 16])
def test_seal_measures_the_same_noise(federation, clients):
    """Its budget, floor(log2(q / (2 |t noise|))), is computed by code that we did not write."""
    party = federation("bfv", "authority", max_clients=256)
    encoded, wire = party.encode(updates(clients, 100)), party.encoding.wire()
    body = polynomial(wire, party.aggregate(encoded, 100).body_sum(), 0)
    with SealBuffer() as buffer:
        ciphertext = wire.join(buffer, wire.unpack(body), masks_sum(party, encoded))
        decryptor = sealapi.Decryptor(seal_context(party.encoding.parameters), party.client._secret_key._key)
        budget = decryptor.invariant_noise_budget(ciphertext)
    t, q = party.encoding.parameters.plain_modulus, int(wire.moduli[0, 0])
    largest = np.abs(noise(party, phase(party, encoded))).max()
    assert abs(budget - math.log2(q / (2 * t * largest))) <= 1.01


@pytest.mark.parametrize("noise_bound", [1.0, 1.5, 163.5, 4096.0, 5e4])
@pytest.mark.parametrize("bits", [0, 40, 56])
def test_smudging_is_the_narrowest_that_hides_by_so_many_bits(noise_bound, bits):
    width = smudging_log2(noise_bound, bits)
    assert 2 ** (width - 2) < 2**bits * noise_bound <= 2 ** (width - 1)


def test_bounds_grow_with_clients_and_holders():
    assert symmetric_noise(1) < symmetric_noise(2) < symmetric_noise(1000)
    assert public_key_noise(1, 8192, 2) < public_key_noise(2, 8192, 2) < public_key_noise(2, 8192, 3)
    # by hand: 12 sqrt(10.5) + 1/2, and 12 sqrt(1/12 + 8192 * 2 * 2 / 36) + 1
    assert symmetric_noise(1) == pytest.approx(39.3844, abs=1e-4)
    assert public_key_noise(1, 8192, 2) == pytest.approx(12 * math.sqrt(1 / 12 + 8192 / 9) + 1)
