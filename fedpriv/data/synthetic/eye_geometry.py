"""Where the eyeball, the iris and the lids appear in a picture.

The eyeball is a sphere of radius R about C, seen in orthographic projection. A pixel at (x, y) mm
from C with x^2 + y^2 < R^2 shows the point whose outward normal is n = (x, y, z) / R,
z = -sqrt(R^2 - x^2 - y^2). With o the optical axis, theta = acos(n . o) is the angle from the
middle of the iris; the iris is theta < asin(r_iris / R): exact by construction, no ellipse drawn.
"""

from dataclasses import dataclass

import numpy as np

from fedpriv.data.synthetic.eye_scene import HEIGHT, WIDTH, EyePerson, EyeViews, FloatArray

SUPERSAMPLE = 2
PIXELS_PER_MM = 1.55
_EDGE = np.float32(0.03)


def column(values: FloatArray) -> FloatArray:
    """Reshape (B,) to (B, 1, 1), to be broadcast over pictures."""
    return np.asarray(values, dtype=np.float32)[:, None, None]


def optical_axis(person: EyePerson, views: EyeViews) -> tuple[FloatArray, FloatArray]:
    """Return the pitch and yaw (B,) of the optical axis: the visual axis less kappa."""
    return views.pitch - np.float32(person.kappa_pitch), views.yaw - np.float32(person.kappa_yaw)


@dataclass(frozen=True)
class Grid:
    """Positions of the supersampled pixels, in mm from the eyeball's centre.

    Attributes:
        x: (B, 1, 2 * 60).
        y: (B, 2 * 36, 1).
        sharpness: (B, 1, 1) supersampled pixels per mm.
    """

    x: FloatArray
    y: FloatArray
    sharpness: FloatArray

    def part(self, rows: slice, columns: slice = slice(None)) -> "Grid":
        """Return the positions in some rows and columns."""
        return Grid(self.x[:, :, columns], self.y[:, rows], self.sharpness)


def grid(views: EyeViews) -> Grid:
    """Place the pixels of every view."""
    pixels_per_mm = column(views.scale) * np.float32(PIXELS_PER_MM)
    across = (np.arange(WIDTH * SUPERSAMPLE, dtype=np.float32) + 0.5) / SUPERSAMPLE - WIDTH / 2
    down = (np.arange(HEIGHT * SUPERSAMPLE, dtype=np.float32) + 0.5) / SUPERSAMPLE - HEIGHT / 2
    return Grid(
        x=(across[None, None, :] - column(views.shift_x)) / pixels_per_mm,
        y=(down[None, :, None] - column(views.shift_y)) / pixels_per_mm,
        sharpness=pixels_per_mm * SUPERSAMPLE,
    )


def coverage(distance: FloatArray, sharpness: FloatArray) -> FloatArray:
    """Return the share of each pixel that lies inside, ``distance`` being mm inside the edge: a ramp."""
    share = distance * sharpness
    share += np.float32(0.5)
    return np.clip(share, 0.0, 1.0, out=share)


@dataclass(frozen=True)
class Eyeball:
    """The visible half of the eyeball, per supersampled pixel.

    Attributes:
        z: (B, h, w) depth over R of the normal, in [-1, 0].
        cosine: (B, h, w) n . o, the cosine of the angle from the optical axis.
        right: (B, h, w) coordinate of n across the iris, on the axis that stays horizontal.
        down: (B, h, w) coordinate of n down the iris.
    """

    z: FloatArray
    cosine: FloatArray
    right: FloatArray
    down: FloatArray


def eyeball(person: EyePerson, views: EyeViews, where: Grid) -> Eyeball:
    """Cast one ray per supersampled pixel on the eyeball; beyond its outline z is 0 and cosine -1."""
    pitch, yaw = optical_axis(person, views)
    cos_p, sin_p = column(np.cos(pitch)), column(np.sin(pitch))
    cos_y, sin_y = column(np.cos(yaw)), column(np.sin(yaw))
    x = where.x / np.float32(person.eyeball_radius)
    y = where.y / np.float32(person.eyeball_radius)
    z = 1.0 - (x * x + y * y)
    np.maximum(z, 0.0, out=z)
    np.sqrt(z, out=z)
    np.negative(z, out=z)
    cosine = z * (-cos_p * cos_y)
    cosine += x * (-cos_p * sin_y)
    cosine += y * -sin_p
    np.copyto(cosine, np.float32(-1.0), where=z == 0.0)
    right = z * -sin_y
    right += x * cos_y
    down = z * (-sin_p * cos_y)
    down += x * (-sin_p * sin_y)
    down += y * cos_p
    return Eyeball(z=z, cosine=cosine, right=right, down=down)


def disc(ball: Eyeball, radius: FloatArray, eyeball_radius: float) -> FloatArray:
    """Return the (B, h, w) coverage of the cap whose rim has ``radius`` mm (B, 1, 1), edge 0.03 rad soft."""
    sine = radius / np.float32(eyeball_radius)
    cosine = np.sqrt(1.0 - sine * sine)
    share = (ball.cosine - cosine) / (sine * _EDGE)
    share += np.float32(0.5)
    return np.clip(share, 0.0, 1.0, out=share)


@dataclass(frozen=True)
class Lids:
    """Heights of the lids' edges, (B, 1, w) in mm, y down.

    Attributes:
        across: position between the corners, -1 to 1 (beyond them outside).
        upper: y of the upper lid's edge.
        lower: y of the lower lid's edge.
        line: y of the line through the corners.
        arch: (1 - across^2), not below 0.
    """

    across: FloatArray
    upper: FloatArray
    lower: FloatArray
    line: FloatArray
    arch: FloatArray

    def part(self, columns: slice) -> "Lids":
        """Return the lids in some columns."""
        parts = (self.across, self.upper, self.lower, self.line, self.arch)
        return Lids(*(each[:, :, columns] for each in parts))


def lids(person: EyePerson, views: EyeViews, where: Grid) -> Lids:
    """Place the lids: two parabolas between the corners; the upper one follows the optical pitch.

    The upper lid rises by 4.5 sin(pitch) mm and the lower one by 1.5 sin(pitch) mm.
    """
    pitch, _ = optical_axis(person, views)
    rise = column(np.sin(pitch))
    across = where.x / np.float32(person.lid_half_width)
    arch = np.maximum(1.0 - across * across, 0.0)
    line = where.x * (np.float32(person.lid_tilt) + column(views.tilt)) + np.float32(0.6)
    squint = column(views.squint)
    up = np.maximum(person.lid_opening * squint + 4.5 * rise, 1.2)
    low = np.maximum(person.lid_opening * person.lid_lower * squint - 1.5 * rise, 0.8)
    skewed = arch * (1.0 + np.float32(person.lid_peak * person.nose) * across)
    return Lids(
        across=across,
        upper=(line - up * skewed).astype(np.float32),
        lower=(line + low * arch).astype(np.float32),
        line=line,
        arch=arch,
    )
