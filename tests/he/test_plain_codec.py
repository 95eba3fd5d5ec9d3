import struct

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.codec import PayloadError, SumError
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.he.plain import PlainCodec


@pytest.fixture
def codec():
    return PlainCodec(max_clients=3)


def test_the_payload_is_little_endian_float32(codec, random):
    vector = np.array([1.5, -2.0, 0.1], np.float32)
    encoded = codec.encode(vector, random)
    assert encoded.payload == struct.pack("<3f", 1.5, -2.0, 0.1)
    assert encoded.clipped == 0
    assert codec.max_payload_bytes(3) == 12


def test_the_sum_is_the_float64_sum_in_the_order_given(codec, random):
    vectors = np.array([[1e8, 1.0], [1.0, 1e-8], [-1e8, 3.0]], np.float32)
    total = codec.aggregator(2)
    for vector in vectors:
        total.add(memoryview(codec.encode(vector, random).payload))
    expected = [sum(float(value) for value in column) for column in vectors.T]
    assert total.count == 3
    assert codec.decoder(1).decode_sum(total.result(), 3, 2).tolist() == expected


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (bytes(7), "truncated"),
        (b"", "truncated"),
        (bytes(9), "oversized"),
        (struct.pack("<2f", 1, float("nan")), "non_finite"),
        (struct.pack("<2f", float("inf"), 1), "non_finite"),
    ],
)
def test_a_refused_payload_leaves_the_sum_unchanged(codec, payload, cause):
    total = codec.aggregator(2)
    total.add(struct.pack("<2f", 3, 4))
    with pytest.raises(PayloadError) as refusal:
        total.add(payload)
    assert refusal.value.cause == cause
    assert total.count == 1
    assert total.result() == struct.pack("<2d", 3, 4)


def test_non_finite_updates_are_not_sent(codec, random):
    with pytest.raises(NonFiniteUpdate):
        codec.encode(np.array([np.nan], np.float32), random)


def test_an_empty_sum_has_no_result(codec):
    with pytest.raises(ValueError, match="nothing was added"):
        codec.aggregator(2).result()


@pytest.mark.parametrize(
    ("payload", "count", "cause"),
    [
        (bytes(16), 1, "too_few_clients"),
        (bytes(16), 4, "too_many_clients"),
        (bytes(15), 2, "malformed"),
        (struct.pack("<2d", 1, float("nan")), 2, "not_a_sum"),
    ],
)
def test_sums_outside_the_limits_are_refused(codec, payload, count, cause):
    with pytest.raises(SumError) as refusal:
        codec.decoder(2).decode_sum(payload, count, 2)
    assert refusal.value.cause == cause


@pytest.mark.parametrize("min_clients", [0, 4])
def test_a_minimum_outside_the_federation_is_refused(codec, min_clients):
    with pytest.raises(UserError, match=f"secure.min_clients={min_clients}"):
        codec.decoder(min_clients)


def test_updates_without_coordinates_are_refused(codec):
    with pytest.raises(ValueError, match="length=0"):
        codec.aggregator(0)
