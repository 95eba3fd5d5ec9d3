import struct

import numpy as np
import pytest

from fedpriv.he.codec import PayloadError, SumError
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.he.plain import PlainCodec


@pytest.fixture
def codec():
    return PlainCodec(max_clients=3)


def test_the_body_is_little_endian_float32_and_there_is_no_mask(codec, random):
    vector = np.array([1.5, -2.0, 0.1], np.float32)
    encoded = codec.encode(vector, random)
    assert encoded.body == struct.pack("<3f", 1.5, -2.0, 0.1)
    assert (encoded.mask, encoded.clipped) == (b"", 0)
    assert (codec.mask_bytes(3), codec.body_bytes(3)) == (0, 12)


def test_the_sum_is_the_float64_sum_in_the_order_given(codec, random):
    vectors = np.array([[1e8, 1.0], [1.0, 1e-8], [-1e8, 3.0]], np.float32)
    total = codec.aggregator(2)
    for vector in vectors:
        total.add(memoryview(codec.encode(vector, random).body))
    expected = [sum(float(value) for value in column) for column in vectors.T]
    assert total.count == 3
    assert total.body_sum() == b""
    assert total.open(()).tolist() == expected


def test_an_opened_sum_does_not_change_with_what_is_added_later(codec):
    total = codec.aggregator(1)
    total.add(struct.pack("<f", 1))
    opened = total.open(())
    total.add(struct.pack("<f", 1))
    assert opened.tolist() == [1.0]
    assert total.open(()).tolist() == [2.0]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (bytes(7), "truncated"),
        (b"", "truncated"),
        (bytes(9), "oversized"),
        (struct.pack("<2f", 1, float("nan")), "non_finite"),
        (struct.pack("<2f", float("inf"), 1), "non_finite"),
    ],
)
def test_a_refused_body_leaves_the_sum_unchanged(codec, body, cause):
    total = codec.aggregator(2)
    total.add(struct.pack("<2f", 3, 4))
    with pytest.raises(PayloadError) as refusal:
        total.add(body)
    assert refusal.value.cause == cause
    assert total.count == 1
    assert total.open(()).tolist() == [3.0, 4.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_updates_are_not_sent(codec, random, bad):
    with pytest.raises(NonFiniteUpdate):
        codec.encode(np.array([bad], np.float32), random)


def test_sums_outside_the_limits_are_refused(codec):
    total = codec.aggregator(1)
    with pytest.raises(SumError) as nothing:
        total.open(())
    assert nothing.value.cause == "too_few_clients"
    for _ in range(3):
        total.add(bytes(4))
    with pytest.raises(SumError) as fourth:
        total.add(bytes(4))
    assert fourth.value.cause == "too_many_clients"
    with pytest.raises(SumError) as answered:
        total.open([b""])
    assert answered.value.cause == "malformed"
    assert total.open(()).tolist() == [0.0]


def test_updates_without_coordinates_are_refused(codec, random):
    with pytest.raises(ValueError, match="length=0"):
        codec.aggregator(0)
    with pytest.raises(ValueError, match="need a float32 vector"):
        codec.encode(np.zeros(0, np.float32), random)


def test_it_needs_no_keys_and_no_holders(codec, tmp_path):
    assert (codec.holders, codec.needs_public_key) == (0, False)
    assert codec.with_key_folder(tmp_path) is codec
    assert codec.with_public_key(b"", bytes(16), None) is codec
    with pytest.raises(ValueError, match="no key holders"):
        codec.holder(tmp_path)
