import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.he.words import may_reach, pack_words, packed_bytes, unpack_words


@given(width=st.integers(1, 63), data=st.data())
def test_words_of_every_width_survive(width, data):
    words = data.draw(st.lists(st.integers(0, 2**width - 1), min_size=1, max_size=20))
    packed = pack_words(np.array(words, np.uint64), width)
    assert len(packed) == packed_bytes(len(words), width)
    assert unpack_words(memoryview(packed), len(words), width).tolist() == words


def test_the_layout_is_planes_of_sixteen_bits_then_of_one():
    """0x2ABCD = 10 1010 1011 1100 1101: low half ABCD, then bit 16 is 0 and bit 17 is 1."""
    packed = pack_words(np.array([0x2ABCD, 0x11234], np.uint64), 18)
    assert packed == bytes([0xCD, 0xAB, 0x34, 0x12, 0b01000000, 0b10000000])


@pytest.mark.parametrize(("count", "width", "size"), [(4096, 54, 27_648), (8192, 54, 55_296), (3, 18, 8)])
def test_no_bits_are_lost_or_wasted(count, width, size):
    assert packed_bytes(count, width) == size


@given(width=st.integers(1, 63), data=st.data())
def test_no_word_that_reaches_a_limit_is_missed(width, data):
    top = 2**width - 1
    least = data.draw(st.one_of(st.integers(0, top), st.integers(max(0, top - 2**20), top)))
    near = st.integers(max(0, least - 3), min(top, least + 3))
    words = data.draw(st.lists(st.one_of(near, st.integers(0, top)), min_size=1, max_size=20))
    packed = memoryview(pack_words(np.array(words, np.uint64), width))
    assert may_reach(packed, len(words), width, least) or max(words) < least


@pytest.mark.parametrize(("width", "below"), [(42, 0x3F000), (48, 0x7FF), (50, 0x35FFF), (54, 0xFFFFF)])
def test_uniform_words_below_a_prime_are_told_by_their_highest_bits(width, below):
    least = 2**width - below
    words = np.random.default_rng(width).integers(0, least, 8192, dtype=np.uint64)
    words[words >= np.uint64(least - 2**32)] = 0
    assert not may_reach(memoryview(pack_words(words, width)), len(words), width, least)
    words[77] = least
    assert may_reach(memoryview(pack_words(words, width)), len(words), width, least)
