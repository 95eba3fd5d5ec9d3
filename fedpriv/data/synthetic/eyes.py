"""A procedural eye: grey pictures (1, 36, 60) whose gaze direction is exact by construction.

The label is the visual axis g = (-cos p sin y, -sin p, -cos p cos y) (MPIIGaze: camera x right,
y down, z into the scene); what the picture shows is the optical axis, which differs by each
person's kappa. Position, scale, light, lids, glasses and the sensor vary, so that a linear model
fails on unseen people while a small convolutional network does not.

A picture depends on (seed, person, index) alone: not on how many are rendered, nor in which order.

Left out: refraction in the cornea, head rotation, perspective.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.synthetic import eye_layers
from fedpriv.data.synthetic.eye_geometry import SUPERSAMPLE, column, coverage, disc, eyeball, grid, lids
from fedpriv.data.synthetic.eye_priors import draw_person, draw_views
from fedpriv.data.synthetic.eye_scene import HEIGHT, WIDTH, EyePerson, EyeViews, FloatArray
from fedpriv.data.synthetic.spans import span
from fedpriv.types import ByteImages

_CHUNK = 8


@dataclass(frozen=True)
class EyeImages:
    """Pictures of one person.

    Attributes:
        images: (N, 1, 36, 60) uint8.
        gaze: (N, 2) float32: pitch and yaw of the visual axis in radians.
    """

    images: ByteImages
    gaze: NDArray[np.float32]


def _box(fine: FloatArray) -> FloatArray:
    """Average the supersampled pixels: (B, 72, 120) to (B, 36, 60)."""
    rows = fine[:, 0::SUPERSAMPLE] + fine[:, 1::SUPERSAMPLE]
    return (rows[:, :, 0::SUPERSAMPLE] + rows[:, :, 1::SUPERSAMPLE]) * np.float32(0.25)


def _over(below: FloatArray, albedo: FloatArray | float, opacity: FloatArray) -> None:
    """Lay ``albedo`` over ``below`` in place: below += (albedo - below) * opacity."""
    difference = albedo - below
    difference *= opacity
    below += difference


def render_scene(person: EyePerson, views: EyeViews) -> FloatArray:
    """Render the light that reaches the sensor: (B, 36, 60) float32, about [0, 1], no sensor effects."""
    where = grid(views)
    lid = lids(person, views, where)
    scene = eye_layers.skin(person, views, where, lid)
    rows, hair = eye_layers.brow(person, where)
    _over(scene[:, rows], np.float32(person.brow) * column(views.ambient + 0.4), hair)
    open_ = coverage(where.y - lid.upper, where.sharpness)
    open_ *= coverage(lid.lower - where.y, where.sharpness)
    open_ *= np.minimum(lid.arch * 8.0, 1.0)
    # nothing of the eyeball is seen but between the lids
    rows, columns = span(np.any(open_ > 0, axis=(0, 2))), span(np.any(open_ > 0, axis=(0, 1)))
    inside = where.part(rows, columns)
    globe = eye_layers.globe(person, views, inside, eyeball(person, views, inside), lid.part(columns))
    _over(scene[:, rows, columns], globe, open_[:, rows, columns])
    _over(scene, 0.03, eye_layers.lashes(person, where, lid))
    if bool(views.glasses.any()):
        rim, streak = eye_layers.glasses(person, views, where)
        scene += streak
        _over(scene, person.rim, rim)
    return _box(scene)


def expose(scene: FloatArray, views: EyeViews) -> ByteImages:
    """Pass light (B, 36, 60) through the sensor: blur, gain, gamma, noise, rounding to uint8."""
    side = column(views.blur)
    centre = 1.0 - 2.0 * side
    padded = np.pad(scene, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, 1:-1] * centre + (padded[:, :-2] + padded[:, 2:]) * side
    blurred = rows[:, :, 1:-1] * centre + (rows[:, :, :-2] + rows[:, :, 2:]) * side
    blurred *= column(views.gain)
    np.maximum(blurred, 0.0, out=blurred)
    np.power(blurred, column(views.gamma), out=blurred)
    blurred += views.grain * column(views.noise)
    return np.clip(np.rint(blurred * 255.0), 0.0, 255.0).astype(np.uint8)


def render_views(person: EyePerson, views: EyeViews) -> ByteImages:
    """Render views of one person: (B, 1, 36, 60) uint8."""
    images = np.empty((len(views), 1, HEIGHT, WIDTH), dtype=np.uint8)
    for start in range(0, len(views), _CHUNK):
        part = views.part(start, start + _CHUNK)
        images[start : start + _CHUNK, 0] = expose(render_scene(person, part), part)
    return images


def render_person(seed: int, person: int, count: int) -> EyeImages:
    """Render pictures 0 to ``count - 1`` of person ``person``."""
    constants = draw_person(seed, person)
    views = draw_views(constants, seed, person, count)
    return EyeImages(images=render_views(constants, views), gaze=np.stack([views.pitch, views.yaw], axis=1))


def iris_coverage(person: EyePerson, views: EyeViews) -> FloatArray:
    """Render the share of each pixel that the whole iris covers, lids away: (B, 36, 60) float32.

    Its centroid is C + sqrt(R^2 - r^2) o_xy, its outline an ellipse with axes r and r |o_z|.
    """
    where = grid(views)
    radius = np.full((1, 1, 1), person.iris_radius, dtype=np.float32)
    return _box(disc(eyeball(person, views, where), radius, person.eyeball_radius))
