"""Pictures of a difference: every sign and size has its brightness, every region its box."""

import numpy as np
import pytest

from fedpriv.he.pictures.changes import find_changes
from fedpriv.he.pictures.drawing import absolute_picture, as_images, overlay, signed_picture

ALL = np.arange(-255, 256, dtype=np.int16).reshape(1, -1, 1)


def test_the_signed_picture_is_grey_where_equal_and_ordered_by_sign():
    drawn = signed_picture(ALL)[0, :, 0].astype(int)
    assert (drawn[0], drawn[255], drawn[-1]) == (0, 128, 255)
    assert set(np.diff(drawn)) == {0, 1}
    # back to the difference within its lowest bit
    assert np.abs(2 * (drawn - 128) - ALL[0, :, 0]).max() == 1


def test_the_absolute_picture_is_exact():
    assert np.array_equal(absolute_picture(ALL), abs(ALL))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_changes_are_red_boxes_surround_them_and_the_rest_is_grey(channels):
    generator = np.random.default_rng(0)
    second = generator.integers(0, 256, (60, 80, channels), dtype=np.uint8)
    difference = np.zeros((60, 80, channels), np.int16)
    difference[20:30, 40:55] = 200
    drawn = overlay(second, find_changes(difference)).astype(int)
    assert drawn.shape == (60, 80, 3)
    inside, corner = drawn[20:30, 40:55], drawn[0:10, 0:10]
    assert (inside[..., 0] - inside[..., 1:].max(axis=2)).min() > 50
    assert (corner.max(axis=2) == corner.min(axis=2)).all()
    for y, x in ((19, 39), (19, 55), (30, 39), (30, 55)):
        assert drawn[y, x].tolist() == [255, 208, 0]


def test_a_change_at_the_edge_is_drawn_within_the_picture():
    difference = np.full((5, 5, 1), 255, np.int16)
    assert overlay(np.zeros((5, 5, 1), np.uint8), find_changes(difference)).shape == (5, 5, 3)


def test_transparency_has_a_picture_of_its_own():
    picture = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    images = as_images(picture)
    assert {end: image.mode for end, image in images.items()} == {"": "RGB", "-alpha": "L"}
    assert np.array_equal(np.asarray(images["-alpha"]), picture[..., 3])
    assert {end: image.mode for end, image in as_images(picture[..., :1]).items()} == {"": "L"}
