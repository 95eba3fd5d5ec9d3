"""How the parts of a synthetic eye look: each layer returns float32 pictures (B, h, w) in [0, ~1]."""

import numpy as np

from fedpriv.data.synthetic.eye_geometry import Eyeball, Grid, Lids, column, coverage, disc, optical_axis
from fedpriv.data.synthetic.eye_scene import EyePerson, EyeViews, FloatArray
from fedpriv.data.synthetic.spans import span

CORNEA_RADIUS = 7.8
CORNEA_OFFSET = 5.6
"""Of the cornea's centre in front of the eyeball's, in mm (schematic eye: it stands out by 1.4 mm)."""


def _bump(distance: FloatArray, width: float) -> FloatArray:
    scaled = distance * np.float32(1.0 / width)
    np.square(scaled, out=scaled)
    np.negative(scaled, out=scaled)
    np.exp(scaled, out=scaled)
    return scaled


def _direction(views: EyeViews) -> tuple[FloatArray, FloatArray, FloatArray]:
    length = np.sqrt(views.light_x**2 + views.light_y**2 + 1.0)
    return column(views.light_x / length), column(views.light_y / length), column(-1.0 / length)


def _lit(shade: FloatArray, views: EyeViews) -> FloatArray:
    """Return ambient + (1 - ambient) * max(n . l, 0), overwriting ``shade``."""
    ambient = column(views.ambient)
    np.maximum(shade, 0.0, out=shade)
    shade *= 1.0 - ambient
    shade += ambient
    return shade


def skin(person: EyePerson, views: EyeViews, where: Grid, lid: Lids) -> FloatArray:
    """Shade the skin: Lambert on a bulging lid, a brow ridge and the side of the nose; texture; creases."""
    light_x, light_y, light_z = _direction(views)
    beyond = np.float32(person.nose) * where.x - 14.0
    slope_x = where.x * np.float32(0.035) - np.float32(0.9 * person.nose) / (1.0 + np.exp(beyond * -0.5))
    slope_y = where.y * np.float32(0.085) * _bump(where.y, 9.0) - 0.5 * _bump(where.y + 10.5, 3.5)
    slope_y = slope_y + 0.25 * _bump(where.y - 8.0, 3.0)
    norm = 1.0 / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
    shade: FloatArray = (slope_x * light_x - light_z) + slope_y * light_y
    shade *= norm
    _lit(shade, views)

    waves = person.texture
    phase_x = where.x * waves[:, 0][:, None] + waves[:, 2][:, None]
    phase_y = (where.y * waves[:, 1]).astype(np.float32)
    rows = np.concatenate([np.cos(phase_y) * waves[:, 3], -np.sin(phase_y) * waves[:, 3]], axis=2)
    columns = np.concatenate([np.cos(phase_x), np.sin(phase_x)], axis=1)
    albedo: FloatArray = np.matmul(rows, columns)
    albedo += np.float32(person.skin)

    inner = _bump(where.x - np.float32(person.nose * (person.lid_half_width + 1.5)), 5.0)
    albedo *= 1.0 - np.float32(person.socket) * inner * _bump(where.y + 2.5, 6.0)

    above = lid.upper - where.y
    crease = (
        np.float32(person.crease) + 0.25 * (lid.upper - lid.line + np.float32(person.lid_opening)) * lid.arch
    )
    fold = _bump(above - crease, 0.55)
    fold *= np.float32(person.crease_depth) * np.sqrt(lid.arch)
    albedo *= 1.0 - fold
    below = where.y - lid.lower
    bag = _bump(below - np.float32(3.6), 1.1)
    bag *= np.float32(0.10 + 0.3 * person.socket) * lid.arch
    albedo *= 1.0 - bag
    shade *= albedo
    return shade


def brow(person: EyePerson, where: Grid) -> tuple[slice, FloatArray]:
    """Return the rows of the brow and its coverage (B, h, w) there: a hairy band, thinner to the temple."""
    outward = where.x * np.float32(-person.nose / 14.0)
    edge = -np.float32(person.brow_height) + np.float32(person.brow_slope) * where.x
    edge = edge + 1.8 * outward * outward - 1.2 * outward
    half = np.maximum(2.3 - 0.9 * outward, 0.8)
    middle = edge - half
    top, bottom = np.min(edge - 2.0 * half, axis=2), np.max(edge, axis=2)
    reached = (where.y[:, :, 0] > top - 0.8) & (where.y[:, :, 0] < bottom + 0.8)
    rows = span(np.any(reached, axis=0))
    where = where.part(rows)
    along = np.float32(person.nose) * where.x + np.float32(0.7) * where.y
    hairs = np.cos(along * np.float32(3.1) + where.y) * np.cos(
        along * np.float32(1.3) - where.y * np.float32(2.0)
    )
    hairs *= np.float32(0.2)
    hairs += np.float32(0.78)
    hairs *= np.clip((half + 0.7 - np.abs(where.y - middle)) / 1.4, 0.0, 1.0)
    return rows, hairs


def _iris(person: EyePerson, ball: Eyeball, hole: FloatArray) -> FloatArray:
    """Return the albedo of iris and pupil: fibres around the optical axis, a dark limbus, 0.03 inside."""
    squared = 1.0 - ball.cosine * ball.cosine
    squared *= np.float32((person.eyeball_radius / person.iris_radius) ** 2)
    angle = np.arctan2(ball.right, ball.down)
    tone: FloatArray = np.cos(angle * np.float32(9.0) + np.float32(person.fibre_phase))
    tone += np.cos(angle * np.float32(14.0) - np.float32(2.0 * person.fibre_phase))
    tone *= np.float32(0.5 * person.iris_fibres)
    tone += 1.0
    squared *= squared
    squared *= np.float32(-0.55)
    squared += np.float32(1.15)
    tone *= squared
    tone *= np.float32(person.iris)
    tone *= 1.0 - hole
    tone += np.float32(0.03) * hole
    return tone


def _upper_shadow(where: Grid, lid: Lids) -> FloatArray:
    """Return the factor of light that is left below the upper lid: 0.45 at its edge, 1.3 mm deep."""
    left = (where.y - lid.upper) * np.float32(-1.0 / 1.3)
    np.minimum(left, 0.0, out=left)
    np.exp(left, out=left)
    left *= np.float32(-0.55)
    left += 1.0
    return left


def globe(person: EyePerson, views: EyeViews, where: Grid, ball: Eyeball, lid: Lids) -> FloatArray:
    """Shade what lies between the lids: sclera, iris, pupil, the lids' shadow and the glint."""
    light_x, light_y, light_z = _direction(views)
    radius = np.float32(person.eyeball_radius)
    shade = ball.z * light_z
    shade += where.x * (light_x / radius)
    shade += where.y * (light_y / radius)
    _lit(shade, views)
    # 0.35 of the light reaches every part of the moist white, which scatters it inside.
    shade *= np.float32(0.65)
    shade += np.float32(0.35)

    corners = lid.across * lid.across
    caruncle = _bump(where.x - np.float32(person.nose * person.lid_half_width * 0.93), 1.6)
    white = np.float32(person.sclera) * (1.0 - 0.30 * corners * corners) * (1.0 - 0.35 * caruncle)

    rim_radius = np.full((1, 1, 1), person.iris_radius, dtype=np.float32)
    albedo = _iris(person, ball, disc(ball, column(views.pupil), person.eyeball_radius))
    albedo -= white
    albedo *= disc(ball, rim_radius, person.eyeball_radius)
    albedo += white
    shade *= albedo
    shade *= _upper_shadow(where, lid)
    shade += glint(person, views, where)
    return shade


def glint(person: EyePerson, views: EyeViews, where: Grid) -> FloatArray:
    """Return the corneal reflection (B, h, w) of the light and of a weaker window beside it.

    The cornea is a sphere of 7.8 mm whose centre lies 5.6 mm along the optical axis; it reflects a
    far light where its normal is the half vector of light and view (Blinn 1977).
    """
    pitch, yaw = optical_axis(person, views)
    centre_x = column(-np.cos(pitch) * np.sin(yaw)) * np.float32(CORNEA_OFFSET)
    centre_y = column(-np.sin(pitch)) * np.float32(CORNEA_OFFSET)
    light_x, light_y, light_z = _direction(views)
    half_z = light_z - 1.0
    length = np.sqrt(light_x**2 + light_y**2 + half_z**2) / np.float32(CORNEA_RADIUS)
    spot_x, spot_y = centre_x + light_x / length, centre_y + light_y / length
    size = column(views.glint_radius)
    strong = np.exp(-(((where.x - spot_x) / size) ** 2)) * np.exp(-(((where.y - spot_y) / size) ** 2))
    wide_x = np.exp(-(((where.x - centre_x + (spot_x - centre_x) * 0.5) / 1.1) ** 2))
    wide_y = np.exp(-(((where.y - centre_y - 1.0) / 0.7) ** 2))
    strong *= column(views.glint)
    strong += (0.22 * column(views.glint)) * wide_x * wide_y
    return strong.astype(np.float32, copy=False)


def lashes(person: EyePerson, where: Grid, lid: Lids) -> FloatArray:
    """Return the opacity (B, h, w) of the lash line and of the lashes, which fan out from the lids."""
    above = lid.upper - where.y
    line = _bump(above - np.float32(0.3), 0.65)
    line *= np.float32(0.60 + 0.4 * person.lashes) * np.sqrt(lid.arch)
    lean = 0.9 * lid.across - np.float32(0.25 * person.nose)
    hairs = np.cos((where.x - above * lean) * np.float32(4.4))
    hairs *= np.float32(0.5)
    hairs += np.float32(0.5)
    hairs *= hairs
    reach = np.clip(1.0 - above / (0.8 + 2.6 * person.lashes * np.sqrt(lid.arch)), 0.0, 1.0)
    reach *= above > 0
    hairs *= reach
    hairs *= np.float32(0.5 + 0.5 * person.lashes) * np.sqrt(lid.arch)
    np.maximum(line, hairs, out=line)
    rim = _bump(where.y - lid.lower, 0.4)
    rim *= np.float32(0.30 * person.lashes) * lid.arch
    np.maximum(line, rim, out=line)
    return line


def glasses(person: EyePerson, views: EyeViews, where: Grid) -> tuple[FloatArray, FloatArray]:
    """Return the rim's coverage and the brightness of the lens's reflection, both (B, h, w).

    The rim follows the superellipse |x / a|^3 + |y / b|^3 = 1.
    """
    x = np.abs((where.x - column(views.glasses_x)) / np.float32(person.rim_width))
    y = np.abs((where.y - column(views.glasses_y)) / np.float32(person.rim_height))
    level = x * x * x + y * y * y
    # The level grows by 3 / size per mm at the rim, which turns a difference of levels into mm.
    level -= 1.0
    level *= np.float32(person.rim_height / 3.0)
    rim = coverage(np.float32(person.rim_thickness / 2) - np.abs(level), where.sharpness)
    rim *= column(views.glasses)
    streak = (where.x - column(views.glasses_x)) * np.float32(-person.nose) + where.y * np.float32(0.8)
    streak = _bump(streak - 6.0, 4.0)
    streak *= column(views.reflection * views.glasses)
    return rim, streak
