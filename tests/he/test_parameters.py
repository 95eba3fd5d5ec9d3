"""Parameters that SEAL accepts, no stronger claims than the standard's, and fingerprints."""

import dataclasses
import hashlib
import math

import pytest
from tenseal import sealapi

from fedpriv.he.parameters import LONGEST_MODULUS, SealParameters, data_primes, key_primes, seal_context
from fedpriv.he.registry import build_codec
from fedpriv.he.sealio import SealBuffer

BASE = SealParameters(2_199_023_288_321)


def test_the_fingerprint_is_a_hash_of_the_fields_and_nothing_else():
    text = b'["fedpriv-bfv-2", 4096, [54, 54], 2199023288321]'
    assert BASE.fingerprint == hashlib.sha256(text).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"plain_modulus": 40961},
        {"poly_degree": 8192},
        {"coeff_bits": (54, 53)},
        {"coeff_bits": (54, 54, 54)},
        {"scheme": "ckks"},
    ],
)
def test_the_fingerprint_changes_with_every_field(change):
    assert dataclasses.replace(BASE, **change).fingerprint != BASE.fingerprint


@pytest.mark.parametrize("degree", LONGEST_MODULUS)
def test_the_limits_of_the_standard_are_those_of_seal(degree):
    assert sealapi.CoeffModulus.MaxBitCount(degree, sealapi.SEC_LEVEL_TYPE.TC128) == LONGEST_MODULUS[degree]


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": scheme, "max_clients": clients, "keys": keys, "bits": bits, "smudging_bits": smudging}
        for scheme in ("bfv", "ckks")
        for keys in ("authority", "committee")
        for clients, bits, smudging in ((1, 2, 0), (16, 16, 56), (1000, 24, 80))
    ],
    ids=str,
)
def test_every_codec_is_128_bits_strong_with_ntt_primes_of_its_own(options):
    parameters = build_codec(**options)._encoding.parameters
    primes = [int(prime) for prime in key_primes(parameters)]
    assert math.log2(math.prod(primes)) <= LONGEST_MODULUS[parameters.poly_degree]
    assert len(set(primes)) == len(primes) == len(parameters.coeff_bits)
    assert all(prime % (2 * parameters.poly_degree) == 1 for prime in primes)
    assert tuple(prime.bit_length() for prime in primes) == parameters.coeff_bits
    assert min(parameters.coeff_bits) >= 36
    assert data_primes(parameters).tolist() == primes[:-1]


def test_contexts_are_built_once():
    assert seal_context(BASE) is seal_context(SealParameters(2_199_023_288_321))


def test_less_than_128_bits_and_moduli_without_slots_are_refused():
    with pytest.raises(ValueError, match="security standard"):
        seal_context(SealParameters(2_199_023_288_321, 4096, (55, 55)))
    with pytest.raises(ValueError, match="no prime = 1 mod 8192"):
        seal_context(SealParameters(1_000_003))


def test_the_bound_on_key_bytes_holds(secret_key):
    with SealBuffer() as buffer:
        body = buffer.dump(secret_key._key, secret_key.parameters.key_bytes)
    assert 8 * 2 * 4096 < len(body) <= secret_key.parameters.key_bytes
