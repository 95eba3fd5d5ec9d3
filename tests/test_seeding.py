import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.seeding import derive, generator

PARTS = st.lists(st.one_of(st.integers(), st.text(st.sampled_from("a\x1e\x1f01:s"))), max_size=4).map(tuple)


def test_the_derivation_is_the_documented_hash():
    digest = hashlib.sha256(b"7\x1fstr:batches\x1fint:3").digest()
    assert derive(7, "batches", 3) == int(digest.hex()[:32], 16)


@given(st.integers(), PARTS, PARTS)
def test_different_purposes_give_different_seeds_below_2_to_128(seed, first, second):
    assert 0 <= derive(seed, *first) < 2**128
    assert (derive(seed, *first) == derive(seed, *second)) == (first == second)


def test_a_number_and_its_text_are_different_purposes():
    assert derive(0, 1) != derive(0, "1")
    assert derive(0, "a", "b") != derive(0, "ab")
    assert derive(1, 0) != derive(0, 1)


def test_numpy_integers_count_as_integers():
    assert derive(np.int64(7), "batches", np.int64(3)) == derive(7, "batches", 3)


def test_a_purpose_that_is_no_whole_number_is_refused():
    with pytest.raises(TypeError):
        derive(0, 1.5)


def test_a_separator_inside_a_text_does_not_make_it_two_purposes():
    assert derive(0, "a\x1fstr:b") != derive(0, "a", "b")


def test_generators_repeat_for_a_purpose_and_differ_between_purposes():
    drawn = generator(3, "x", 1).random(20)
    assert np.array_equal(drawn, generator(3, "x", 1).random(20))
    assert not np.any(drawn == generator(3, "x", 2).random(20))
    assert not np.any(drawn == generator(4, "x", 1).random(20))


def test_a_user_error_is_one_line():
    assert str(UserError("data.root=x:\n  no such\tfolder ")) == "data.root=x: no such folder"
