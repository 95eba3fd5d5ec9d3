"""An audit's canary clients inside another client's envelope: each is rounded and bounded by itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.federated.clipping import clipped_canaries
from fedpriv.he.authority import DEGREE
from fedpriv.he.bfv import IntegerEncoding
from fedpriv.he.packing import plan_packing, unpack_sum
from fedpriv.he.parameters import SealParameters
from fedpriv.he.registry import build_codec
from fedpriv.privacy.canaries import Canaries, SparseUpdate
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.noise import FastSource
from fedpriv.privacy.sum_plan import plan_sum

LENGTH, BITS, RANGE = 60, 10, 0.5
STEP = RANGE / 511
CLIP = 0.4


def noisy(where="server"):
    return plan_sum(
        clipping_norm=CLIP, step=STEP, dimension=LENGTH, contributors=2, rounds=2, delta=1e-5,
        noise_multiplier=1.0, where=where,
    )  # fmt: skip


def encoding(noise):
    bounds = (noise.client_noise_bound, noise.server_noise_bound)
    packing = plan_packing(BITS, 3, 1, RANGE, DEGREE, 58, *bounds)
    return IntegerEncoding(packing, SealParameters(packing.plain_modulus, DEGREE, (58, 51)), noise)


def sent(made, vector):
    """The integers that an envelope holds, noise by the server, in steps."""
    slots = np.concatenate(
        [item for item, _ in made.items_of(vector, np.random.default_rng(5), FastSource(1))]
    )
    # the offset of the server's noise is not in it
    return np.rint(unpack_sum(slots, made.plan, 1, len(vector)) / made.step).astype(int)


def test_each_canary_has_the_bound_of_a_client_and_their_sum_far_more():
    level = ClientLevel(noisy())
    canaries = Canaries.plant(20, 0, LENGTH, 1)
    carried = clipped_canaries(level, canaries)
    integers = sent(encoding(level.plan).carrying(carried), np.zeros(LENGTH, np.float32))
    norms = [np.linalg.norm(integers[places]) for places, _ in carried]
    assert len(norms) == canaries.included.sum() > 5
    assert max(norms) <= level.plan.norm_bound
    assert min(norms) > 0.95 * CLIP / STEP
    assert np.linalg.norm(integers) > 2 * level.plan.norm_bound
    others = np.setdiff1d(np.arange(LENGTH), np.concatenate([places for places, _ in carried]))
    assert not integers[others].any()


def test_a_canary_that_was_not_clipped_is_refused_as_any_update_is():
    loud = Canaries.plant(20, 0, LENGTH, 1).updates(CLIP)
    with pytest.raises(ValueError, match="clip it"):
        sent(encoding(noisy()).carrying(loud), np.zeros(LENGTH, np.float32))


@given(st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_without_a_canary_the_integers_differ_in_its_coordinates_by_no_more_than_a_clients(seed, number):
    """Also where the range of an update cuts their sum: what a neighbour changes is what is accounted."""
    noise, random = noisy(), np.random.default_rng(seed)
    # whole steps, so that nothing is drawn; and few coordinates, so that sums leave the range
    vector = whole(np.where(random.random(LENGTH) < 0.05, random.choice([-0.28, 0.28], LENGTH), 0.0))
    vector *= np.linalg.norm(vector) <= CLIP
    places = np.array_split(random.permutation(LENGTH), 30)
    carried = [SparseUpdate(each, whole(random.choice([-0.28, 0.28], 2))) for each in places]
    left_out = carried.pop(number % 30)
    with_it, without = (
        sent(encoding(noise).carrying(each), vector) for each in ([*carried, left_out], carried)
    )
    apart = with_it - without
    assert 0 < np.linalg.norm(apart) <= noise.norm_bound
    assert not np.delete(apart, left_out.places).any()
    assert np.abs(with_it).max() <= 511


@pytest.mark.parametrize("seed", range(5))
def test_guarantee_a_canary_in_or_out_or_another_own_update_moves_no_other_canarys_rounding(seed):
    """15 canaries of 4 coordinates, each of 204.4 steps: all is drawn, and some draws are refused."""
    noise = noisy()
    made, random = encoding(noise), np.random.default_rng(seed)
    carried = clipped_canaries(ClientLevel(noise), Canaries.plant(15, 0, LENGTH, seed))
    nothing = np.zeros(LENGTH, np.float32)
    everybody = sent(made.carrying(carried), nothing)
    for index, left_out in enumerate(carried):
        without = sent(made.carrying(carried[:index] + carried[index + 1 :]), nothing)
        alone = sent(made.carrying([left_out]), nothing)
        assert np.array_equal(everybody - without, alone)
        assert np.linalg.norm(alone) <= noise.norm_bound
    # the carrier's own update neither, and none of them moves its rounding
    vector = random.normal(size=LENGTH).astype(np.float32)
    vector *= np.float32(0.99 * CLIP / np.linalg.norm(vector) / 4)
    own = sent(made.carrying([]), vector)
    assert np.array_equal(sent(made.carrying(carried), vector) - everybody, own)


def whole(values):
    return (np.rint(values / STEP) * STEP).astype(np.float32)


def test_a_sum_beyond_the_range_of_an_update_is_cut_to_it():
    made = encoding(noisy())
    vector, places = np.zeros(LENGTH, np.float32), np.array([7])
    vector[7] = 0.39
    for sign in (1.0, -1.0):
        loud = SparseUpdate(places, np.array([sign * 0.39], np.float32))
        integers = sent(made.carrying([loud]), np.float32(sign) * vector)
        assert integers[7] == sign * 511


def test_carrying_changes_neither_digest_nor_the_codec_it_is_asked_of():
    codec = build_codec("bfv", 3, bits=BITS, value_range=RANGE, noise=noisy("clients"))
    committee = build_codec("bfv", 3, keys="committee", bits=BITS, value_range=RANGE, noise=noisy("clients"))
    carried = clipped_canaries(ClientLevel(noisy()), Canaries.plant(20, 0, LENGTH, 1))
    for each in (codec, committee):
        made = each.carrying(carried)
        assert made.digest == each.digest
        assert made._encoding._carried
        assert not each._encoding._carried


@pytest.mark.parametrize("scheme", ["plain", "bfv", "ckks"])
def test_what_adds_no_noise_carries_nobody(scheme):
    with pytest.raises(ValueError, match=r"carries no other|no noise that could drown"):
        build_codec(scheme, 3).carrying([])
