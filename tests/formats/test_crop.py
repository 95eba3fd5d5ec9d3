"""Boxes cut out of pictures: exact where nothing is resized, black outside, refused elsewhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedpriv.formats.crop import crop_resize, decode_picture, resize

PICTURE = np.random.default_rng(0).integers(1, 256, (12, 10, 3), dtype=np.uint8)


@given(st.integers(-9, 9), st.integers(-11, 11), st.integers(1, 20), st.integers(1, 20))
def test_whole_boxes_of_their_own_size_are_the_pixels_and_black_outside(x, y, width, height):
    expected = np.zeros((3, height, width), dtype=np.uint8)
    for row in range(height):
        for column in range(width):
            if 0 <= y + row < 12 and 0 <= x + column < 10:
                expected[:, row, column] = PICTURE[y + row, x + column]
    if x + width <= 0 or y + height <= 0:
        with pytest.raises(ValueError, match="not in 10 x 12 pixels"):
            crop_resize(PICTURE, (x, y, width, height), height, width)
    else:
        np.testing.assert_array_equal(crop_resize(PICTURE, (x, y, width, height), height, width), expected)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 5), (0, 0, -3, 5), (0, 0, 31, 5), (0, 0, 5, 37), (10, 0, 5, 5), (float("nan"), 0, 5, 5)]
)
def test_boxes_beside_the_picture_or_far_larger_are_refused(box):
    with pytest.raises(ValueError, match=r"not in 10 x 12|cannot convert"):
        crop_resize(PICTURE, box, 4, 4)


def test_grey_pictures_have_one_channel():
    assert crop_resize(PICTURE[..., :1], (0, 0, 10, 12), 6, 5).shape == (1, 6, 5)
    assert resize(PICTURE, 6, 5, colour=False).shape == (1, 6, 5)


def test_an_unchanged_size_keeps_every_pixel():
    np.testing.assert_array_equal(resize(PICTURE, 12, 10, colour=True), PICTURE.transpose(2, 0, 1))


def test_pictures_are_read_as_stored_without_the_turn_their_header_asks_for(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    assert decode_picture(content, "a.jpg", colour=True).shape == (12, 10, 3)
    assert decode_picture(content, "a.jpg", colour=False).shape == (12, 10, 1)
