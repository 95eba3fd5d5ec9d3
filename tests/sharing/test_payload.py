"""The padded image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedpriv.errors import UserError
from fedpriv.sharing import payload
from fedpriv.sharing.causes import Cause, SharingError


@settings(deadline=None)
@given(
    image=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    wanted=st.lists(st.integers(0, 7), min_size=1, unique=True),
    spare=st.integers(0, 40),
)
def test_what_is_packed_is_read_back_and_has_the_size_asked_for(image, wanted, spare):
    size = payload.HEADER_BYTES + image.size + spare
    packed = payload.pack(image, tuple(wanted), size)
    assert len(packed) == size
    opened = payload.unpack(packed)
    assert np.array_equal(opened.image, image)
    assert opened.wanted == tuple(sorted(wanted))


def test_the_layout_is_the_documented_one():
    packed = payload.pack(np.array([[7, 8, 9]], np.uint8), (0, 2), 13)
    assert packed == bytes([0, 1, 0, 3, 1, 0b101, 0, 0, 7, 8, 9, 0, 0])


def test_the_default_size_holds_64_by_64_pixels_and_no_more():
    image = np.full((64, 64), 3, np.uint8)
    assert payload.unpack(payload.pack(image, (0,), payload.DEFAULT_PAYLOAD_BYTES)).image.shape == (64, 64)
    with pytest.raises(UserError, match="at most 4096 pixels"):
        payload.pack(np.zeros((64, 65), np.uint8), (0,), payload.DEFAULT_PAYLOAD_BYTES)


def test_an_image_with_a_side_that_no_header_can_name_is_refused():
    with pytest.raises(UserError, match="65536"):
        payload.pack(np.zeros((1, 65536), np.uint8), (0,), 1 << 20)


def test_a_view_with_strides_is_packed_row_by_row():
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::3]
    assert np.array_equal(payload.unpack(payload.pack(image, (0,), 32)).image, image)


def test_the_image_read_cannot_be_written_to():
    opened = payload.unpack(payload.pack(np.ones((2, 2), np.uint8), (0,), 16))
    with pytest.raises(ValueError, match="read-only"):
        opened.image[0, 0] = 1


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2), np.int8), np.zeros(4, np.uint8), np.zeros((0, 3), np.uint8)]
)
def test_what_is_no_grey_image_is_refused(image):
    with pytest.raises(ValueError, match="image"):
        payload.pack(image, (0,), 100)


@pytest.mark.parametrize("wanted", [(), (8,), (-1,), (0, 9)])
def test_models_that_have_no_bit_are_refused(wanted):
    with pytest.raises(ValueError, match="wanted"):
        payload.pack(np.zeros((2, 2), np.uint8), wanted, 100)


GOOD = payload.pack(np.array([[7, 8], [9, 1]], np.uint8), (0,), 16)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        GOOD[:8],
        GOOD[:11],  # a pixel is missing
        bytes([0, 0]) + GOOD[2:],
        bytes([255, 255, 255, 255]) + GOOD[4:],
        GOOD[:4] + b"\x02" + GOOD[5:],  # pixel mode
        GOOD[:5] + b"\x00" + GOOD[6:],  # no model
        GOOD[:7] + b"\x01" + GOOD[8:],
        GOOD[:15] + b"\x01",
        GOOD[:12] + b"\x01" + GOOD[13:],
    ],
)
def test_what_no_sender_of_ours_writes_is_malformed(damaged):
    with pytest.raises(SharingError) as refused:
        payload.unpack(damaged)
    assert refused.value.cause is Cause.MALFORMED


@settings(deadline=None)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_either_malformed_or_exactly_what_pack_makes_of_what_was_read(data):
    try:
        opened = payload.unpack(data)
    except SharingError:
        return
    assert payload.pack(opened.image, opened.wanted, len(data)) == data
