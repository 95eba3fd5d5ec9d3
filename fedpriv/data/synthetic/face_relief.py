"""How light falls on a face: Lambert on the ellipsoid and its relief (nose, sockets, cheeks, lips, chin).

With n the outward normal and H the height of the relief above the ellipsoid, the normal becomes
n - (dH/dx, dH/dy, 0), normalised. One light has a direction, a weaker one comes from the opposite
side, and the rest has none: shade = ambient + (1 - ambient) (max(n . l, 0) + fill max(n . l', 0)).
"""

from dataclasses import dataclass

import numpy as np

from fedpriv.data.synthetic.face_geometry import Rays, column, on_head, rotation
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray

BELL_REACH = 4.2
"""In widths: 1 - p rounds to 1 in float32 where p is a bell's value, or less, further out than this."""
BELL_END = 10.3
"""In widths: a bell is 0 in float32 further out than this."""


def bell(distance: FloatArray, width: float | FloatArray) -> FloatArray:
    """Return exp(-(distance / width)^2)."""
    scaled: FloatArray = distance * np.asarray(1.0 / width, dtype=np.float32)
    np.square(scaled, out=scaled)
    np.negative(scaled, out=scaled)
    return np.exp(scaled, out=scaled)


@dataclass(frozen=True)
class Nose:
    """The nose in the turned head's plane, (B, h, w) each; it stands out, so it moves as the head turns.

    Attributes:
        along: 0 between the eyes, 1 at the tip.
        aside: mm from the ridge, positive towards +x.
        below: mm below the tip.
        width: half-width at this height.
    """

    along: FloatArray
    aside: FloatArray
    below: FloatArray
    width: FloatArray


def nose(person: FacePerson, views: FaceViews, rays: Rays) -> Nose:
    """Place the nose: its ridge runs from between the eyes to the tip, both projected."""
    turn = rotation(views)
    root = on_head(person, 0.0, person.eye_y - 2.0)
    tip = on_head(person, 0.0, person.nose_y)
    tip[2] -= np.float32(person.nose_height)
    root_x, root_y = column(turn[:, 0] @ root), column(turn[:, 1] @ root)
    tip_x, tip_y = column(turn[:, 0] @ tip), column(turn[:, 1] @ tip)
    along = (rays.flat_y - root_y) / (tip_y - root_y)
    within = np.clip(along, 0.0, 1.2)
    aside = rays.flat_x - (root_x + (tip_x - root_x) * within)
    wide = within * within
    wide *= wide
    width = np.float32(person.nose_bridge) + np.float32(person.nose_width - person.nose_bridge) * wide
    return Nose(along, aside, rays.flat_y - tip_y, width)


def _relief(person: FacePerson, rays: Rays, shape: Nose) -> tuple[FloatArray, FloatArray]:
    """Return dH/dx and dH/dy."""
    side = np.abs(rays.x)
    slope_x, slope_y = np.zeros_like(side), np.zeros_like(side)
    hills = (
        (person.eye_x - 2.0, person.eye_y - 1.0, 16.0, 11.0, -9.0 * person.socket),
        (person.eye_x, person.eye_y - person.brow_height - 2.0, 24.0, 7.0, 2.0 + 2.0 * person.socket),
        (0.62 * person.half_width, person.nose_y - 2.0, 20.0, 18.0, 4.0),
        (0.0, person.half_height - 17.0, 20.0, 11.0, 4.0),
        (0.0, person.mouth_y + 12.0, 17.0, 5.0, -2.0),
    )
    for x, y, radius_x, radius_y, height in hills:
        across, down = (
            (side - np.float32(x)) / np.float32(radius_x),
            (rays.y - np.float32(y)) / np.float32(radius_y),
        )
        hill = across * across
        hill += down * down
        np.negative(hill, out=hill)
        np.exp(hill, out=hill)
        hill *= np.float32(-2.0 * height)
        across *= hill
        across *= np.float32(1.0 / radius_x)
        slope_x += across
        down *= hill
        down *= np.float32(1.0 / radius_y)
        slope_y += down
    slope_x *= np.sign(rays.x)

    ridge = shape.aside / shape.width
    profile = np.clip(shape.along, 0.0, 1.0)
    profile = profile * np.clip((1.25 - shape.along) * 4.0, 0.0, 1.0)
    slope_x -= ridge * np.exp(-(ridge * ridge)) * profile * np.float32(0.11 * person.nose_height)
    slope_y += np.float32(0.30) * profile * bell(shape.aside, shape.width)
    tip = bell(shape.aside, 0.75 * person.nose_width) * bell(shape.below, 6.5)
    slope_y -= tip * shape.below * np.float32(0.012 * person.nose_height)
    return slope_x, slope_y


def shade(person: FacePerson, views: FaceViews, rays: Rays, shape: Nose) -> FloatArray:
    """Return the light (B, h, w) that falls on each point of the head."""
    x = rays.x * np.float32(person.half_width**-2)
    y = rays.y * np.float32(person.half_height**-2)
    z = rays.z * np.float32(person.depth**-2)
    length = x * x
    length += y * y
    length += z * z
    np.sqrt(length, out=length)
    slope_x, slope_y = _relief(person, rays, shape)
    x /= length
    x -= slope_x
    y /= length
    y -= slope_y
    z /= length
    np.multiply(x, x, out=length)
    length += y * y
    length += z * z
    np.sqrt(length, out=length)

    turn = rotation(views)
    norm = np.sqrt(views.light_x**2 + views.light_y**2 + 1.0)
    result: FloatArray = np.zeros_like(x)
    for sign, strength in ((1.0, np.ones_like(views.fill)), (-1.0, views.fill)):
        light = np.stack(
            [sign * views.light_x, 0.5 * (1.0 + sign) * views.light_y, -np.ones_like(norm)], axis=1
        )
        light = np.einsum("bji,bj->bi", turn, light / norm[:, None])
        part = x * column(light[:, 0])
        part += y * column(light[:, 1])
        part += z * column(light[:, 2])
        np.maximum(part, 0.0, out=part)
        part *= column(strength)
        result += part
    result /= length
    ambient = column(views.ambient)
    result *= 1.0 - ambient
    result += ambient
    return result
