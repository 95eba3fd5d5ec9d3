"""Noise on packed integers: exact sums against Python's integers, and refusals before the run."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.keys import generate_key
from fedpriv.he.packing import (
    add_client_noise,
    pack,
    plan_packing,
    quantisation_step,
    quantise,
    server_noise_levels,
    unpack_sum,
)
from fedpriv.he.parameters import SealParameters, seal_context
from fedpriv.he.registry import build_codec
from fedpriv.privacy.noise import FastSource
from fedpriv.privacy.sum_plan import SumPlan, plan_sum, sensitivity


@settings(max_examples=100, deadline=None)
@given(
    bits=st.integers(2, 24),
    clients=st.integers(1, 20),
    client_bound=st.one_of(st.just(0), st.integers(1, 1 << 28)),
    server_bound=st.one_of(st.just(0), st.integers(1, 1 << 28)),
    length=st.integers(1, 20),
    extreme=st.sampled_from([-1, 0, 1]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_noisy_sum_unpacks_to_the_exact_integer_sum(
    bits, clients, client_bound, server_bound, length, extreme, seed
):
    plan = plan_packing(
        bits, clients, capacity_bits=58, client_noise_bound=client_bound, server_noise_bound=server_bound
    )
    random = np.random.default_rng(seed)
    levels = random.integers(1, 2**bits, size=(clients, length), dtype=np.uint32)
    noise = random.integers(-client_bound, client_bound, size=(clients, length), endpoint=True)
    server = random.integers(-server_bound, server_bound, size=length, endpoint=True)
    if extreme:  # the ends of everything at once
        levels[:] = 1 if extreme < 0 else 2**bits - 1
        noise[:] = extreme * client_bound
        server[:] = extreme * server_bound
    updates = [
        add_client_noise(row, own, plan) if client_bound else row
        for row, own in zip(levels, noise, strict=True)
    ]
    slots = sum(pack(update, plan) for update in updates)
    if server_bound:
        slots = slots + pack(server_noise_levels(server, plan), plan)
    expected = [
        sum(int(level) - plan.offset for level in levels[:, at])
        + sum(int(own) for own in noise[:, at])
        + int(server[at])
        for at in range(length)
    ]
    assert max(int(slot) for slot in slots) < plan.plain_modulus
    decoded = unpack_sum(slots, plan, clients, length, server_noise=bool(server_bound))
    assert [round(value / plan.step) for value in decoded] == expected


@settings(max_examples=200, deadline=None)
@given(
    bits=st.integers(2, 24),
    clients=st.integers(1, 1000),
    client_bound=st.integers(0, 1 << 30),
    server_bound=st.integers(0, 1 << 30),
)
def test_a_digit_is_as_wide_as_the_largest_sum_and_hardly_wider(bits, clients, client_bound, server_bound):
    largest = clients * (2**bits - 1 + 2 * client_bound) + 2 * server_bound
    plan = plan_packing(
        bits, clients, None, 0.5, 8192, 58, client_noise_bound=client_bound, server_noise_bound=server_bound
    )
    assert largest < 1 << plan.digit_bits
    assert largest + clients > 1 << (plan.digit_bits - 1)
    assert plan.values_per_slot * plan.digit_bits <= math.log2(plan.plain_modulus) - 1
    assert plan.plain_modulus.bit_length() <= 60


def test_edge_no_capacity_leads_to_a_modulus_that_the_library_cannot_have():
    for bits in range(2, 25):
        for clients in (1, 5, 1000):
            assert plan_packing(bits, clients, slots=8192, capacity_bits=100).plain_modulus.bit_length() <= 60


def test_without_noise_a_plan_is_what_it_was():
    for bits in range(2, 25):
        for clients in (1, 2, 3, 8, 9, 100, 1000):
            plan = plan_packing(bits, clients)
            assert plan.digit_bits == bits + math.ceil(math.log2(clients))
            assert plan == plan_packing(bits, clients, client_noise_bound=0, server_noise_bound=0)


def test_noise_levels_never_leave_their_words():
    plan = plan_packing(24, 1, 1, capacity_bits=58, client_noise_bound=1 << 30, server_noise_bound=1 << 30)
    top, ends = np.array([1, 2**24 - 1], np.uint32), np.array([-(1 << 30), 1 << 30])
    assert add_client_noise(top, ends, plan).tolist() == [1, 2**24 - 1 + (1 << 31)]
    assert server_noise_levels(ends, plan).tolist() == [0, 1 << 31]


@pytest.mark.parametrize("beyond", [101, -101])
def test_noise_beyond_the_bound_is_refused_before_it_reaches_a_neighbour(beyond):
    plan = plan_packing(8, 4, client_noise_bound=100, server_noise_bound=100)
    levels, noise = np.full(3, plan.offset, np.uint32), np.array([0, beyond, 0])
    for add in (lambda: add_client_noise(levels, noise, plan), lambda: server_noise_levels(noise, plan)):
        with pytest.raises(ValueError, match=r"^noise: beyond the 100 steps"):
            add()


def test_noise_where_the_plan_has_no_room_for_any_is_refused():
    plan = plan_packing(8, 4)
    with pytest.raises(ValueError, match=r"^noise: beyond the 0 steps"):
        add_client_noise(np.full(3, plan.offset, np.uint32), np.array([0, 1, 0]), plan)


def test_noise_of_another_length_is_refused():
    plan = plan_packing(8, 4, client_noise_bound=100)
    with pytest.raises(ValueError, match=r"^noise: shape \(1,\) for"):
        add_client_noise(np.full(3, plan.offset, np.uint32), np.array([5]), plan)


def test_a_sum_whose_digits_no_noisy_clients_can_have_sent_is_refused():
    plan = plan_packing(8, 4, client_noise_bound=100, server_noise_bound=50)
    highest = 4 * (255 + 200)
    fine = np.array([highest], np.uint64)
    assert unpack_sum(fine, plan, 4, 1) / plan.step == pytest.approx(4 * (127 + 100))
    assert unpack_sum(fine + np.uint64(100), plan, 4, 1, True) / plan.step == pytest.approx(4 * 227 + 50)
    with pytest.raises(ValueError, match="not a sum of 4"):
        unpack_sum(fine + np.uint64(1), plan, 4, 1)
    with pytest.raises(ValueError, match="not a sum of 4"):
        unpack_sum(fine + np.uint64(101), plan, 4, 1, True)
    with pytest.raises(ValueError, match="not a sum of 4"):
        unpack_sum(np.array([3], np.uint64), plan, 4, 1)


@pytest.mark.parametrize("bound", [-1, (1 << 30) + 1])
@pytest.mark.parametrize("who", ["client_noise_bound", "server_noise_bound"])
def test_a_noise_bound_out_of_range_is_refused(who, bound):
    with pytest.raises(ValueError, match=rf"^noise bound {bound}:"):
        plan_packing(8, 4, **{who: bound})


def noise_plan(bits: int, **target: float) -> SumPlan:
    return plan_sum(
        clipping_norm=1.0,
        step=quantisation_step(bits, 0.5),
        dimension=100_000,
        contributors=8,
        rounds=1,
        delta=1e-5,
        **target,
    )


def noise_bound(bits: int, multiplier: float) -> int:
    return noise_plan(bits, noise_multiplier=multiplier).client_noise_bound


def test_missing_headroom_is_refused_before_the_run_with_mends_that_work():
    at_16 = noise_bound(16, 0.5)
    with pytest.raises(UserError) as refusal:
        plan_packing(16, 16, 2, client_noise_bound=at_16)
    assert str(refusal.value) == (
        "secure.bits=16 with secure.values_per_slot=2 cannot hold federation.clients=16 and the noise of "
        f"privacy.noise_multiplier (up to {at_16} steps each): 46 bits needed, 44 there; "
        "set secure.values_per_slot=1 or fewer secure.bits or a smaller privacy.noise_multiplier"
    )
    assert plan_packing(16, 16, 1, client_noise_bound=at_16).values_per_slot == 1
    assert plan_packing(15, 16, 2, client_noise_bound=noise_bound(15, 0.5)).values_per_slot == 2
    assert plan_packing(16, 16, 2, client_noise_bound=noise_bound(16, 0.2)).values_per_slot == 2


@pytest.mark.parametrize("keys", ["authority", "committee"])
def test_the_refusal_names_epsilon_where_the_noise_follows_from_it_and_the_mend_works(keys):
    def build(epsilon):
        return build_codec("bfv", 16, keys, bits=8, values_per_slot=3, noise=noise_plan(8, epsilon=epsilon))

    with pytest.raises(UserError) as refusal:
        build(0.002)
    assert " and the noise of privacy.epsilon (up to " in str(refusal.value)
    assert str(refusal.value).endswith(" or a larger privacy.epsilon")
    assert build(8.0).figures["values_per_slot"] == 3


def test_bits_that_are_named_as_a_mend_hold_the_noise_that_fewer_bits_need():
    with pytest.raises(UserError) as refusal:
        plan_packing(20, 16, 2, client_noise_bound=noise_bound(20, 0.002))
    assert str(refusal.value).endswith(
        "set secure.values_per_slot=1 or secure.bits=17 or a smaller privacy.noise_multiplier"
    )
    assert plan_packing(17, 16, 2, client_noise_bound=noise_bound(17, 0.002)).values_per_slot == 2


def test_headroom_that_no_packing_has_is_refused_by_the_names_of_all_three_fields():
    with pytest.raises(UserError) as refusal:
        plan_packing(16, 1000, capacity_bits=40, server_noise_bound=1 << 30, client_noise_bound=1 << 30)
    text = str(refusal.value)
    assert all(name in text for name in ("secure.bits=16", "federation.clients=1000", "noise_multiplier"))
    assert text.endswith("set fewer secure.bits or a smaller privacy.noise_multiplier")
    with pytest.raises(UserError, match=r"clients=1000: 26 bits needed, 20 there; set secure.bits=10$"):
        plan_packing(16, 1000, capacity_bits=20)
    with pytest.raises(
        UserError, match=r"clients=1000: 12 bits needed, 9 there; set fewer federation.clients$"
    ):
        plan_packing(2, 1000, capacity_bits=9)


@settings(max_examples=60, deadline=None)
@given(
    norm=st.floats(0.01, 300),
    length=st.integers(1, 300),
    bits=st.integers(4, 16),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.0, 1.0, 6.0]),
)
def test_guarantee_conditional_rounding_never_exceeds_the_bound(norm, length, bits, seed, spread):
    plan = plan_packing(bits, 4, value_range=0.5)
    random = np.random.default_rng(seed)
    vector = random.random(length) ** spread * random.choice([-1, 1], length)
    vector = (vector * (norm * plan.step / np.linalg.norm(vector))).astype(np.float32)
    length_in_steps = float(np.linalg.norm(vector.astype(np.float64))) / plan.step
    bound = sensitivity(max(norm, length_in_steps), length)
    levels, clipped = quantise(vector, plan, random, bound)
    centred = [int(level) - plan.offset for level in levels]
    assert sum(each * each for each in centred) <= bound**2
    assert clipped == np.count_nonzero(np.abs(vector) > 0.5)
    wanted = np.clip(vector.astype(np.float64), -0.5, 0.5) / plan.step
    assert np.abs(np.array(centred) - wanted).max() < 1 + 1e-6


def test_the_rounding_is_drawn_again_only_where_it_must():
    plan = plan_packing(16, 4)
    vector = np.linspace(-0.4, 0.4, 1000, dtype=np.float32)
    free = quantise(vector, plan, np.random.default_rng(5))[0]
    roomy = quantise(vector, plan, np.random.default_rng(5), norm_bound=1e9)[0]
    assert np.array_equal(free, roomy)
    # one coordinate of half a step and a bound below one step: only zero passes
    half = np.array([plan.step / 2], np.float32)
    drawn = [int(quantise(half, plan, np.random.default_rng(seed))[0][0]) for seed in range(50)]
    kept = [int(quantise(half, plan, np.random.default_rng(seed), 0.9)[0][0]) for seed in range(50)]
    assert set(drawn) == {plan.offset, plan.offset + 1}
    assert set(kept) == {plan.offset}


def test_the_bound_is_on_the_exact_integer_norm_and_counts_as_within():
    plan = plan_packing(24, 1)
    vector = np.full(300_000, 0.5, np.float32)  # 2^23 - 1 steps each: squares of 2^46, a sum beyond 2^63
    exact = math.isqrt(300_000) + 1
    assert len(quantise(vector, plan, np.random.default_rng(1), 8388607.0 * exact)[0]) == 300_000
    four = np.full(4, 0.5, np.float32)
    assert len(quantise(four, plan, np.random.default_rng(1), 2 * 8388607.0)[0]) == 4
    with pytest.raises(ValueError, match="clip it"):
        quantise(four, plan, np.random.default_rng(1), 2 * 8388607.0 - 1e-3)


@pytest.mark.parametrize("norm_bound", [0.0, 1.0, 99.0])
def test_an_update_that_was_not_clipped_is_refused(norm_bound, random):
    plan = plan_packing(16, 4)
    with pytest.raises(ValueError, match=r"^update: norm of 100 steps, too long for a bound of .*clip it"):
        quantise(np.array([100 * plan.step], np.float32), plan, random, norm_bound)


def test_an_unclipped_update_is_refused_also_where_a_lucky_rounding_would_pass(random):
    plan = plan_packing(16, 4)
    with pytest.raises(ValueError, match="clip it"):
        quantise(np.array([0.6 * plan.step], np.float32), plan, random, norm_bound=0.5)


def test_an_update_that_no_rounding_can_bring_within_the_bound_ends_in_a_refusal(random):
    plan = plan_packing(16, 4)
    vector = np.full(10_000, 0.5 * plan.step, np.float32)  # norm 50, rounded about 70.7
    with pytest.raises(ValueError, match=r"^update: norm of 50 steps, too long for a bound of 51; clip it"):
        quantise(vector, plan, random, 51.0)


def test_ten_clients_with_planned_noise_give_the_planned_sum():
    """Everything together: clip, round, noise, pack, add, unpack; the error is the planned noise."""
    clients, length = 10, 20_000
    planned = plan_sum(
        clipping_norm=1.0,
        step=quantisation_step(12, 0.25),
        dimension=length,
        contributors=clients,
        rounds=3,
        delta=1e-6,
        noise_multiplier=0.05,
    )
    plan = plan_packing(12, clients, value_range=0.25, client_noise_bound=planned.client_noise_bound)
    assert plan.step == planned.step
    random = np.random.default_rng(3)
    source = FastSource(3, "noise")
    total, wanted = np.zeros(1, np.uint64), np.zeros(length)
    for _ in range(clients):
        update = random.normal(size=length)
        update = (update / np.linalg.norm(update) * planned.clipping_norm).astype(np.float32) * np.float32(
            0.9999
        )
        levels, clipped = quantise(update, plan, random, planned.norm_bound)
        assert clipped == 0
        total = total + pack(add_client_noise(levels, planned.draw(length, source), plan), plan)
        wanted += update
    error = (unpack_sum(total, plan, clients, length) - wanted) / plan.step
    # rounding adds a variance of at most 1/4 a client
    spread = math.sqrt(clients * float(planned.variance))
    assert error.std() == pytest.approx(spread, rel=0.03)
    assert abs(error.mean()) < 6 * spread / math.sqrt(length)


def test_noise_of_clients_and_server_added_under_encryption_decrypts_exactly():
    """The server adds its noise to the ciphertext of the sum, as a plaintext, without any key."""
    clients, bounds = 5, {"client_noise_bound": 700, "server_noise_bound": 90_000}
    plan = plan_packing(10, clients, **bounds)
    parameters = SealParameters(plan.plain_modulus)
    context, key = seal_context(parameters), generate_key(parameters)
    encoder, evaluator = sealapi.BatchEncoder(context), sealapi.Evaluator(context)
    encryptor = sealapi.Encryptor(seal_context(key.parameters), key._key)
    decryptor = key.decryptor()
    random = np.random.default_rng(1)
    length = plan.values_per_plaintext
    assert plan.values_per_slot == 2

    def plaintext(levels):
        encoded = sealapi.Plaintext()
        encoder.encode(pack(levels, plan).tolist(), encoded)
        return encoded

    total, fresh, opened = sealapi.Ciphertext(), sealapi.Ciphertext(), sealapi.Plaintext()
    expected = random.integers(-90_000, 90_001, length)
    encryptor.encrypt_symmetric(plaintext(np.zeros(length, np.uint32)), total)
    evaluator.add_plain_inplace(total, plaintext(server_noise_levels(expected, plan)))
    for _ in range(clients):
        levels = random.integers(1, 1024, length, dtype=np.uint32)
        noise = random.integers(-700, 701, length)
        encryptor.encrypt_symmetric(plaintext(add_client_noise(levels, noise, plan)), fresh)
        evaluator.add_inplace(total, fresh)
        expected += levels.astype(np.int64) - plan.offset + noise
    decryptor.decrypt(total, opened)
    slots = np.array(encoder.decode_uint64(opened), np.uint64)
    decoded = unpack_sum(slots, plan, clients, length, server_noise=True)
    assert np.array_equal(np.rint(decoded / plan.step), expected)
