"""Where each pixel of a picture meets the head, and where a point of the head appears in the picture.

A head is the ellipsoid (x / a)^2 + (y / b)^2 + (z / c)^2 = 1, turned by R = R_x(pitch) R_y(yaw) and
seen in scaled orthographic projection (weak perspective). Two maps of the picture plane make a
skull of the ellipsoid, and both have an exact inverse: below eye level the half-width is multiplied by

    f(t) = (1 - taper t^2) sqrt((1 - t^jaw) / (1 - t^2)),    t = y / b,

and what lies below the mouth moves down by the jaw drop. A camera is then a similarity transform,

    pixel = scale * Rot(angle) (x, y) + (offset_x, offset_y).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedpriv.data.synthetic.face_actions import unit
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray
from fedpriv.data.synthetic.spans import span

SUPERSAMPLE = 2
_JAW_DROP = 0.28


def column(values: FloatArray | float) -> FloatArray:
    """Reshape (B,) to (B, 1, 1), to be broadcast over pictures."""
    return np.asarray(values, dtype=np.float32)[..., None, None]


@dataclass(frozen=True)
class Camera:
    """From millimetres in the view frame to pixels: arrays (B,), and the size of a picture."""

    scale: FloatArray
    angle: FloatArray
    offset_x: FloatArray
    offset_y: FloatArray
    height: int
    width: int

    def part(self, start: int, stop: int) -> "Camera":
        """Return the cameras ``start`` to ``stop - 1``."""
        part = slice(start, stop)
        return Camera(
            self.scale[part],
            self.angle[part],
            self.offset_x[part],
            self.offset_y[part],
            self.height,
            self.width,
        )


def rotation(views: FaceViews) -> FloatArray:
    """Return R (B, 3, 3), from the head frame to the view frame."""
    cos_y, sin_y, cos_p, sin_p = (
        np.cos(views.yaw),
        np.sin(views.yaw),
        np.cos(views.pitch),
        np.sin(views.pitch),
    )
    zero, one = np.zeros_like(cos_y), np.ones_like(cos_y)
    turn = np.array([[cos_y, zero, sin_y], [zero, one, zero], [-sin_y, zero, cos_y]])
    nod = np.array([[one, zero, zero], [zero, cos_p, sin_p], [zero, -sin_p, cos_p]])
    return np.asarray(np.einsum("ijb,jkb->bik", nod, turn), dtype=np.float32)


def on_head(person: FacePerson, x: FloatArray | float, y: FloatArray | float) -> FloatArray:
    """Return the points (..., 3) of the front of the head at ``x`` and ``y``, of one shape: float32."""
    inside = 1.0 - np.square(x / person.half_width) - np.square(y / person.half_height)
    z = -person.depth * np.sqrt(np.maximum(inside, 0.0))
    return np.stack([np.broadcast_to(x, np.shape(z)), np.broadcast_to(y, np.shape(z)), z], axis=-1).astype(
        np.float32
    )


def _narrowing(person: FacePerson, y: FloatArray) -> FloatArray:
    """Return f at height ``y`` of the turned, unstretched head."""
    below = np.clip(y / np.float32(person.half_height), 0.0, 0.985)
    square = below * below
    return (1.0 - person.taper * square) * np.sqrt((1.0 - below ** np.float32(person.jaw)) / (1.0 - square))


def _hinge(person: FacePerson, views: FaceViews) -> tuple[FloatArray, FloatArray]:
    """Return the height (B,) below which the jaw moves, and the factor (B,) by which it stretches."""
    middle = on_head(person, 0.0, person.mouth_y)
    height = rotation(views)[:, 1] @ middle
    return height, 1.0 + _JAW_DROP * unit(views.units, "AU26")[:, 0, 0]


def project(person: FacePerson, views: FaceViews, points: FloatArray) -> FloatArray:
    """Project points (B, K, 3) of the head frame to mm (B, K, 2) of the view frame."""
    turned = np.einsum("bij,bkj->bki", rotation(views), points)
    x = turned[:, :, 0] * _narrowing(person, turned[:, :, 1])
    height, stretch = (value[:, None] for value in _hinge(person, views))
    below = np.maximum(turned[:, :, 1] - height, 0.0)
    return np.stack([x, turned[:, :, 1] + (stretch - 1.0) * below], axis=-1)


def to_pixels(camera: Camera, points: FloatArray) -> FloatArray:
    """Map mm (B, K, 2) of the view frame to pixels (B, K, 2) as (x, y); a pixel's centre is at one half."""
    cos, sin = (camera.scale * np.cos(camera.angle))[:, None], (camera.scale * np.sin(camera.angle))[:, None]
    x, y = points[:, :, 0], points[:, :, 1]
    return np.stack(
        [cos * x - sin * y + camera.offset_x[:, None], sin * x + cos * y + camera.offset_y[:, None]], axis=-1
    )


@dataclass(frozen=True)
class Rays:
    """What the supersampled pixels meet, (B, h, w) each unless noted.

    Attributes:
        plane_x: mm in the view frame; so ``plane_y``: jaw and drop are still in it.
        flat_x: mm in the turned head's plane, jaw and drop taken away; so ``flat_y``.
        inside: coverage of the head's outline.
        x: of the head frame, on the surface; so ``y`` and ``z``.
        sharpness: (B, 1, 1) supersampled pixels per mm.
        detail: (B, 1, 1) in [0, 1], how much of fine texture the pixels can show.
    """

    plane_x: FloatArray
    plane_y: FloatArray
    flat_x: FloatArray
    flat_y: FloatArray
    inside: FloatArray
    x: FloatArray
    y: FloatArray
    z: FloatArray
    sharpness: FloatArray
    detail: FloatArray

    def part(self, rows: slice, columns: slice = slice(None)) -> "Rays":
        """Return the rays of some rows and columns; each is what it was, bit by bit."""
        return replace(
            self, **{name: np.ascontiguousarray(getattr(self, name)[:, rows, columns]) for name in _FIELDS}
        )

    def head(self) -> tuple[slice, slice]:
        """Return rows and columns of the least box that holds all that the head covers."""
        covered = self.inside > 0
        return span(np.any(covered, axis=(0, 2))), span(np.any(covered, axis=(0, 1)))

    def rows(self, top: float, bottom: float) -> slice:
        """Return the rows that reach heights ``y`` from ``top`` to ``bottom``, and those between them."""
        low, high = self._heights
        return span((high >= top) & (low <= bottom))

    @cached_property
    def _heights(self) -> tuple[FloatArray, FloatArray]:
        return self.y.min(axis=(0, 2), initial=np.inf), self.y.max(axis=(0, 2), initial=-np.inf)


_FIELDS = ("plane_x", "plane_y", "flat_x", "flat_y", "inside", "x", "y", "z")


def coverage(distance: FloatArray, sharpness: FloatArray) -> FloatArray:
    """Return the share of each pixel that lies inside, ``distance`` being mm inside the edge: a ramp."""
    share = distance * sharpness
    share += np.float32(0.5)
    return np.clip(share, 0.0, 1.0, out=share)


def cast(person: FacePerson, views: FaceViews, camera: Camera) -> Rays:
    """Cast one ray per supersampled pixel on the head; beside it the nearest point of its outline counts."""
    across = (np.arange(camera.width * SUPERSAMPLE, dtype=np.float32) + 0.5) / SUPERSAMPLE
    down = (np.arange(camera.height * SUPERSAMPLE, dtype=np.float32) + 0.5) / SUPERSAMPLE
    dx, dy = across[None, None, :] - column(camera.offset_x), down[None, :, None] - column(camera.offset_y)
    cos, sin = column(np.cos(camera.angle) / camera.scale), column(np.sin(camera.angle) / camera.scale)
    plane_x, plane_y = cos * dx + sin * dy, cos * dy - sin * dx

    height, stretch = _hinge(person, views)
    below = np.maximum(plane_y - column(height), 0.0)
    flat_y = plane_y - below * column(1.0 - 1.0 / stretch)
    flat_x = plane_x / _narrowing(person, flat_y)

    # In units of the radii the head is a unit sphere and the ray o + s d, with o in the plane.
    turned = rotation(views) / np.array(
        [person.half_width, person.half_height, person.depth], dtype=np.float32
    )
    right, lower, ahead = turned[:, 0], turned[:, 1], turned[:, 2]

    def dot(a: FloatArray, b: FloatArray) -> FloatArray:
        return column((a * b).sum(axis=1))

    squared = dot(ahead, ahead)
    along = flat_x * dot(right, ahead) + flat_y * dot(lower, ahead)
    rest = flat_x * flat_x * dot(right, right)
    rest += flat_x * flat_y * (2.0 * dot(right, lower))
    rest += flat_y * flat_y * dot(lower, lower)
    depth = along * along
    depth -= squared * (rest - 1.0)
    sharpness = column(camera.scale) * np.float32(SUPERSAMPLE)
    inside = coverage(depth * (np.float32(0.5 * person.half_width) / squared), sharpness)
    np.maximum(depth, 0.0, out=depth)
    np.sqrt(depth, out=depth)
    depth += along
    depth *= -1.0 / squared

    radii = (person.half_width, person.half_height, person.depth)
    x, y, z = (
        (flat_x * column(right[:, i]) + flat_y * column(lower[:, i]) + depth * column(ahead[:, i]))
        * np.float32(radius)
        for i, radius in enumerate(radii)
    )
    detail = np.clip((sharpness - 1.0) / 1.5, 0.0, 1.0)
    return Rays(plane_x, plane_y, flat_x, flat_y, inside, x, y, z, sharpness, detail)
