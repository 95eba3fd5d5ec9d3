"""Additive key shares: what some holders, clients and the server together can read, by trying."""

import math

import numpy as np
import pytest
from scipy import stats
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.codec import PayloadError, SumError
from fedpriv.he.committee import CommitteeCodec, plan_committee
from fedpriv.he.noise_bounds import public_key_noise
from fedpriv.he.packing import pack, quantise
from fedpriv.he.parameters import data_primes, seal_context
from fedpriv.he.polynomial_sum import PolynomialSum
from fedpriv.he.registry import build_codec
from fedpriv.he.ring import Ring, add, multiply, negate
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.selective import select
from fedpriv.he.wire import CiphertextWire, dump_plaintext
from tests.he.parties import lift, masks_sum, noise, phase, polynomial, secret_of, updates

PAIRS = [(0, 1), (0, 2), (1, 2)]


@pytest.fixture(scope="session")
def party(federation):
    return federation("bfv", "committee")


@pytest.fixture(scope="module", params=["bfv", "ckks"])
def either(request, federation):
    return federation(request.param, "committee")


def slots_of(party, residues):
    with SealBuffer() as buffer:
        return dump_plaintext(buffer, party.encoding.from_phase(buffer, residues), party.encoding.plan.slots)


def partial_phase(party, body, mask, numbers):
    """Return c0 + c1 (the sum of these holders' shares), in coefficients and without smudging."""
    wire, ring = party.encoding.wire(), Ring(party.encoding.parameters)
    secret = np.zeros(wire.shape, np.uint64)
    for number in numbers:
        add(secret, party.holders[number]._share.secret, wire.moduli)
    with SealBuffer() as buffer:
        total = ring.times(buffer, wire.unpack(mask), ring.factor(buffer, secret), ntt=False)
    add(total, wire.unpack(body), wire.moduli)
    return total


def assert_tells_nothing(party, residues, levels):
    """The decoded slots are no sum, uniform, and independent of the message they would hold."""
    encoding, t = party.encoding, party.encoding.parameters.plain_modulus
    with SealBuffer() as buffer:
        plaintext = encoding.from_phase(buffer, residues)
        with pytest.raises(ValueError, match="not a sum"):
            encoding.values(buffer, plaintext, 1, encoding.values_per_plaintext)
    slots = slots_of(party, residues).astype(np.float64) / t
    bins = (slots * 16).astype(int)
    assert stats.chisquare(np.bincount(bins, minlength=16)).pvalue > 1e-7
    message = pack(levels, encoding.plan).astype(np.float64)
    assert abs(np.corrcoef(slots, message)[0, 1]) < 6 / math.sqrt(len(slots))
    for digit in range(encoding.plan.values_per_slot):
        positive = levels[digit :: encoding.plan.values_per_slot] > encoding.plan.offset
        table = np.stack([np.bincount(bins[positive == side], minlength=16) for side in (True, False)])
        assert stats.chi2_contingency(table).pvalue > 1e-7


@pytest.fixture(scope="module")
def full(party):
    """One update that fills a plaintext, its ciphertext and levels."""
    vector = updates(1, party.encoding.values_per_plaintext, deviation=0.2)
    encoded = party.encode(vector)[0]
    levels, _ = quantise(vector[0], party.encoding.plan, np.random.default_rng([0, 0]))
    return encoded, levels


# ------------------------------------------------------------------ collusions


@pytest.mark.parametrize("numbers", [*PAIRS, (0,), (1,), (2,)])
def test_all_holders_but_one_with_the_ciphertexts_read_nothing(party, full, numbers):
    encoded, levels = full
    assert_tells_nothing(party, partial_phase(party, encoded.body, encoded.mask, numbers), levels)


def test_all_holders_read_exactly_what_was_encrypted(party, full):
    """So that the attempts above are known to fail for want of a share and nothing else."""
    encoded, levels = full
    found = slots_of(party, partial_phase(party, encoded.body, encoded.mask, (0, 1, 2)))
    assert np.array_equal(found, pack(levels, party.encoding.plan))


@pytest.mark.parametrize("numbers", PAIRS)
def test_two_answers_do_not_open_a_sum_whatever_stands_for_the_third(either, numbers):
    encoded = either.encode(updates(3, 200))
    total = either.aggregate(encoded, 200)
    answers = either.answers(encoded, total)
    missing = ({0, 1, 2} - set(numbers)).pop()
    size = len(answers[0])
    for instead in (bytes(size), answers[numbers[0]], either.answers(encoded[:2], total)[missing]):
        tried = list(answers)
        tried[missing] = instead
        with pytest.raises(SumError) as refusal:
            total.open(tried)
        assert refusal.value.cause == "not_a_sum"
    with pytest.raises(SumError) as refusal:
        total.open([answers[number] for number in numbers])
    assert refusal.value.cause == "malformed"


def test_the_server_with_all_clients_but_one_does_not_read_the_last_ones_ciphertext(party, full):
    """What clients have: the joint public key and their own updates; what it can try with them."""
    victim, levels = full
    wire, context = party.encoding.wire(), seal_context(party.encoding.parameters)
    ring = Ring(party.encoding.parameters)
    others = party.encode(updates(3, party.encoding.values_per_plaintext, seed=4), seed=4)
    body, mask = wire.unpack(victim.body), wire.unpack(victim.mask)
    attempts = {"as if c1 were zero": body}
    # keys of its own, and the public key's polynomials in place of the secret one
    public = party.client._joint.public
    with SealBuffer() as buffer:
        b, a = CiphertextWire(party.encoding.parameters, level="key").split(buffer, public)
        made = sealapi.KeyGenerator(context).secret_key()
        words = np.frombuffer(buffer.dump(made, party.encoding.parameters.key_bytes), "<u8")
        own = words[-3 * 8192 :].reshape(3, -1)[:-1]
        for name, key in (("own", own), ("b", b[:-1]), ("a", a[:-1])):
            product = ring.times(buffer, mask, ring.factor(buffer, np.ascontiguousarray(key)), ntt=False)
            add(product, body, wire.moduli)
            attempts[name] = product
    # differences with ciphertexts whose plaintexts are known
    for number, other in enumerate(others):
        difference = negate(wire.unpack(polynomial(wire, other.body, 0)), wire.moduli)
        add(difference, body, wire.moduli)
        attempts[f"less client {number}"] = difference
    for residues in attempts.values():
        assert_tells_nothing(party, residues, levels)


def test_an_answer_for_the_sum_opens_no_single_update(party, full):
    """The holders' answers to the sum, put to one client's body: the masks of the others are missing."""
    victim, levels = full
    others = party.encode(updates(2, party.encoding.values_per_plaintext, seed=6), seed=6)
    encoded = [victim, *others]
    total = party.aggregate(encoded, party.encoding.values_per_plaintext)
    answers = party.answers(encoded, total)
    alone = party.aggregate([victim], party.encoding.values_per_plaintext)
    with pytest.raises(SumError) as refusal:
        alone.open(answers)
    assert refusal.value.cause == "not_a_sum"
    wire = party.encoding.wire()
    residues = wire.unpack(victim.body).copy()
    for answer in answers:
        add(residues, wire.unpack(answer), wire.moduli)
    assert_tells_nothing(party, residues, levels)


def divided(party, answer, c1):
    """Return answer / c1 in the ring, as integers: the share, were there no smudging."""
    ring = Ring(party.encoding.parameters)
    with SealBuffer() as buffer:
        above, below = ring.to_ntt(buffer, answer), ring.to_ntt(buffer, c1)
        inverse = np.array(
            [[pow(int(v), -1, int(p)) for v in row] for row, p in zip(below, ring.moduli[:, 0], strict=True)],
            np.uint64,
        )
        return np.array(
            lift(ring.from_ntt(buffer, multiply(above, inverse, ring.moduli)), ring.moduli), object
        )


def test_an_answer_does_not_show_the_share_that_made_it(party):
    """Without smudging one division gives the share; with it, nothing that is ternary."""
    encoded = party.encode(updates(2, 100))
    total = party.aggregate(encoded, 100)
    wire, ring = party.encoding.wire(), Ring(party.encoding.parameters)
    c1 = masks_sum(party, encoded)
    share = party.holders[0]._share.secret
    with SealBuffer() as buffer:
        bare = ring.times(buffer, c1, ring.factor(buffer, share), ntt=False)
        expected = lift(ring.from_ntt(buffer, share), ring.moduli)
    assert divided(party, bare, c1).tolist() == expected
    answer = wire.unpack(party.answers(encoded, total)[0])
    q = math.prod(int(prime) for prime in wire.moduli[:, 0])
    small = [value for value in divided(party, answer, c1) if abs(value) < q // 2**20]
    # uniform values lie in 2^-19 of the range with that probability
    assert len(small) <= 2


def test_the_guarantee_ends_where_a_client_sends_a_mask_of_its_choosing_to_a_colluding_server(party):
    """Stated in the module: ciphertexts are not proven honest. This test documents what that costs.

    With (0, q / 3) among honest ciphertexts the opened phase is the sum plus q / 3 times the joint key. Where
    the sum is known to be zero, in the padding, the key stands there modulo 3; another factor gives the rest.
    """
    wire, ring = party.encoding.wire(), Ring(party.encoding.parameters)
    encoded = party.encode(updates(3, 100))
    q = math.prod(int(prime) for prime in wire.moduli[:, 0])
    factor = 8
    chosen = np.zeros(wire.shape, np.uint64)
    chosen[:, 0] = [q // factor % int(prime) for prime in wire.moduli[:, 0]]
    masks = [*(update.mask for update in encoded), wire.pack(chosen)]
    opened = np.zeros(wire.shape, np.uint64)
    for holder in party.holders:
        add(opened, wire.unpack(holder.open(masks, b"", 100)), wire.moduli)
    for update in encoded:
        add(opened, wire.unpack(update.body), wire.moduli)
    read = [(factor * value + q // 2) // q for value in lift(opened, wire.moduli)]
    with SealBuffer() as buffer:
        key = lift(ring.from_ntt(buffer, secret_of(party)), wire.moduli)
    padding = slice(100, None)
    assert [value % factor for value in read[padding]] == [value % factor for value in key[padding]]
    # an honest server refuses the sum: nothing of it reaches a model
    total = party.aggregate(encoded, 100)
    total.add(bytes(wire.polynomial_bytes))
    with pytest.raises(SumError) as refusal:
        total.open([holder.open(masks, b"", 100) for holder in party.holders])
    assert refusal.value.cause == "not_a_sum"


# ------------------------------------------------------------------ smudging


def test_the_same_request_is_answered_with_fresh_smudging(either):
    encoded = either.encode(updates(2, 100))
    total = either.aggregate(encoded, 100)
    first, second = (either.answers(encoded, total) for _ in range(2))
    wire = either.encoding.wire()
    width = either.client.smudge_log2
    for one, other in zip(first, second, strict=True):
        difference = negate(wire.unpack(one), wire.moduli)
        add(difference, wire.unpack(other), wire.moduli)
        values = np.array(lift(difference, wire.moduli), object)
        assert max(abs(values)) < 2**width
        # the difference of two uniform numbers has the deviation 2^w / sqrt(6)
        assert np.std(values.astype(float)) == pytest.approx(2.0**width / math.sqrt(6), rel=0.05)


def test_what_an_answer_adds_is_uniform_on_its_stated_width(either):
    """Found with the share itself: the answer less c1 s_j."""
    encoded = either.encode(updates(2, 100))
    wire, ring = either.encoding.wire(), Ring(either.encoding.parameters)
    total, width = either.aggregate(encoded, 100), either.client.smudge_log2
    c1, ntt = masks_sum(either, encoded), either.server.scheme == "ckks"
    for holder, answer in zip(either.holders, either.answers(encoded, total), strict=True):
        with SealBuffer() as buffer:
            exact = ring.times(buffer, c1, ring.factor(buffer, holder._share.secret), ntt)
        rest = negate(exact, wire.moduli)
        add(rest, wire.unpack(answer), wire.moduli)
        values = lift(rest, wire.moduli)
        half = 1 << (width - 1)
        assert -half <= min(values)
        assert max(values) < half
        counts = np.bincount([(value + half) >> (width - 4) for value in values], minlength=16)
        assert stats.chisquare(counts).pvalue > 1e-7


def test_what_the_server_sees_hides_the_noise_and_leaves_room_to_round(party):
    """The noise that the server sees is 2^56 times the ciphertexts' own, and rounding still has room."""
    encoded = party.encode(updates(16, 100))
    total, wire = party.aggregate(encoded, 100), party.encoding.wire()
    q = math.prod(int(prime) for prime in wire.moduli[:, 0])
    room = q / (2 * party.encoding.parameters.plain_modulus)
    own = np.abs(noise(party, phase(party, encoded))).max()
    largest = 0.0
    for _ in range(20):
        seen = total._sum.total[0].copy()
        for answer in party.answers(encoded, total):
            add(seen, wire.unpack(answer), wire.moduli)
        spread = np.abs(noise(party, seen))
        # even the median coefficient is hidden that much better than the worst one was noisy
        assert np.median(spread) > 2.0**56 * own
        largest = max(largest, spread.max())
    bound = public_key_noise(16, 8192, 3) + 3 * 2.0 ** (party.client.smudge_log2 - 1)
    assert largest < bound <= room


# ------------------------------------------------------------------ planning and full federations


@pytest.mark.parametrize("holders", [2, 3, 16])
@pytest.mark.parametrize(
    ("bits", "clients", "smudging"), [(2, 1, 0), (16, 16, 56), (16, 1000, 80), (24, 1000, 56)]
)
def test_noise_smudging_and_plaintext_fit_the_modulus(holders, bits, clients, smudging):
    """By integers: B + N 2^(w-1) <= q / 2t with the primes that SEAL really takes."""
    plan, parameters, width = plan_committee(holders, bits, clients, None, 0.5, smudging)
    noise_bound = math.ceil(public_key_noise(clients, 8192, holders))
    q = math.prod(int(prime) for prime in data_primes(parameters))
    assert 2 * plan.plain_modulus * (noise_bound + holders * 2 ** (width - 1)) <= q
    assert 2 ** (width - 1) >= 2**smudging * public_key_noise(clients, 8192, holders)
    assert clients * (2**bits - 1) < 2**plan.digit_bits
    assert 2 ** (plan.values_per_slot * plan.digit_bits + 1) <= plan.plain_modulus


def test_the_packing_that_costs_fewest_bytes_is_taken():
    chosen = build_codec("bfv", 16, keys="committee")
    sizes = [build_codec("bfv", 16, keys="committee", values_per_slot=k).body_bytes(10**6) for k in (1, 2)]
    assert chosen.body_bytes(10**6) == min(sizes)


def test_what_no_modulus_carries_is_refused_by_its_fields():
    with pytest.raises(
        UserError, match=r"secure\.smudging_bits=150, secure\.holders=3.*federation\.clients=16"
    ):
        plan_committee(3, 16, 16, None, 0.5, 150)
    with pytest.raises(UserError, match=r"secure\.holders=1"):
        CommitteeCodec(build_codec("bfv", 4, keys="committee")._encoding, 1, 60)


@pytest.mark.parametrize(
    ("clients", "bits", "holders"),
    [(1, 2, 2), (2, 24, 3), (60, 24, 5)]
    + [pytest.param(*case, marks=pytest.mark.slow) for case in ((1000, 24, 3), (1000, 16, 16))],
)
def test_full_federations_at_both_ends_of_the_range_are_exact(federation, clients, bits, holders):
    full = federation("bfv", "committee", max_clients=clients, bits=bits, holders=holders)
    top, plan = (1 << (bits - 1)) - 1, full.encoding.plan
    ends = np.resize(np.array([0.5, -0.5, -0.5], np.float32), (1, 3 * plan.values_per_slot))
    total = full.sum(np.repeat(ends, clients, axis=0))
    assert np.array_equal(total, np.sign(ends[0]).astype(np.int64) * top * clients * plan.step)


@pytest.mark.parametrize(
    ("bits", "smudging", "per_slot"), [(2, 0, None), (8, 10, 3), (16, 80, 1), (24, 80, None)]
)
def test_every_setting_that_is_accepted_works(federation, bits, smudging, per_slot):
    options = {"bits": bits, "smudging_bits": smudging, "values_per_slot": per_slot}
    made = federation("bfv", "committee", max_clients=10, **options)
    vectors = updates(3, 50)
    made.assert_sum(made.sum(vectors), vectors)


# ------------------------------------------------------------------ masks that holders would refuse


def judge(check, *given):
    """What a check says of a mask: the cause of its refusal, or None."""
    try:
        check(*given)
    except PayloadError as refused:
        return refused.cause
    return None


def spoilt_masks(party, mask):
    """The same mask with one residue at or above its prime, in several places, and of other sizes."""
    wire = party.encoding.wire()
    size = wire.polynomial_bytes
    last = len(mask) // size - 1
    for index, row, column in ((0, 0, 0), (last, len(wire.moduli) - 1, wire.shape[1] - 1), (last, 0, 17)):
        words = wire.unpack(polynomial(wire, mask, index))
        words[row, column] = wire.moduli[row, 0]
        yield mask[: index * size] + wire.pack(words) + mask[(index + 1) * size :], "malformed"
    yield b"\xff" * len(mask), "malformed"
    yield mask[:-1], "truncated"
    yield b"", "truncated"
    yield mask + b"\0", "oversized"


def test_the_server_refuses_exactly_the_masks_that_a_holder_refuses(either):
    length = either.encoding.values_per_plaintext + 1
    update = either.encode(updates(1, length))[0]
    honest = bytes(update.mask)
    assert judge(either.server.check_mask, honest, length) is None
    assert judge(either.holders[0].open, [honest], b"", length) is None
    for mask, cause in spoilt_masks(either, honest):
        assert judge(either.server.check_mask, mask, length) == cause
        assert judge(either.holders[0].open, [honest, mask], b"", length) == cause
    # the largest residues there are
    wire = either.encoding.wire()
    most = np.broadcast_to(wire.moduli - np.uint64(1), wire.shape)
    assert judge(either.server.check_mask, wire.pack(most) * 2, length) is None


def test_a_mask_is_judged_without_a_sum_of_masks(party, monkeypatch):
    def kept(*given):
        raise AssertionError("a sum is made")

    length = 2 * party.encoding.values_per_plaintext
    mask = party.encode(updates(1, length))[0].mask
    monkeypatch.setattr(PolynomialSum, "__init__", kept)
    party.server.check_mask(memoryview(mask), length)


def test_a_selective_codec_judges_the_mask_of_what_is_selected(party):
    selected = np.arange(50) % 2 == 0
    codec = select(party.server, selected)
    mask = bytes(codec.encode(updates(1, 50)[0], np.random.default_rng(0)).mask)
    assert judge(codec.check_mask, mask, 50) is None
    assert judge(codec.check_mask, b"\xff" * len(mask), 50) == "malformed"
    assert judge(codec.check_mask, mask[:-1], 50) == "truncated"
    with pytest.raises(ValueError, match="selection is for 50"):
        codec.check_mask(mask, 49)


def test_an_authoritys_mask_is_any_seed_of_the_right_size(federation):
    codec = federation("bfv", "authority").server
    assert judge(codec.check_mask, b"\xff" * codec.mask_bytes(9), 9) is None
    assert judge(codec.check_mask, b"", 9) == "truncated"
    assert judge(codec.check_mask, bytes(codec.mask_bytes(9) + 1), 9) == "oversized"
