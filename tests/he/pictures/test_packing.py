"""Packed differences: exact for every pair of values, as many to a slot as fit and no more."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.pictures.packing import BASE, ValuePacking, values_per_slot
from fedpriv.he.users.sets import SETS

IMAGES = SETS["images"]
PACKING = ValuePacking(IMAGES)


def test_four_values_share_a_slot():
    assert (PACKING.per_slot, PACKING.per_ciphertext) == (4, 16_384)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_the_count_is_the_largest_whose_differences_are_told_apart(count):
    # all sums of `count` digits in -255..255 are distinct and one step apart: 511^count of them
    assert values_per_slot(BASE**count) == count
    assert values_per_slot(BASE**count - 1) == count - 1
    assert math.floor(math.log(IMAGES.seal.plain_modulus, 511)) == PACKING.per_slot


def test_other_sets_are_refused():
    with pytest.raises(ValueError, match="faces"):
        ValuePacking(SETS["faces"])


def modular_difference(first, second):
    """What decryption returns: the difference modulo t, centred."""
    t = IMAGES.seal.plain_modulus
    found = (second.astype(object) - first.astype(object)) % t
    return np.array([each - t if each > t // 2 else each for each in found], np.int64)


@pytest.mark.parametrize("first", [0, 255])
@pytest.mark.parametrize("second", [0, 255])
def test_extremes_never_borrow_from_neighbours(first, second):
    generator = np.random.default_rng(0)
    a, b = (generator.choice(np.uint8([0, 255]), PACKING.per_ciphertext) for _ in range(2))
    a[::3], b[::3] = first, second
    slots = modular_difference(PACKING.pack(a), PACKING.pack(b))
    assert np.array_equal(PACKING.unpack(slots, len(a)), b.astype(np.int16) - a)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_differences_of_any_values_and_lengths_are_exact(data):
    count = data.draw(st.integers(0, PACKING.per_ciphertext))
    generator = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    low, high = sorted(data.draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    a, b = (generator.integers(low, high + 1, count, dtype=np.uint8) for _ in range(2))
    slots = modular_difference(PACKING.pack(a), PACKING.pack(b))
    found = PACKING.unpack(slots, count)
    assert found.dtype == np.int16
    assert np.array_equal(found, b.astype(np.int16) - a)


@pytest.mark.parametrize("slot", [(BASE**4 - 1) // 2 + 1, -(BASE**4 - 1) // 2 - 1])
def test_what_is_no_sum_of_digits_is_refused(slot):
    slots = np.zeros(4096, np.int64)
    slots[7] = slot
    with pytest.raises(UserError, match="no difference of two pictures"):
        PACKING.unpack(slots, PACKING.per_ciphertext)


def test_values_where_both_pictures_had_none_are_refused():
    slots = np.zeros(4096, np.int64)
    slots[10] = 1
    assert PACKING.unpack(slots, 11)[10] == 1
    with pytest.raises(UserError, match="no difference of two pictures"):
        PACKING.unpack(slots, 10)


def test_too_many_values_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="at most"):
        PACKING.pack(np.zeros(PACKING.per_ciphertext + 1, np.uint8))
    with pytest.raises(ValueError, match="values in slots"):
        PACKING.unpack(np.zeros(4095, np.int64), 1)
