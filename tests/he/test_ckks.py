"""Sums of floats: precision, what is added before a sum leaves its holders, and the range."""

import numpy as np
import pytest
from scipy import stats
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.ckks import FloatEncoding
from fedpriv.he.parameters import seal_context
from fedpriv.he.registry import build_codec
from fedpriv.he.sealio import SealBuffer
from tests.he.parties import lift, phase, updates

KEYS = ["authority", "committee"]


@pytest.fixture(params=KEYS)
def party(request, federation):
    return federation("ckks", request.param)


def openings(party, encoded, length, count):
    total = party.aggregate(encoded, length)
    return np.stack([total.open(party.answers(encoded, total)) for _ in range(count)])


def test_two_openings_of_one_sum_differ_by_the_stated_deviation(party):
    """Nothing exact leaves the holders; what is added is fresh every time."""
    length = party.encoding.values_per_plaintext
    first, second = openings(party, party.encode(updates(2, length)), length, 2)
    deviation = party.encoding.release_deviation
    assert (first - second).std() == pytest.approx(np.sqrt(2) * deviation, rel=0.1)
    assert deviation == 0.5 / 2**16
    # answers are rounded to a grid, on which two may meet
    assert np.mean(first == second) < 0.01


def test_the_error_of_a_release_has_the_stated_deviation_and_is_gaussian(party):
    length = party.encoding.values_per_plaintext
    vectors = updates(3, length)
    vectors = np.clip(vectors, -0.5, 0.5)
    error = openings(party, party.encode(vectors), length, 1)[0] - vectors.sum(axis=0, dtype=np.float64)
    scaled = error / party.encoding.release_deviation
    assert scaled.std() == pytest.approx(1, rel=0.1)
    assert abs(scaled.mean()) < 6 / np.sqrt(length)
    assert stats.kstest(scaled, "norm").pvalue > 1e-6


def test_the_mean_of_many_openings_comes_closer_as_the_root_of_their_number(party):
    """Why key holders open a round once: 16 openings would be worth two bits."""
    length = 1000
    vectors = updates(2, length)
    vectors = np.clip(vectors, -0.5, 0.5)
    drawn = openings(party, party.encode(vectors), length, 16)
    exact = vectors.sum(axis=0, dtype=np.float64)
    one, mean = (drawn[0] - exact).std(), (drawn.mean(axis=0) - exact).std()
    assert one / mean == pytest.approx(4, rel=0.2)


def test_what_is_added_hides_the_ciphertexts_noise_by_so_many_bits(party):
    """Measured in slots: deviation of the release over that of the noise that it hides, at most 2^-56."""
    wire, encoding = party.encoding.wire(), party.encoding
    encoded = party.encode(np.zeros((16, 100), np.float32))
    coefficients = lift(phase(party, encoded), wire.moduli)
    # real parts of roots of unity: a slot has N / 2 times the variance of a coefficient
    slot_deviation = np.std([float(value) for value in coefficients]) * np.sqrt(8192 / 2)
    added = encoding.release_deviation * encoding.scale
    assert added > 2.0**56 * slot_deviation
    # nor is it wasted: 12 deviations of a bound, rounded up to a power of two where it is uniform
    assert added < 2.0**61 * slot_deviation


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("value_range", [1e-6, 0.01, 1.0, 1e3, 1e30])
def test_precision_is_relative_to_the_range_and_costs_the_same(federation, keys, value_range):
    scaled = federation("ckks", keys, value_range=value_range)
    assert scaled.encoding.parameters == federation("ckks", keys).encoding.parameters
    vectors = (np.random.default_rng(1).uniform(-1, 1, (2, 60)) * value_range).astype(np.float32)
    scaled.assert_sum(scaled.sum(vectors), vectors)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize(
    ("clients", "bits", "smudging"), [(1, 2, 0), (2, 8, 10), (16, 24, 40), (1000, 24, 80)]
)
def test_every_setting_that_is_accepted_works(federation, keys, clients, bits, smudging):
    party = federation("ckks", keys, max_clients=clients, bits=bits, smudging_bits=smudging)
    vectors = np.resize(np.array([0.5, -0.5, 0.1], np.float32), (min(clients, 4), 30))
    party.assert_sum(party.sum(vectors), vectors)


def test_full_federations_do_not_wrap_around(federation):
    """All at one end, and as many as planned: the largest sum there is."""
    for keys in KEYS:
        party = federation("ckks", keys, max_clients=100, bits=8)
        vectors = np.full((100, 10), 0.5, np.float32)
        party.assert_sum(party.sum(vectors), vectors)


@pytest.mark.parametrize(
    ("slots", "length", "accepted"),
    [
        ([1.9, -1.9], 2, True),
        ([2.1, 0.0], 2, False),
        ([0.0, -2.1], 2, False),
        ([0.1, 0.1, 0.0, 0.1], 3, False),
        ([0.1, 0.1, 0.0], 3, True),
    ],
)
def test_slots_beyond_the_sum_or_in_the_padding_are_refused(slots, length, accepted):
    """Slots hold coordinates / value_range: two updates reach 2."""
    encoding = FloatEncoding(4, 16, 0.5, 56)
    plaintext = sealapi.Plaintext()
    sealapi.CKKSEncoder(seal_context(encoding.parameters)).encode(slots, encoding.wire()._scale, plaintext)
    with SealBuffer() as buffer:
        if accepted:
            found = encoding.values(buffer, plaintext, 2, length)
            assert np.allclose(found, 0.5 * np.array(slots[:length]), atol=1e-9)
        else:
            with pytest.raises(ValueError, match="not a sum of 2 updates"):
                encoding.values(buffer, plaintext, 2, length)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bits": 1}, r"secure\.bits=1"),
        ({"bits": 25}, r"secure\.bits=25"),
        ({"max_clients": 0}, r"federation\.clients=0"),
        ({"max_clients": 1001}, r"federation\.clients=1001"),
        ({"value_range": 0.0}, r"secure\.value_range=0"),
        ({"value_range": float("nan")}, r"secure\.value_range=nan"),
        ({"value_range": float("inf")}, r"secure\.value_range=inf"),
        ({"smudging_bits": 81}, r"secure\.smudging_bits=81"),
        ({"smudging_bits": -1}, r"secure\.smudging_bits=-1"),
    ],
)
@pytest.mark.parametrize("keys", KEYS)
def test_values_out_of_their_range_are_named(options, named, keys):
    with pytest.raises(UserError, match=named):
        build_codec(**{"scheme": "ckks", "max_clients": 4, "keys": keys, **options})


def test_what_no_modulus_carries_is_refused_with_the_fields():
    with pytest.raises(
        UserError, match=r"secure\.bits=24 with secure\.smudging_bits=140.*too long for 128-bit"
    ):
        FloatEncoding(1000, 24, 0.5, 140)
