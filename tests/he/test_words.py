import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.he.words import pack_words, packed_bytes, unpack_words


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
