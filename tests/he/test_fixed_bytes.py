import tracemalloc

import numpy as np
import pytest

from fedpriv.he.fixed_bytes import FixedBytes


def test_what_is_written_comes_out_and_the_rest_is_zero():
    room = FixedBytes(6)
    room.view[2:4] = b"ab"
    assert room.take() == b"\0\0ab\0\0"
    assert FixedBytes(0).take() == b""


def test_what_was_taken_cannot_be_written_any_more():
    room = FixedBytes(4)
    room.take()
    with pytest.raises(ValueError, match="released"):
        room.view[0] = 1


def test_nothing_is_taken_while_somebody_could_still_write_it():
    room = FixedBytes(8)
    numbers = np.frombuffer(room.view, "<u4")
    with pytest.raises(BufferError):
        room.take()
    numbers[1] = 7
    del numbers
    assert room.take() == bytes([0, 0, 0, 0, 7, 0, 0, 0])


def test_the_bytes_are_held_once():
    size = 1 << 23
    tracemalloc.start()
    try:
        room = FixedBytes(size)
        room.view[-1] = 9
        taken = room.take()
        assert tracemalloc.get_traced_memory()[1] < 1.01 * size
    finally:
        tracemalloc.stop()
    assert (len(taken), taken[-1]) == (size, 9)
