"""What every encrypted codec promises, whoever holds its keys, against plain integers and float64."""

import hashlib
import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.codec import PayloadError, SumError
from fedpriv.he.packing import NonFiniteUpdate, quantise
from fedpriv.he.packing_plan import quantisation_step
from fedpriv.he.registry import build_codec
from fedpriv.privacy.noise import FastSource
from fedpriv.privacy.sum_plan import SumPlan
from tests.he.parties import integer_sum, updates

KINDS = [("authority", 1), ("committee", 2), ("committee", 3), ("committee", 5)]
CASES = [(scheme, *kind) for scheme in ("bfv", "ckks") for kind in KINDS]
FUZZ = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


PLACES = ("clients", "server")


def noise_plan(where, variance, norm=0.1):
    """Noise in steps of 16 bits and a range of 0.5, on updates of up to 300 coordinates."""
    return SumPlan(norm, quantisation_step(16, 0.5), 300, where, 1, 10, 1e-5, Fraction(variance))


def noiseless(plan, vectors, norm_bound):
    """Sum the levels of clients that bound their norms, without offsets."""
    total = np.zeros(vectors.shape[1], np.int64)
    for index, vector in enumerate(vectors):
        levels, _ = quantise(vector, plan, np.random.default_rng([0, index]), norm_bound)
        total += levels.astype(np.int64) - plan.offset
    return total


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def parties(request, federation):
    scheme, keys, holders = request.param
    return federation(scheme, keys, **({"holders": holders} if keys == "committee" else {}))


@pytest.fixture(
    params=[("bfv", "authority"), ("bfv", "committee"), ("ckks", "authority"), ("ckks", "committee")]
)
def party(request, federation):
    """Without the sizes of committee: for what does not depend on them."""
    return federation(*request.param)


@pytest.mark.parametrize("clients", [1, 2, 16])
def test_the_opened_sum_is_that_of_the_plain_updates(parties, clients):
    vectors = updates(clients, 700, seed=clients)
    parties.assert_sum(parties.sum(vectors, seed=clients), vectors, seed=clients)


@pytest.mark.parametrize("past", [None, -1, 0, 1, "several"])
def test_every_length_is_carried(parties, past):
    """Encoding in blocks draws the same numbers as quantising the whole vector at once."""
    block = parties.encoding.values_per_plaintext
    length = 1 if past is None else 2 * block + 5 if past == "several" else block + past
    vectors = updates(2, length, seed=3)
    parties.assert_sum(parties.sum(vectors, seed=3), vectors, seed=3)


def test_any_subset_of_the_clients_opens_to_its_own_sum(party):
    vectors = updates(4, 300, seed=5)
    encoded = party.encode(vectors, seed=5)
    for size in (1, 2, 3):
        for chosen in itertools.combinations(range(4), size):
            some = [encoded[index] for index in chosen]
            total = party.aggregate(some, 300)
            opened = total.open(party.answers(some, total))
            if party.server.scheme == "bfv":
                one_by_one = [
                    integer_sum(
                        party.encoding.plan,
                        np.where(np.arange(4)[:, None] == index, vectors, 0).astype(np.float32),
                        seed=5,
                    )
                    for index in chosen
                ]
                assert np.allclose(opened, np.sum(one_by_one, axis=0), rtol=0, atol=1e-12)
            else:
                party.assert_sum(opened, vectors[list(chosen)])


def test_masks_may_come_in_any_order(party):
    vectors = updates(3, 50)
    encoded = party.encode(vectors)
    total = party.aggregate(encoded, 50)
    party.assert_sum(total.open(party.answers(encoded[::-1], total)), vectors)


def test_all_clients_at_both_ends_of_the_range_are_exact(party):
    """The largest sums that the headroom was planned for."""
    for ends in ([0.5, -0.5], [0.5], [-0.5]):
        vectors = np.tile(np.resize(np.array(ends, np.float32), 2000), (16, 1))
        party.assert_sum(party.sum(vectors), vectors)
        if party.server.scheme == "bfv":
            assert np.allclose(party.sum(vectors), 8 * np.sign(vectors[0]), rtol=1e-15, atol=0)


def test_what_lies_outside_the_range_saturates_and_is_counted(party):
    vector = np.array([0.5, -0.5, 0.51, -0.51, 1e30, -3e38, 0.0], np.float32)
    encoded = party.encode(np.stack([vector, vector]))
    assert [update.clipped for update in encoded] == [4, 4]
    total = party.aggregate(encoded, 7)
    expected = 2 * np.clip(vector.astype(np.float64), -0.5, 0.5)
    assert np.abs(total.open(party.answers(encoded, total)) - expected).max() < 1e-4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_updates_are_not_encrypted(party, random, bad):
    with pytest.raises(NonFiniteUpdate):
        party.client.encode(np.array([0.0, bad], np.float32), random)


@pytest.mark.parametrize("vector", [np.zeros(3), np.zeros((2, 2), np.float32), np.zeros(0, np.float32)])
def test_only_non_empty_float32_vectors_are_encoded(party, random, vector):
    with pytest.raises(ValueError, match="need a float32 vector"):
        party.client.encode(vector, random)


def test_sizes_are_exact(parties):
    block = parties.encoding.values_per_plaintext
    data_bits = sum(parties.encoding.parameters.coeff_bits[:-1])
    degree = parties.encoding.parameters.poly_degree
    for length, ciphertexts in ((1, 1), (block, 1), (block + 1, 2)):
        encoded = parties.encode(updates(1, length))[0]
        c0 = ciphertexts * data_bits * degree // 8
        c1 = 32 if len(parties.holders) == 1 else c0
        assert len(encoded.body) == parties.server.body_bytes(length) == c0
        assert len(encoded.mask) == parties.server.mask_bytes(length) == c1


def test_equal_updates_and_seeds_give_unrelated_ciphertexts(party):
    vector = np.stack([np.zeros(4000, np.float32)] * 2)
    first, second = (party.client.encode(row, np.random.default_rng(1)) for row in vector)
    assert bytes(first.mask) != bytes(second.mask)
    # two random strings share one byte in 256; five deviations around it
    same = np.mean(np.frombuffer(first.body, np.uint8) == np.frombuffer(second.body, np.uint8))
    assert abs(same - 1 / 256) < 6 * (1 / 256 / len(first.body)) ** 0.5


def test_the_server_cannot_encode_and_holds_no_key_of_an_authority(federation, random):
    for scheme in ("bfv", "ckks"):
        with pytest.raises(UserError, match=r"secure\.key_folder"):
            federation(scheme, "authority").server.encode(updates(1, 3)[0], random)
        with pytest.raises(UserError, match="joint key"):
            build_codec(scheme, 4, keys="committee").encode(updates(1, 3)[0], random)


def test_digests_are_equal_on_all_parties(parties):
    names = {parties.server.digest, parties.client.digest, *(holder.digest for holder in parties.holders)}
    assert len(names) == 1
    assert len(names.pop()) == 32


def test_digests_change_with_every_public_field_and_with_the_key(federation):
    bfv = {"scheme": "bfv", "max_clients": 16}
    ckks = {"scheme": "ckks", "max_clients": 16}
    common = [{"max_clients": 5}, {"bits": 12}, {"value_range": 0.25}, {"keys": "committee"}]
    committee = [{"keys": "committee", "holders": 2}, {"keys": "committee", "smudging_bits": 40}]
    chosen = [bfv, ckks, *({**bfv, **change} for change in [*common, *committee])]
    chosen += [{**ckks, **change} for change in [*common, *committee, {"smudging_bits": 40}]]
    chosen += [{**bfv, "values_per_slot": 1}, {"scheme": "plain", "max_clients": 16}]
    chosen += [{**bfv, "noise": noise_plan(where, variance)} for where in PLACES for variance in (50, 51)]
    chosen += [{**bfv, "noise": noise_plan("clients", 50, norm=0.2)}]
    digests = [build_codec(**options).digest for options in chosen]
    digests += [
        federation(scheme, keys).server.digest
        for scheme in ("bfv", "ckks")
        for keys in ("authority", "committee")
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("keys", ["authority", "committee"])
def test_another_key_of_the_same_settings_is_another_digest(federation, keys):
    first, second = (federation("bfv", keys, max_clients=16, **extra) for extra in ({}, {"bits": 16}))
    assert first.folders != second.folders
    assert build_codec("bfv", 16, keys=keys).digest == build_codec("bfv", 16, keys=keys, bits=16).digest
    assert first.server.digest != second.server.digest


# ------------------------------------------------------------------ discrete noise


@pytest.mark.parametrize("keys", ["authority", "committee"])
def test_noise_of_clients_is_added_exactly_as_drawn(federation, keys):
    """Integers: the opened sum less the sum of the levels is the sum of what every client drew."""
    plan = noise_plan("clients", 50)
    party = federation("bfv", keys, noise=plan)
    vectors = updates(3, 300, deviation=0.004)
    encoded = [
        party.client.encode(vector, np.random.default_rng([0, index]), FastSource(index))
        for index, vector in enumerate(vectors)
    ]
    total = party.aggregate(encoded, 300)
    drawn = sum(plan.draw(300, FastSource(index)) for index in range(3))
    assert drawn.any()
    expected = noiseless(party.encoding.plan, vectors, plan.norm_bound) + drawn
    assert np.array_equal(total.open(party.answers(encoded, total)), expected * party.encoding.plan.step)


@pytest.mark.parametrize("keys", ["authority", "committee"])
def test_noise_of_the_server_is_added_once_before_anything_is_shown(federation, keys):
    plan = noise_plan("server", 50)
    party = federation("bfv", keys, noise=plan)
    vectors = updates(3, 300, deviation=0.004)
    encoded = party.encode(vectors)
    total = party.server.aggregator(300, FastSource(5))
    for update in encoded:
        total.add(update.body)
    first = total.body_sum()
    assert total.body_sum() == first
    answers = party.answers(encoded, total)
    expected = noiseless(party.encoding.plan, vectors, plan.norm_bound) + plan.draw(300, FastSource(5))
    for _ in range(2):
        assert np.array_equal(total.open(answers), expected * party.encoding.plan.step)
    with pytest.raises(ValueError, match="finished"):
        total.add(encoded[0].body)
    assert total.count == 3


@pytest.mark.parametrize("where", PLACES)
def test_unseeded_noise_differs_from_sum_to_sum(federation, where):
    party = federation("bfv", "authority", noise=noise_plan(where, 50))
    vectors = updates(2, 300, deviation=0.004)
    assert not np.array_equal(party.sum(vectors), party.sum(vectors))


# ------------------------------------------------------------------ headroom


def test_more_updates_than_planned_are_refused_and_change_nothing(federation):
    for scheme, keys in itertools.product(("bfv", "ckks"), ("authority", "committee")):
        few = federation(scheme, keys, max_clients=2)
        encoded = few.encode(updates(3, 20))
        total = few.aggregate(encoded[:2], 20)
        before = total._sum.total.copy()
        with pytest.raises(SumError) as refusal:
            total.add(encoded[2].body)
        assert refusal.value.cause == "too_many_clients"
        assert total.count == 2
        assert np.array_equal(total._sum.total, before)


# ------------------------------------------------------------------ the server and malformed bodies


def spoilt(wire, packed: bytes, last: int) -> bytes:
    """Put the prime itself in place of the highest residue of the last polynomial."""
    words = wire.unpack(memoryview(packed)[last * wire.polynomial_bytes :]).copy()
    words[-1, -1] = wire.moduli[-1, 0]
    return bytes(packed[: last * wire.polynomial_bytes]) + wire.pack(words)


def test_a_refused_body_leaves_sum_and_count_as_they_were_bit_by_bit(party):
    block = party.encoding.values_per_plaintext
    length = 3 * block
    encoded = party.encode(updates(3, length, seed=2), seed=2)
    total = party.aggregate(encoded[:2], length)
    before, body, wire = total._sum.total.tobytes(), bytes(encoded[2].body), party.encoding.wire()
    size = wire.polynomial_bytes
    refused = [(body[:keep], "truncated") for keep in (0, 1, size, 2 * size, len(body) - 1)]
    refused += [(body + bytes(more), "oversized") for more in (1, size, 10**6)]
    refused += [(body[: place * size] + b"\xff" * (3 - place) * size, "malformed") for place in range(3)]
    refused += [(spoilt(wire, body, 2), "malformed"), (memoryview(spoilt(wire, body, 2)), "malformed")]
    for bad, cause in refused:
        with pytest.raises(PayloadError) as refusal:
            total.add(bad)
        assert refusal.value.cause == cause
        assert total.count == 2
        assert total._sum.total.tobytes() == before
    total.add(encoded[2].body)
    assert total.count == 3
    opened = total.open(party.answers(encoded, total))
    party.assert_sum(opened, updates(3, length, seed=2), seed=2)


def test_a_fault_in_the_very_first_body_leaves_an_empty_sum(party):
    total = party.server.aggregator(10)
    with pytest.raises(PayloadError):
        total.add(b"\xff" * party.server.body_bytes(10))
    assert total.count == 0
    assert not total._sum.total.any()
    with pytest.raises(SumError) as refusal:
        total.open([b""] * len(party.holders))
    assert refusal.value.cause == "too_few_clients"


@FUZZ
@given(data=st.data())
def test_random_damage_is_refused_or_added_but_never_half(party, data):
    encoded = party.encode(updates(2, 100))
    total = party.aggregate(encoded[:1], 100)
    before = total._sum.total.tobytes()
    body = bytearray(encoded[1].body)
    for offset in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=50)):
        body[offset] = data.draw(st.integers(0, 255))
    refused = None
    try:
        total.add(body)
    except PayloadError as error:
        refused = error
    if refused:
        assert refused.cause == "malformed"
        assert (total.count, total._sum.total.tobytes()) == (1, before)
    else:
        assert total.count == 2
        assert (total._sum.total < party.encoding.wire().moduli).all()


@FUZZ
@given(noise=st.binary(max_size=300))
def test_random_bytes_are_refused_everywhere_with_documented_errors(party, noise):
    total = party.aggregate(party.encode(updates(1, 10)), 10)
    with pytest.raises(PayloadError):
        total.add(noise)
    with pytest.raises(SumError) as refusal:
        total.open([noise] * len(party.holders))
    assert refusal.value.cause == "malformed"
    with pytest.raises(PayloadError):
        party.holders[0].open([noise], total.body_sum(), 10)
    assert total.count == 1


@FUZZ
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_random_answers_of_a_committee_are_recognised(federation, scheme, seed):
    party = federation(scheme, "committee")
    total, wire = party.aggregate(party.encode(updates(1, 10)), 10), party.encoding.wire()
    random = np.random.default_rng(seed)
    answers = [wire.pack(random.integers(0, wire.moduli, wire.shape, np.uint64)) for _ in party.holders]
    with pytest.raises(SumError) as refusal:
        total.open(answers)
    assert refusal.value.cause == "not_a_sum"


@pytest.mark.parametrize("change", [-1, 1])
def test_answers_of_another_number_or_size_are_malformed(party, change):
    encoded = party.encode(updates(2, 10))
    total = party.aggregate(encoded, 10)
    answers = party.answers(encoded, total)
    resized = [*answers[:-1], answers[-1][:-1] if change < 0 else answers[-1] + b"\0"]
    for wrong in (answers[:-1], [*answers, answers[0]], resized):
        with pytest.raises(SumError) as refusal:
            total.open(wrong)
        assert refusal.value.cause == "malformed"
    total.open(answers)


# ------------------------------------------------------------------ holders and masks


def opens(party, masks, total):
    return total.open([holder.open(masks, total.body_sum(), total.length) for holder in party.holders])


def test_masks_of_other_clients_do_not_open_the_sum(parties):
    encoded = parties.encode(updates(4, 60))
    total = parties.aggregate(encoded[:3], 60)
    wrong = {
        "another client's": [encoded[0].mask, encoded[1].mask, encoded[3].mask],
        "one missing": [update.mask for update in encoded[:2]],
        "one alone": [encoded[0].mask],
        "one twice": [encoded[0].mask, encoded[1].mask, encoded[1].mask],
        "one more": [update.mask for update in encoded],
    }
    for masks in wrong.values():
        with pytest.raises(SumError) as refusal:
            opens(parties, masks, total)
        assert refusal.value.cause == "not_a_sum"
    opens(parties, [update.mask for update in encoded[:3]], total)


def test_a_single_coordinate_is_enough_to_recognise_garbage(party):
    """The empty slots are checked too: one slot of garbage would pass now and then."""
    encoded = party.encode(updates(17, 1))
    total = party.aggregate(encoded[:15], 1)
    for left_out in range(15):
        masks = [update.mask for index, update in enumerate(encoded[:15]) if index != left_out]
        with pytest.raises(SumError) as refusal:
            opens(party, [*masks, encoded[16].mask], total)
        assert refusal.value.cause == "not_a_sum"


def test_holders_refuse_malformed_masks(party):
    encoded = party.encode(updates(2, 10))
    total = party.aggregate(encoded, 10)
    mask, holder = bytes(encoded[1].mask), party.holders[0]
    refused = [(mask[:-1], "truncated"), (b"", "truncated"), (mask + b"\0", "oversized")]
    if len(party.holders) > 1:
        refused.append((b"\xff" * len(mask), "malformed"))
    for bad, cause in refused:
        for masks in ([bad, encoded[0].mask], [encoded[0].mask, bad]):
            with pytest.raises(PayloadError) as refusal:
                holder.open(masks, total.body_sum(), 10)
            assert refusal.value.cause == cause
    with pytest.raises(SumError) as none:
        holder.open([], total.body_sum(), 10)
    assert none.value.cause == "too_few_clients"
    with pytest.raises(PayloadError):
        holder.open([mask], total.body_sum() + b"\0", 10)


def test_a_holder_with_another_key_does_not_open(federation):
    for scheme, keys in itertools.product(("bfv", "ckks"), ("authority", "committee")):
        own, other = federation(scheme, keys), federation(scheme, keys, bits=16)
        encoded = own.encode(updates(2, 30))
        total = own.aggregate(encoded, 30)
        masks = [update.mask for update in encoded]
        holders = [*own.holders[:-1], other.holders[-1]]
        with pytest.raises(SumError) as refusal:
            total.open([holder.open(masks, total.body_sum(), 30) for holder in holders])
        assert refusal.value.cause == "not_a_sum"


def test_one_client_under_another_key_spoils_the_sum_visibly(federation):
    for scheme, keys in itertools.product(("bfv", "ckks"), ("authority", "committee")):
        own, other = federation(scheme, keys), federation(scheme, keys, bits=16)
        encoded = [*own.encode(updates(2, 30)), *other.encode(updates(1, 30))]
        total = own.aggregate(encoded, 30)
        with pytest.raises(SumError) as refusal:
            opens(own, [update.mask for update in encoded], total)
        assert refusal.value.cause == "not_a_sum"


def test_no_length_without_coordinates(party):
    for length in (0, -1):
        with pytest.raises(ValueError, match=f"length={length}"):
            party.server.aggregator(length)


def test_plain_and_encrypted_codecs_never_share_a_digest():
    assert build_codec("plain", 3).digest == hashlib.sha256(b"fedpriv-plain-2").digest()
