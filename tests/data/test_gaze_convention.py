"""One convention for gaze: signs, round trips, and the formulas of every published convention."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fedpriv.data import gaze_convention as convention
from fedpriv.metrics import angular

ANGLE = st.floats(-1.5, 1.5)
GAZE = st.tuples(ANGLE, ANGLE).map(np.array)


def test_into_the_camera_is_zero():
    np.testing.assert_allclose(convention.gaze_from_vector([0, 0, -1]), [0, 0], atol=1e-15)


@pytest.mark.parametrize(
    ("direction", "pitch", "yaw"),
    [
        ((0, -1, -1), 45, 0),  # up in the picture
        ((0, 1, -1), -45, 0),
        ((-1, 0, -1), 0, 45),  # to the left of the picture
        ((1, 0, -1), 0, -45),
    ],
)
def test_up_is_positive_pitch_and_the_pictures_left_positive_yaw(direction, pitch, yaw):
    np.testing.assert_allclose(np.degrees(convention.gaze_from_vector(direction)), [pitch, yaw], atol=1e-12)


@given(GAZE)
def test_data_and_metrics_use_one_formula(gaze):
    vector = convention.vector_from_gaze(gaze)
    np.testing.assert_array_equal(vector, angular.vector_from_pitch_yaw(gaze))
    np.testing.assert_array_equal(convention.gaze_from_vector(vector), angular.pitch_yaw_from_vector(vector))


@given(GAZE)
def test_every_conversion_and_its_inverse_return_the_gaze(gaze):
    close = {"atol": 1e-9}
    np.testing.assert_allclose(convention.gaze_from_vector(convention.vector_from_gaze(gaze)), gaze, **close)
    np.testing.assert_allclose(convention.gaze_from_unity(convention.unity_from_gaze(gaze)), gaze, **close)
    point = convention.point_from_gaze(gaze, 25.0)
    np.testing.assert_allclose(convention.gaze_to_point(point, 25.0), gaze, **close)
    np.testing.assert_allclose(convention.mirror_gaze(convention.mirror_gaze(gaze)), gaze, **close)


@given(GAZE)
def test_mpiigazes_published_formula_gives_the_same_angles(gaze):
    x, y, z = convention.vector_from_gaze(gaze)
    np.testing.assert_allclose([np.arcsin(-y), np.arctan2(-x, -z)], gaze, atol=1e-7)


@given(GAZE)
def test_eth_xgazes_vector_of_the_same_numbers_is_the_opposite_one(gaze):
    pitch, yaw = gaze
    published = np.array([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)])
    np.testing.assert_allclose(convention.gaze_from_xgaze_vector(published), gaze, atol=1e-9)
    np.testing.assert_allclose(published, -convention.vector_from_gaze(gaze), atol=1e-15)


def test_a_published_unityeyes_look_vector_looks_up():
    # from a JSON file in a public repository: y is 0.4025, and y is up in Unity
    pitch, yaw = convention.gaze_from_unity([-0.0015, 0.4025, -0.9154])
    assert np.degrees(pitch) == pytest.approx(23.74, abs=0.02)
    assert 0 < yaw < 0.002


@given(GAZE)
def test_unityeyes_agrees_with_gazemls_conversion(gaze):
    x, y, z = convention.unity_from_gaze(gaze)
    # GazeML negates x, takes theta = asin y and phi = atan2(x, z), then folds phi back from behind
    theta, phi = np.arcsin(y), np.arctan2(-x, z)
    folded = np.pi - phi if phi > 0 else -(np.pi + phi)
    np.testing.assert_allclose([theta, folded], gaze, atol=1e-7)


def test_a_dot_below_and_to_the_persons_right_of_the_camera():
    pitch, yaw = convention.gaze_to_point([30.0, -30.0], 30.0)
    # down, and to the picture's left, where the person's right is
    assert np.degrees(yaw) == pytest.approx(45)
    assert np.degrees(pitch) == pytest.approx(-np.degrees(np.arctan(1 / np.sqrt(2))))


@pytest.mark.parametrize("distance", [0.0, -1.0, float("nan")])
def test_no_distance_is_refused(distance):
    with pytest.raises(ValueError, match="distance_cm"):
        convention.gaze_to_point([1.0, 1.0], distance)


@given(st.tuples(*[st.floats(-1.0, 1.0)] * 3))
def test_head_pose_is_the_third_column_of_the_rotation(vector):
    third = Rotation.from_rotvec(vector).as_matrix()[:, 2]
    expected = [np.arcsin(np.clip(third[1], -1, 1)), np.arctan2(third[0], third[2])]
    np.testing.assert_allclose(convention.head_from_rotation(vector), expected, atol=1e-7)


def test_a_head_turned_to_the_pictures_left_has_the_yaw_of_a_gaze_to_the_left():
    # about y (down) by a positive angle, z (into the scene) turns towards x: the face, -z, towards -x
    _, yaw = convention.head_from_rotation([0.0, 0.3, 0.0])
    assert yaw == pytest.approx(0.3)


@given(GAZE)
def test_mirroring_turns_x_round_and_nothing_else(gaze):
    expected = convention.vector_from_gaze(gaze) * [-1, 1, 1]
    np.testing.assert_allclose(
        convention.vector_from_gaze(convention.mirror_gaze(gaze)), expected, atol=1e-12
    )


def test_mirrored_pictures_swap_left_and_right():
    picture = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert convention.mirror_image(picture).tolist() == [[[2, 1, 0], [5, 4, 3]]]


@pytest.mark.parametrize(
    ("function", "size"), [(convention.gaze_from_vector, 3), (convention.vector_from_gaze, 2)]
)
def test_another_last_axis_is_refused(function, size):
    with pytest.raises(ValueError, match=f"need shape .*{size}"):
        function(np.zeros((4, 5)))
