"""The five landmarks of a face, known exactly, and the cameras that frame a picture by them.

Order and places are those of ArcFace (Deng et al. 2019, arXiv 1801.07698): the eye, the nose tip and
the mouth corner that lie at the left of an unmirrored picture come before those at its right.
"""

import numpy as np

from fedpriv.data.synthetic.face_geometry import Camera, on_head, project
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray
from fedpriv.data.synthetic.face_shape import mouth

ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)
"""(x, y) of eyes, nose tip and mouth corners in 112 x 112 pixels, whose centres are whole numbers."""

_EYE_PIXELS_PER_MM = 1.36
"""Within the synthetic eyes' 1.32 to 1.86; wide enough for the brow."""


def landmarks(person: FacePerson, views: FaceViews) -> FloatArray:
    """Return the five landmarks (B, 5, 2) in mm of the view frame, for :func:`to_pixels`."""
    shape = mouth(person, views)
    points = np.empty((len(views), 5, 3), dtype=np.float32)
    points[:, 0], points[:, 1] = (on_head(person, side * person.eye_x, person.eye_y) for side in (-1.0, 1.0))
    points[:, 2] = on_head(person, 0.0, person.nose_y)
    points[:, 2, 2] -= person.nose_height
    points[:, 3] = on_head(person, -shape.half_width, person.mouth_y - shape.lift_right)
    points[:, 4] = on_head(person, shape.half_width, person.mouth_y - shape.lift_left)
    return project(person, views, points)


def _moved(
    views: FaceViews,
    scale: FloatArray,
    angle: FloatArray,
    anchor: FloatArray,
    height: int,
    width: int,
    place: tuple[float, float],
) -> Camera:
    """Return cameras that show ``anchor`` (B, 2) mm at ``place`` (x, y) pixels, but for the crop jitter."""
    scale, angle = scale * views.zoom, angle + views.tilt
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return Camera(
        scale=scale,
        angle=angle,
        offset_x=place[0] + views.shift_x * width - (cos * anchor[:, 0] - sin * anchor[:, 1]),
        offset_y=place[1] + views.shift_y * width - (sin * anchor[:, 0] + cos * anchor[:, 1]),
        height=height,
        width=width,
    )


def aligned_camera(person: FacePerson, views: FaceViews, size: int) -> Camera:
    """Frame faces as ArcFace does: by the similarity that maps the landmarks best to the template.

    Best by least squares: with p and q landmarks and template as complex numbers, less their means,
    scale * exp(i angle) = sum conj(p) q / sum |p|^2 (Umeyama 1991 without reflection). The views' crop
    jitter stands for the detector's errors.
    """
    found = landmarks(person, views)
    # the template counts from pixel centres, cameras from pixel edges
    target = (ARCFACE_TEMPLATE + 0.5) * (size / 112.0)
    middle, goal = found.mean(axis=1), target.mean(axis=0)
    p = (found - middle[:, None]) @ np.array([1.0, 1.0j])
    q = (target - goal) @ np.array([1.0, 1.0j])
    factor = (np.conj(p) * q).sum(axis=1) / (np.abs(p) ** 2).sum(axis=1)
    scale, angle = np.abs(factor).astype(np.float32), np.angle(factor).astype(np.float32)
    return _moved(views, scale, angle, middle, size, size, (float(goal[0]), float(goal[1])))


def face_camera(person: FacePerson, views: FaceViews, size: int) -> Camera:
    """Frame whole faces of 160 mm by the middle between the eyes: what a face detector's box gives."""
    anchor = landmarks(person, views)[:, :2].mean(axis=1)
    scale = np.full(len(views), size / 160.0, dtype=np.float32)
    return _moved(views, scale, views.roll, anchor, size, size, (size * 0.5, size * 0.36))


def eye_camera(person: FacePerson, views: FaceViews, height: int, width: int) -> Camera:
    """Frame the left eye with its brow at 1.36 pixels per mm: the eye's centre lies at 0.70 of the height."""
    anchor = landmarks(person, views)[:, 1]
    scale = np.full(len(views), _EYE_PIXELS_PER_MM * width / 60.0, dtype=np.float32)
    return _moved(views, scale, views.roll, anchor, height, width, (width * 0.5, height * 0.70))
