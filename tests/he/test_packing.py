"""Packing against exact integer arithmetic, and the noise rule against the library's own measure."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.keys import generate_key
from fedpriv.he.packing import (
    NonFiniteUpdate,
    pack,
    plan_packing,
    quantise,
    unpack_sum,
)
from fedpriv.he.parameters import SealParameters, seal_context


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(2, 24),
    clients=st.integers(1, 40),
    length=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_sum_of_packed_levels_unpacks_to_the_exact_integer_sum(bits, clients, length, seed):
    plan = plan_packing(bits, clients, value_range=1.0)
    random = np.random.default_rng(seed)
    levels = random.integers(1, 2**bits, size=(clients, length), dtype=np.uint32)
    slots = sum(pack(row, plan) for row in levels)
    expected = [sum(int(level) for level in column) - clients * plan.offset for column in levels.T]
    decoded = unpack_sum(slots, plan, clients, length)
    assert decoded.dtype == np.float64
    assert [round(value / plan.step) for value in decoded] == expected


@pytest.mark.parametrize(("bits", "clients"), [(2, 1000), (8, 8), (10, 1000), (16, 2), (16, 32), (24, 1000)])
def test_the_largest_possible_sum_neither_carries_nor_reaches_the_modulus(bits, clients):
    plan = plan_packing(bits, clients)
    top = np.full(plan.values_per_slot, 2**bits - 1, np.uint32)
    slots = pack(top, plan) * np.uint64(clients)
    assert int(slots[0]) < plan.plain_modulus
    decoded = unpack_sum(slots, plan, clients, plan.values_per_slot)
    assert np.allclose(decoded, clients * plan.value_range, rtol=1e-12)


@pytest.mark.parametrize("clients", [1, 2, 3, 8, 9, 32, 33, 100, 1000])
@pytest.mark.parametrize("bits", [2, 5, 8, 12, 16, 24])
def test_every_plan_obeys_the_headroom_rule_and_has_a_batching_prime(bits, clients):
    plan = plan_packing(bits, clients)
    needed = plan.values_per_slot * (bits + math.ceil(math.log2(clients)))
    assert needed <= math.log2(plan.plain_modulus) - 1
    assert plan.plain_modulus % 8192 == 1
    assert sealapi.Modulus(plan.plain_modulus).is_prime()


def test_none_takes_as_many_values_as_fit_and_no_more():
    plan = plan_packing(16, 8)
    assert plan.values_per_slot == 2
    with pytest.raises(UserError):
        plan_packing(16, 8, values_per_slot=3)


def test_values_that_do_not_fit_are_refused_with_a_mend_that_works():
    with pytest.raises(UserError) as refusal:
        plan_packing(16, 100, values_per_slot=2)
    text = str(refusal.value)
    assert text.startswith("secure.bits=16 with secure.values_per_slot=2 cannot hold federation.clients=100")
    assert text.endswith("set secure.values_per_slot=1 or secure.bits=14")
    assert plan_packing(16, 100, values_per_slot=1).values_per_slot == 1
    assert plan_packing(14, 100, values_per_slot=2).values_per_slot == 2
    with pytest.raises(UserError):
        plan_packing(15, 100, values_per_slot=2)


@pytest.mark.parametrize(
    ("settings_", "field"),
    [
        ({"bits": 1}, "secure.bits=1"),
        ({"bits": 25}, "secure.bits=25"),
        ({"max_clients": 0}, "federation.clients=0"),
        ({"max_clients": 1001}, "federation.clients=1001"),
        ({"values_per_slot": 0}, "secure.values_per_slot=0"),
        ({"value_range": 0.0}, "secure.value_range=0.0"),
        ({"value_range": math.inf}, "secure.value_range=inf"),
        ({"value_range": math.nan}, "secure.value_range=nan"),
    ],
)
def test_settings_out_of_range_are_named(settings_, field):
    with pytest.raises(UserError, match=field):
        plan_packing(**({"bits": 16, "max_clients": 8} | settings_))


def test_stochastic_rounding_is_unbiased(random):
    """Mean of m rounded draws of fraction f has standard deviation sqrt(f (1 - f) / m) levels."""
    plan = plan_packing(8, 4, value_range=1.0)
    draws = 200_000
    for position in (0.25, -3.9, 100.5):
        levels, clipped = quantise(np.full(draws, position * plan.step, np.float32), plan, random)
        fraction = position - math.floor(position)
        deviation = math.sqrt(fraction * (1 - fraction) / draws)
        assert clipped == 0
        assert abs(levels.mean() - plan.offset - position) < 5 * deviation + 1e-5
        assert set(np.unique(levels)) == {
            plan.offset + math.floor(position),
            plan.offset + math.ceil(position),
        }


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 24),
)
def test_a_level_is_less_than_one_step_away_and_saturation_is_counted(values, seed, bits):
    plan = plan_packing(bits, 3, value_range=0.75)
    vector = np.array(values, np.float32)
    levels, clipped = quantise(vector, plan, np.random.default_rng(seed))
    assert clipped == sum(abs(value) > 0.75 for value in values)
    wanted = np.clip(vector.astype(np.float64), -0.75, 0.75)
    assert np.abs((levels.astype(np.float64) - plan.offset) * plan.step - wanted).max() < plan.step * (
        1 + 1e-9
    )
    assert levels.min() >= 1
    assert levels.max() <= 2**bits - 1


def test_zero_and_both_ends_are_exact(random):
    plan = plan_packing(16, 8)
    vector = np.tile(np.array([0.0, 0.5, -0.5], np.float32), 1000)
    levels, clipped = quantise(vector, plan, random)
    assert clipped == 0
    assert np.array_equal(levels, np.tile(np.array([32768, 65535, 1], np.uint32), 1000))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_coordinates_are_refused(bad, random):
    with pytest.raises(NonFiniteUpdate):
        quantise(np.array([0.0, bad], np.float32), plan_packing(16, 8), random)


def test_equal_generators_round_equally():
    plan = plan_packing(16, 8)
    vector = np.linspace(-0.4, 0.4, 1001, dtype=np.float32)
    first, second = (quantise(vector, plan, np.random.default_rng(3))[0] for _ in range(2))
    other = quantise(vector, plan, np.random.default_rng(4))[0]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "damage", [lambda s, p: s | np.uint64(1 << (2 * p.digit_bits)), lambda s, p: s * np.uint64(0)]
)
def test_slots_that_no_clients_can_have_sent_are_refused(damage):
    plan = plan_packing(16, 8)
    slots = pack(np.full(4, plan.offset, np.uint32), plan) * np.uint64(3)
    assert not unpack_sum(slots, plan, 3, 4).any()
    with pytest.raises(ValueError, match="not a sum of 3"):
        unpack_sum(damage(slots, plan), plan, 3, 4)


def test_something_in_the_padding_is_refused():
    plan = plan_packing(16, 8)
    slots = pack(np.full(4, plan.offset, np.uint32), plan)
    with pytest.raises(ValueError, match="not a sum of 1"):
        unpack_sum(slots, plan, 1, 3)


@pytest.mark.parametrize(("bits", "clients"), [(22, 2), (11, 8), (17, 32), (15, 64), (16, 100), (10, 1000)])
def test_the_noise_of_a_full_federation_leaves_a_positive_budget(bits, clients):
    """Measured by SEAL on sums of the largest slots; plans at or next to the limit of the noise rule."""
    plan = plan_packing(bits, clients)
    parameters = SealParameters(plan.plain_modulus)
    context, key = seal_context(parameters), generate_key(parameters)
    encoder, evaluator = sealapi.BatchEncoder(context), sealapi.Evaluator(context)
    encryptor = sealapi.Encryptor(seal_context(key.parameters), key._key)
    decryptor = key.decryptor()
    slot = pack(np.full(plan.values_per_slot, 2**bits - 1, np.uint32), plan).tolist()
    plaintext, total, fresh = sealapi.Plaintext(), sealapi.Ciphertext(), sealapi.Ciphertext()
    encoder.encode(slot * plan.slots, plaintext)
    encryptor.encrypt_symmetric(plaintext, total)
    for _ in range(clients - 1):
        encryptor.encrypt_symmetric(plaintext, fresh)
        evaluator.add_inplace(total, fresh)
    assert decryptor.invariant_noise_budget(total) >= 1
    decryptor.decrypt(total, plaintext)
    assert encoder.decode_uint64(plaintext) == [slot[0] * clients] * plan.slots


def test_the_library_refuses_a_modulus_that_is_no_batching_prime():
    plan = plan_packing(16, 8)
    with pytest.raises(ValueError, match="prime"):
        seal_context(SealParameters(replace(plan, plain_modulus=plan.plain_modulus + 2).plain_modulus))
