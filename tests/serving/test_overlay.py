import numpy as np
import pytest

from fedpriv.serving.answers import Answer, Emotion, Gaze
from fedpriv.serving.overlay import draw_answer, draw_answers

_DIGEST = "0" * 16
_HAPPY = Emotion("happy", (0.05, 0.05, 0.1, 0.5, 0.1, 0.1, 0.1), _DIGEST)
_GREY = np.full((36, 60), 128, np.uint8)


def _arrow(pitch, yaw, image=_GREY):
    """Mean place of the arrow's pixels relative to the image's middle, in pixels of the drawing."""
    plain = draw_answer(image, Answer())
    drawn = np.asarray(draw_answer(image, Answer(gaze=Gaze(pitch, yaw, _DIGEST))))
    height = plain.height - 26
    changed = np.any(drawn[:height] != np.asarray(plain)[:height], axis=2)
    rows, columns = np.nonzero(changed)
    return columns.mean() - plain.width / 2, rows.mean() - height / 2, int(changed.sum())


def test_the_arrow_points_where_the_convention_says():
    for pitch, yaw, across, down in (
        (0.3, 0.0, 0, -1),
        (-0.3, 0.0, 0, 1),
        (0.0, 0.3, -1, 0),
        (0.0, -0.3, 1, 0),
    ):
        x, y, _ = _arrow(pitch, yaw)
        assert (round(x / 8), round(y / 8)) == pytest.approx((2 * across, 2 * down), abs=1)
        assert abs(x if across == 0 else y) < 2


def test_a_look_into_the_camera_is_a_dot_and_a_farther_look_a_longer_arrow():
    x, y, dot = _arrow(0.0, 0.0)
    assert abs(x) < 1
    assert abs(y) < 1
    assert dot < _arrow(0.0, 0.05)[2] < _arrow(0.0, 0.4)[2]


def test_the_emotion_takes_a_panel_beside_the_image():
    alone, beside = draw_answer(_GREY, Answer()), draw_answer(_GREY, Answer(emotion=_HAPPY))
    assert beside.height == alone.height
    assert beside.width > alone.width + 150
    panel = np.asarray(beside)[:, alone.width :].reshape(-1, 3)
    blue = np.all(panel == (60, 160, 240), axis=1).sum()
    doubled = Emotion("happy", (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0), _DIGEST)
    whole = np.asarray(draw_answer(_GREY, Answer(emotion=doubled)))[:, alone.width :].reshape(-1, 3)
    assert np.all(whole == (60, 160, 240), axis=1).sum() == pytest.approx(2 * blue, rel=0.05)


@pytest.mark.parametrize("shape", [(8, 128), (128, 8), (48, 48), (8, 8), (128, 128)])
def test_every_image_that_is_served_can_be_drawn(shape):
    answer = Answer(Gaze(1000.0, -1000.0, _DIGEST), _HAPPY)
    picture = draw_answer(np.zeros(shape, np.uint8), answer, "a caption that is far too long \n" * 9)
    assert picture.mode == "RGB"
    assert picture.width < 800
    assert picture.height < 300


def test_pictures_stand_in_rows():
    picture = draw_answer(_GREY, Answer())
    sheet = draw_answers([picture] * 3, columns=2)
    assert sheet.size == (2 * picture.width, 2 * picture.height)
    assert np.array_equal(np.asarray(sheet)[: picture.height, picture.width :], np.asarray(picture))
    with pytest.raises(ValueError, match="0 pictures"):
        draw_answers([])
