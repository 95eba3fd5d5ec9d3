"""Which part of a face an image shows: the fixed eye region and the box drawn from landmarks."""

import numpy as np
import pytest

from fedpriv.data.eye_region import EYE_PART, FaceView, face_box, face_view, grown_to_square
from fedpriv.errors import UserError


def marked(side: int, x: float, y: float) -> np.ndarray:
    """A dark square picture with one bright disc at fractions (x, y)."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    near = (columns / side - x) ** 2 + (rows / side - y) ** 2 < 0.03**2
    return np.where(near, 255, 0).astype(np.uint8)[:, :, None]


def centroid(image: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[: image.shape[1], : image.shape[2]] + 0.5
    weight = image[0] / image.sum()
    return float((columns * weight).sum()), float((rows * weight).sum())


@pytest.mark.parametrize("side", [48, 100, 224])
def test_the_left_eye_is_in_the_middle_and_the_right_eye_is_not_seen(side: int) -> None:
    view = face_view("eye", 48, colour=False)
    x, y = centroid(view.of(marked(side, 0.70, 0.33)))
    assert (x, y) == (pytest.approx(30, abs=0.8), pytest.approx(20, abs=0.8))
    assert view.of(marked(side, 0.30, 0.33)).max() == 0
    assert view.of(marked(side, 0.50, 0.75)).max() == 0


def test_the_brow_is_above_the_eye() -> None:
    view = face_view("eye", 48, colour=False)
    assert 0 < centroid(view.of(marked(224, 0.70, 0.25)))[1] < 10


def test_eye_regions_have_the_shape_and_aspect_of_the_gaze_datas_eyes() -> None:
    view = face_view("eye", 48, colour=False)
    assert view.shape == (1, 36, 60)
    assert view.of(np.zeros((48, 48, 1), dtype=np.uint8)).shape == (1, 36, 60)
    assert EYE_PART[2] / EYE_PART[3] == pytest.approx(60 / 36)


def test_a_whole_face_of_its_own_size_keeps_every_pixel() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 1), dtype=np.uint8)
    np.testing.assert_array_equal(face_view("face", 48, colour=False).of(picture)[0], picture[:, :, 0])


def test_without_a_box_the_largest_square_in_the_middle_is_taken() -> None:
    picture = np.zeros((20, 40, 3), dtype=np.uint8)
    picture[:, 10:30] = (10, 20, 30)
    image = face_view("face", 20, colour=True).of(picture)
    assert image.shape == (3, 20, 20)
    assert [np.unique(channel).tolist() for channel in image] == [[10], [20], [30]]


def test_a_box_beyond_the_picture_is_filled_with_black() -> None:
    picture = np.full((20, 20, 1), 200, dtype=np.uint8)
    image = face_view("face", 16, colour=False).of(picture, (-10.0, 0.0, 16.0, 16.0))
    assert image[0, :, :9].max() == 0
    assert image[0, :, 11:].min() == 200


def test_the_square_of_a_box_shares_its_middle_and_longer_side() -> None:
    assert grown_to_square((10.0, 20.0, 30.0, 50.0)) == (0.0, 20.0, 50.0, 50.0)
    assert grown_to_square((10.0, 20.0, 50.0, 30.0)) == (10.0, 10.0, 50.0, 50.0)


def test_the_box_of_landmarks_puts_the_eyes_where_the_region_expects_them() -> None:
    points = np.zeros((68, 2))
    points[36:42] = (200.0, 240.0)
    points[42:48] = (296.0, 240.0)
    x, y, across, down = face_box(points)
    assert across == down == 240.0  # the eyes' distance of 96 / 0.4
    for eye, fraction in ((200.0, 0.30), (296.0, 0.70)):
        assert (eye - x) / across == pytest.approx(fraction, abs=0.005)
    assert (240.0 - y) / down == pytest.approx(0.38, abs=0.005)


def test_the_box_does_not_depend_on_the_other_landmarks() -> None:
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (200.0, 240.0), (296.0, 240.0)
    moved = points.copy()
    moved[:36], moved[48:] = 999.0, -5.0
    assert face_box(moved) == face_box(points)


def test_eyes_on_one_point_are_refused() -> None:
    with pytest.raises(ValueError, match="both eyes lie on one point"):
        face_box(np.ones((68, 2)))


@pytest.mark.parametrize(
    ("region", "size", "colour", "reason"),
    [
        ("nose", 48, False, r"data\.region=nose: choose face or eye"),
        ("face", 15, False, r"data\.size=15: choose 16 to 512"),
        ("face", 513, False, r"data\.size=513"),
        ("eye", 48, True, r"data\.colour=True: eye regions are grey"),
    ],
)
def test_settings_out_of_range_are_named(region: str, size: int, colour: bool, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        face_view(region, size, colour)


def test_a_view_knows_its_shape() -> None:
    assert face_view("face", 100, colour=True).shape == (3, 100, 100)
    assert isinstance(face_view("face", 100, colour=True), FaceView)
