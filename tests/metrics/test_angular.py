import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.metrics.angular import angular_error_deg, pitch_yaw_from_vector, vector_from_pitch_yaw

ANGLES = st.tuples(st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))


def rotation(axis: int, angle: float) -> np.ndarray:
    """The rotation matrix about one axis, written out."""
    c, s = np.cos(angle), np.sin(angle)
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = c
    matrix[first, second], matrix[second, first] = -s, s
    return matrix


def test_gaze_straight_into_the_camera_is_minus_z():
    np.testing.assert_allclose(vector_from_pitch_yaw([0.0, 0.0]), [0, 0, -1], atol=1e-15)


def test_positive_pitch_looks_up_and_positive_yaw_looks_towards_minus_x():
    up, left = vector_from_pitch_yaw([[0.1, 0.0], [0.0, 0.1]])
    assert up[1] < 0
    assert left[0] < 0


@given(ANGLES)
def test_the_vector_is_minus_z_turned_by_pitch_about_x_then_yaw_about_y(angles):
    pitch, yaw = angles
    expected = rotation(1, yaw) @ rotation(0, -pitch) @ np.array([0.0, 0.0, -1.0])
    np.testing.assert_allclose(vector_from_pitch_yaw(angles), expected, atol=1e-12)


@given(ANGLES, st.floats(0.1, 50.0))
def test_pitch_and_yaw_come_back_from_vectors_of_any_length(angles, length):
    np.testing.assert_allclose(
        pitch_yaw_from_vector(length * vector_from_pitch_yaw(angles)), angles, atol=1e-9
    )


@given(ANGLES, ANGLES)
def test_the_error_is_symmetric_finite_and_agrees_with_acos(first, second):
    error = float(angular_error_deg(first, second))
    dot = float(vector_from_pitch_yaw(first) @ vector_from_pitch_yaw(second))
    assert error == float(angular_error_deg(second, first))
    assert np.cos(np.radians(error)) == pytest.approx(dot, abs=1e-9)
    assert 0.0 <= error <= 180.0


@given(st.floats(-0.7, 0.7), st.floats(1e-8, 1e-3))
def test_tiny_errors_are_exact_where_acos_rounds_to_zero(yaw, step):
    assert float(angular_error_deg([0.0, yaw], [0.0, yaw + step])) == pytest.approx(
        np.degrees(step), rel=1e-6
    )


def test_opposite_directions_are_180_degrees_apart():
    assert float(angular_error_deg([0.3, 0.2], [-0.3, 0.2 + np.pi])) == pytest.approx(180.0)


def test_batches_of_any_shape_keep_their_leading_axes():
    first = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 3, 2)).astype(np.float32)
    error = angular_error_deg(first, np.zeros((4, 3, 2)))
    assert error.shape == (4, 3)
    assert error[2, 1] == float(angular_error_deg(first[2, 1], [0, 0]))


def test_a_nan_prediction_stays_visible():
    assert np.isnan(angular_error_deg([[np.nan, 0.0], [0.0, 0.0]], np.zeros((2, 2)))).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((5, 1)), np.float64(1.0)])
def test_wrong_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match="need shape"):
        angular_error_deg(wrong, wrong)
    with pytest.raises(ValueError, match="need shape"):
        pitch_yaw_from_vector(np.zeros(2))


def test_different_shapes_are_refused_rather_than_broadcast():
    with pytest.raises(ValueError, match="shapes differ"):
        angular_error_deg(np.zeros((3, 2)), np.zeros((1, 2)))
