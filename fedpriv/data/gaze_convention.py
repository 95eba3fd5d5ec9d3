"""The one convention for gaze that every data set is converted to.

Axes are those of the camera that took the picture: x to the picture's right, y down, z into the scene.
Gaze is (pitch, yaw) in radians, and the direction from the eye to what it looks at is

    g = (-cos p sin y, -sin p, -cos p cos y)        (MPIIGaze)

so (0, 0) looks into the camera, positive pitch looks up and positive yaw to the picture's LEFT, which
is the person's own right. The same is computed in ``fedpriv.metrics.angular``, which must not know
of data sets; a test holds the two together.

How the published data are converted:

    MPIIGaze       unit vectors in these axes: p = asin(-y), yaw = atan2(-x, -z)
    MPIIFaceGaze   these (pitch, yaw) as they are
    ETH-XGaze      these (pitch, yaw) as they are; its own code calls (cos p sin y, sin p, cos p cos y) the
                   vector, which is -g, so never mix vectors of the two
    UnityEyes      look vector with x right, y UP, z into the scene: y turns round
    GazeCapture    a point in the plane of the camera, not an angle: see :func:`gaze_to_point`

Source: Zhang et al. 2018, "Revisiting data normalization" (doi 10.1145/3204493.3204548).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Gaze = NDArray[np.float64]


def gaze_from_vector(vector: ArrayLike) -> Gaze:
    """Return p = atan2(-y, sqrt(x^2 + z^2)), yaw = atan2(-x, -z) of directions in the camera's axes.

    Args:
        vector: (..., 3) of any length above zero.

    Returns:
        (..., 2) radians, float64.

    Raises:
        ValueError: the last axis is not 3 long.
    """
    direction = _last(vector, 3, "vector")
    x, y, z = direction[..., 0], direction[..., 1], direction[..., 2]
    return np.stack([np.arctan2(-y, np.hypot(x, z)), np.arctan2(-x, -z)], axis=-1)


def vector_from_gaze(gaze: ArrayLike) -> Gaze:
    """Return g = (-cos p sin y, -sin p, -cos p cos y): (..., 2) radians to (..., 3) unit vectors.

    Raises:
        ValueError: the last axis is not 2 long.
    """
    angles = _last(gaze, 2, "gaze")
    pitch, yaw = angles[..., 0], angles[..., 1]
    return np.stack([-np.cos(pitch) * np.sin(yaw), -np.sin(pitch), -np.cos(pitch) * np.cos(yaw)], axis=-1)


def gaze_from_xgaze_vector(vector: ArrayLike) -> Gaze:
    """Return (pitch, yaw) of ETH-XGaze's vector (cos p sin y, sin p, cos p cos y) = -g.

    Source: ``vector_to_pitchyaw`` in the data set's own utils.py.
    """
    return gaze_from_vector(-_last(vector, 3, "vector"))


def gaze_from_unity(look: ArrayLike) -> Gaze:
    """Return (pitch, yaw) = (asin y, atan2(-x, -z)) of UnityEyes' ``look_vec``, (..., 3).

    Its x is right and y up, as the data set's own visualize.py draws it; z is negative for an eye that
    looks towards the camera, as in published examples and in GazeML's conversion, which gives these
    angles.
    """
    return gaze_from_vector(_last(look, 3, "look") * np.array([1.0, -1.0, 1.0]))


def unity_from_gaze(gaze: ArrayLike) -> Gaze:
    """Return the ``look_vec`` of a gaze, (..., 3): the inverse of :func:`gaze_from_unity`."""
    return np.asarray(vector_from_gaze(gaze) * np.array([1.0, -1.0, 1.0]))


def gaze_to_point(point_cm: ArrayLike, distance_cm: float) -> Gaze:
    """Return the gaze of an eye on the camera's axis at ``distance_cm`` to GazeCapture's (XCam, YCam).

    XCam grows to the right and YCam upwards as the person sees the device; the camera faces the person,
    so its x axis is -XCam, its y axis -YCam, and the point lies in its plane: g is the direction of
    (-XCam, -YCam, -distance). An approximation: the true eye is neither on the axis nor at a known distance.

    Args:
        point_cm: (..., 2).
        distance_cm: above 0.

    Raises:
        ValueError: the last axis is not 2 long, or the distance is not above 0.
    """
    point = _last(point_cm, 2, "point_cm")
    if not distance_cm > 0:
        raise ValueError(f"distance_cm={distance_cm}: must be above 0")
    depth = np.full(point.shape[:-1], -distance_cm)
    return gaze_from_vector(np.stack([-point[..., 0], -point[..., 1], depth], axis=-1))


def point_from_gaze(gaze: ArrayLike, distance_cm: float) -> Gaze:
    """Return (XCam, YCam) in cm: the inverse of :func:`gaze_to_point` for yaw within (-pi/2, pi/2)."""
    g = vector_from_gaze(gaze)
    return np.asarray(g[..., :2] / g[..., 2:] * distance_cm)


def head_from_rotation(rotation_vector: ArrayLike) -> Gaze:
    """Return a head's (pitch, yaw) = (asin v_y, atan2(v_x, v_z)), v the third column of R.

    R turns the head's axes into the camera's: R = I + sin t K + (1 - cos t) K^2 with t = |r| and K the
    cross product with r / t (Rodrigues). v points out of the back of the head, so these numbers are in
    the convention of this module: the face looks along -v.

    Args:
        rotation_vector: (..., 3) radians.

    Returns:
        (..., 2) radians.
    """
    r = _last(rotation_vector, 3, "rotation_vector")
    angle = np.linalg.norm(r, axis=-1)[..., None]
    axis = r / np.where(angle == 0, 1.0, angle)
    z = np.zeros_like(r)
    z[..., 2] = 1.0
    along = np.sum(axis * z, axis=-1, keepdims=True)
    third = z * np.cos(angle) + np.cross(axis, z) * np.sin(angle) + axis * along * (1 - np.cos(angle))
    return gaze_from_vector(-third)


def mirror_image(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Flip pictures (..., H, W) left to right: a right eye becomes a left one."""
    return np.ascontiguousarray(images[..., ::-1])


def mirror_gaze(gaze: ArrayLike) -> Gaze:
    """Return (pitch, -yaw): the gaze in the mirrored picture."""
    return np.asarray(_last(gaze, 2, "gaze") * np.array([1.0, -1.0]))


def _last(values: ArrayLike, size: int, name: str) -> Gaze:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(f"{name}: need shape (..., {size}), got {array.shape}")
    return array
