"""Integers in plaintexts of BFV: rounding, and what is no sum."""

import numpy as np
import pytest
from tenseal import sealapi

from fedpriv.he.bfv import IntegerEncoding, rounded
from fedpriv.he.keys import generate_key
from fedpriv.he.noise_bounds import symmetric_noise
from fedpriv.he.packing import pack, plan_packing
from fedpriv.he.parameters import SealParameters, data_primes, seal_context
from fedpriv.he.registry import build_codec
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.symmetric import SymmetricCipher, uniform
from fedpriv.he.wire import CiphertextWire, dump_plaintext, load_plaintext
from fedpriv.privacy.noise import SecureSource
from tests.he.parties import lift, updates


@pytest.fixture(scope="module", params=["authority", "committee"])
def encoding(request):
    return build_codec("bfv", 16, keys=request.param)._encoding


def test_the_digest_fields_are_all_of_the_plan(encoding):
    assert encoding.fields.keys() == {*encoding.plan.__dataclass_fields__, "noise"}
    assert encoding.max_clients == encoding.plan.max_clients
    assert encoding.values_per_plaintext == encoding.plan.values_per_slot * encoding.parameters.poly_degree


def test_a_phase_is_rounded_as_integers_round(encoding, random):
    """From_phase is round(t phase / q) mod t, judged by Python's integers."""
    moduli = encoding.wire().moduli
    phase = random.integers(0, moduli, encoding.wire().shape, dtype=np.uint64)
    q = int(np.prod(moduli.astype(object)))
    t = encoding.parameters.plain_modulus
    expected = [(2 * t * value + q) // (2 * q) % t for value in lift(phase, moduli)]
    with SealBuffer() as buffer:
        found = dump_plaintext(buffer, encoding.from_phase(buffer, phase), encoding.plan.slots)
    assert found.tolist() == expected


AUTHORITIES = [
    build_codec("bfv", clients, values_per_slot=values)._encoding.parameters
    for clients, values in [(1, None), (1, 1), (2, None), (16, None), (100, None), (1000, 1)]
]
"""Plaintext moduli of 17 to 52 bits under primes of 24 to 59."""


def edges(prime, plain, random):
    """Phases at the ends, at multiples of q / t, and on both sides of what lies halfway between them."""
    chosen = [*range(4), plain - 2, plain - 1, *random.integers(0, plain, 300).tolist()]
    halfway = [(2 * m + 1) * prime // (2 * plain) + offset for m in chosen for offset in (-1, 0, 1, 2)]
    exact = [m * prime // plain + offset for m in chosen for offset in (0, 1)]
    phases = np.array([0, 1, prime - 2, prime - 1, *halfway, *exact], np.uint64)
    return phases[phases < prime]


@pytest.mark.parametrize("parameters", AUTHORITIES, ids=str)
def test_a_phase_of_one_prime_is_rounded_exactly_and_so_is_what_is_left(parameters, random):
    prime, plain = int(data_primes(parameters)[0]), parameters.plain_modulus
    phases = np.concatenate([edges(prime, plain, random), random.integers(0, prime, 5000, dtype=np.uint64)])
    found, rest = rounded(phases, prime, plain)
    quotients = [(2 * plain * x + prime) // (2 * prime) for x in phases.tolist()]
    assert found.tolist() == [quotient % plain for quotient in quotients]
    assert rest.tolist() == [plain * x - prime * m for x, m in zip(phases.tolist(), quotients, strict=True)]


@pytest.mark.parametrize("parameters", AUTHORITIES, ids=str)
def test_a_phase_is_rounded_as_seal_decrypts(parameters, random):
    """By a key of SEAL's, from ciphertexts with a uniform c1 whose phases are these."""
    key, wire, plaintext = generate_key(parameters), CiphertextWire(parameters), sealapi.Plaintext()
    prime, degree = int(wire.moduli[0, 0]), wire.shape[1]
    cipher, decryptor = SymmetricCipher(key.coefficients(), wire.moduli), key.decryptor()
    c1 = uniform(bytes(32), 0, wire.moduli, degree)
    product = cipher.phase(np.zeros_like(c1), c1)
    uniform_phases = random.integers(0, prime, wire.shape, dtype=np.uint64)
    at_edges = np.resize(edges(prime, parameters.plain_modulus, random), wire.shape)
    with SealBuffer() as buffer:
        for phase in (uniform_phases, at_edges):
            c0 = (phase + wire.moduli - product) % wire.moduli
            assert np.array_equal(cipher.phase(c0, c1), phase)
            decryptor.decrypt(wire.join(buffer, c0, c1), plaintext)
            theirs = dump_plaintext(buffer, plaintext, degree)
            assert np.array_equal(rounded(phase[0], prime, parameters.plain_modulus)[0], theirs)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_is_released_up_to_the_bound_of_its_noise_and_not_beyond(random, sign):
    encoding = build_codec("bfv", 16)._encoding
    plan, prime = encoding.plan, int(data_primes(encoding.parameters)[0])
    levels = random.integers(1, 1 << 16, plan.values_per_plaintext, dtype=np.uint32)
    slots = pack(levels, plan)
    noiseless = [int(m) * prime // plan.plain_modulus for m in slots]
    bound = int(symmetric_noise(1)) + 2
    for noise, passes in ((bound - 1, True), (bound + 2, False)):
        phase = np.array(noiseless, np.uint64)
        phase[77] = (noiseless[77] + sign * noise) % prime
        given = (None, phase[np.newaxis], 1, len(levels), SecureSource())
        if passes:
            expected = (levels.astype(np.int64) - plan.offset) * plan.step
            assert np.array_equal(encoding.release(*given), expected)
        else:
            with pytest.raises(ValueError, match="noise of"):
                encoding.release(*given)


def test_a_plaintext_holds_the_packed_levels(encoding):
    vector = updates(1, 1000, deviation=0.3)[0]
    with SealBuffer() as buffer:
        ((item, saturated),) = encoding.items_of(vector, np.random.default_rng(1), SecureSource())
        values = encoding.values(buffer, encoding.plaintext(buffer, item), 1, 1000)
    assert saturated == np.count_nonzero(np.abs(vector) > 0.5) > 0
    assert np.abs(values - np.clip(vector, -0.5, 0.5)).max() < encoding.plan.step


def test_what_is_no_sum_of_so_many_updates_is_refused(encoding, random):
    context = seal_context(encoding.parameters)
    plan = encoding.plan

    def values(slots, count, length):
        with SealBuffer() as buffer:
            return encoding.values(buffer, load_plaintext(buffer, context, slots), count, length)

    full = np.full(100, (1 << 16) - 1, np.uint32)
    good = pack(full, plan) * np.uint64(3)
    assert np.allclose(values(good, 3, 100), 3 * 32767 * plan.step)
    beyond_the_padding = np.append(good, np.uint64(1))
    uniform = random.integers(0, plan.plain_modulus, plan.slots, dtype=np.uint64)
    empty = np.zeros(50, np.uint64)
    for slots, count in ((good, 2), (good, 1), (empty, 1), (beyond_the_padding, 3), (uniform, 16)):
        with pytest.raises(ValueError, match=f"not a sum of {count} updates"):
            values(slots, count, 100)


def test_garbage_is_recognised_with_certainty():
    """Under 200 random keys not one sum is taken for one, not even of the fullest federation."""
    plan = plan_packing(16, 16)
    encoding = IntegerEncoding(plan, SealParameters(plan.plain_modulus, plan.slots))
    random = np.random.default_rng(0)
    context = seal_context(encoding.parameters)
    with SealBuffer() as buffer:
        for _ in range(200):
            slots = random.integers(0, plan.plain_modulus, plan.slots, dtype=np.uint64)
            plaintext = load_plaintext(buffer, context, slots)
            assert isinstance(plaintext, sealapi.Plaintext)
            with pytest.raises(ValueError, match="not a sum"):
                encoding.values(buffer, plaintext, 16, plan.values_per_plaintext)
