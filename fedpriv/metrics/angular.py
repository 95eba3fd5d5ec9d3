"""Angles between gaze directions, in the camera axes of MPIIGaze: x right, y down, z into the scene."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def vector_from_pitch_yaw(pitch_yaw: ArrayLike) -> NDArray[np.float64]:
    """Return g = (-cos p sin y, -sin p, -cos p cos y).

    Source: Zhang et al. 2018, "Revisiting data normalization for appearance-based gaze estimation"
    (doi 10.1145/3204493.3204548) and the MPIIGaze data.

    Args:
        pitch_yaw: (..., 2) radians.

    Returns:
        (..., 3) unit vectors, float64.

    Raises:
        ValueError: the last axis is not 2 long.
    """
    angles = np.asarray(pitch_yaw, dtype=np.float64)
    if angles.ndim == 0 or angles.shape[-1] != 2:
        raise ValueError(f"pitch_yaw: need shape (..., 2), got {angles.shape}")
    pitch, yaw = angles[..., 0], angles[..., 1]
    cosine = np.cos(pitch)
    return np.stack([-cosine * np.sin(yaw), -np.sin(pitch), -cosine * np.cos(yaw)], axis=-1)


def pitch_yaw_from_vector(vector: ArrayLike) -> NDArray[np.float64]:
    """Return pitch = atan2(-y, sqrt(x^2 + z^2)) and yaw = atan2(-x, -z) of directions of any length.

    Args:
        vector: (..., 3).

    Returns:
        (..., 2) radians, float64; pitch in [-pi/2, pi/2], yaw in [-pi, pi].

    Raises:
        ValueError: the last axis is not 3 long.
    """
    direction = np.asarray(vector, dtype=np.float64)
    if direction.ndim == 0 or direction.shape[-1] != 3:
        raise ValueError(f"vector: need shape (..., 3), got {direction.shape}")
    x, y, z = direction[..., 0], direction[..., 1], direction[..., 2]
    return np.stack([np.arctan2(-y, np.hypot(x, z)), np.arctan2(-x, -z)], axis=-1)


def angular_error_deg(predicted: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """Return atan2(|g x g'|, g . g') in degrees, between gaze directions as pitch and yaw.

    Unlike acos(g . g'), it is exact for directions that nearly agree and never NaN by rounding.

    Args:
        predicted: (..., 2) radians.
        true: (..., 2) radians.

    Returns:
        (...) degrees in [0, 180]; NaN only where an input is not finite.

    Raises:
        ValueError: the last axis is not 2 long, or the shapes differ.
    """
    first, second = vector_from_pitch_yaw(predicted), vector_from_pitch_yaw(true)
    if first.shape != second.shape:
        raise ValueError(f"predicted, true: shapes differ: {first.shape[:-1]}, {second.shape[:-1]}")
    cross = np.linalg.norm(np.cross(first, second), axis=-1)
    dot = np.sum(first * second, axis=-1)
    return np.asarray(np.degrees(np.arctan2(cross, dot)), dtype=np.float64)
