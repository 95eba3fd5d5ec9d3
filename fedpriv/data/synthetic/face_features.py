"""What is painted on the skin of a face: brows, eyes and mouth, each laid over the albedo (B, C, h, w)."""

import numpy as np

from fedpriv.data.synthetic.face_geometry import Rays, column, coverage
from fedpriv.data.synthetic.face_relief import bell
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray
from fedpriv.data.synthetic.face_shape import Eyes, Mouth, brow, brow_rows, mouth_rows


def over(below: FloatArray, colour: FloatArray | float, opacity: FloatArray) -> None:
    """Lay a colour over ``below`` (B, C, h, w) in place: below += (colour - below) * opacity (B, h, w).

    Args:
        below: changed in place.
        colour: one number, (C,), (B, C) or (B, C, h, w).
        opacity: in [0, 1].
    """
    tone = np.asarray(colour, dtype=np.float32)
    if tone.ndim in (1, 2):
        tone = tone[..., None, None]
    difference = tone - below
    difference *= opacity[:, None]
    below += difference


def brows(person: FacePerson, views: FaceViews, rays: Rays, albedo: FloatArray) -> None:
    """Paint the brows: hairy bands, thinner towards the temple."""
    rows = brow_rows(person, views, rays)
    if rows.stop == 0:
        return
    rays = rays.part(rows)
    along, middle = brow(person, views, rays)
    half = np.float32(person.brow_thickness) * np.clip(1.05 - 0.6 * along, 0.3, 1.05)
    off = rays.y - middle
    shade = np.clip((half + 0.5 - np.abs(off)) * np.minimum(rays.sharpness, 1.2) + 0.3, 0.0, 1.0)
    ends = np.clip((along + 0.03) * 12.0, 0.0, 1.0)
    ends *= np.clip((1.0 - along) * 7.0, 0.0, 1.0)
    shade *= ends
    if bool(rays.detail.any()):
        hairs = np.cos((np.abs(rays.x) + 0.7 * off) * np.float32(2.9) + off) * np.cos(
            np.abs(rays.x) * 1.3 - off
        )
        hairs *= 0.25 * rays.detail
        hairs += 1.0 - 0.2 * rays.detail
        shade *= hairs
    over(albedo[:, :, rows], person.brow, np.clip(shade, 0.0, 1.0))


def eye_opening(lids: Eyes) -> FloatArray:
    """Return the coverage (B, h, w), in the eyes' rows, of what lies between the lids."""
    rays = lids.rays
    opening = coverage(rays.y - lids.upper, rays.sharpness)
    opening *= coverage(lids.lower - rays.y, rays.sharpness)
    opening *= np.minimum(lids.arch * 8.0, 1.0)
    return opening


def eyes(person: FacePerson, views: FaceViews, lids: Eyes, albedo: FloatArray) -> FloatArray:
    """Paint both eyes and their lash lines, in their rows alone.

    Args:
        person: who.
        views: one or more.
        lids: where the eyes are.
        albedo: (B, C, h, w), of their rows; changed in place.

    Returns:
        The brightness (B, h, w) of the glints in these rows, to be added.
    """
    rays, opening = lids.rays, eye_opening(lids)
    side = np.sign(rays.x)
    x = lids.outward - column(views.gaze_x) * side
    y = rays.y - np.float32(person.eye_y) - column(views.gaze_y)
    distance = np.hypot(x, y)
    shadow = 1.0 - 0.5 * np.exp(np.minimum(lids.upper - rays.y, 0.0) * np.float32(1 / 1.4))
    square = lids.across * lids.across
    white = 0.84 * shadow * (1.0 - 0.3 * square * square)
    over(albedo, white[:, None], opening)
    ring = np.square(distance * np.float32(1.0 / person.iris_radius))
    ring = 1.15 - 0.6 * np.square(ring, out=ring)
    iris = coverage(np.float32(person.iris_radius) - distance, rays.sharpness)
    iris *= opening
    over(albedo, person.iris[:, None, None] * np.maximum(ring * shadow, 0.1)[:, None], iris)
    pupil = coverage(2.2 - distance, rays.sharpness)
    pupil *= opening
    over(albedo, 0.03, pupil)

    root = np.sqrt(lids.arch)
    above = lids.upper - rays.y
    lash = bell(above - 0.2, 1.0) * root
    lash *= np.float32(0.35 + 0.6 * person.lashes)
    lower = bell(rays.y - lids.lower, 0.6) * root
    lower *= np.float32(0.35 * person.lashes)
    np.maximum(lash, lower, out=lash)
    over(albedo, 0.05, lash)

    glint = np.hypot(lids.outward * side - 1.6 * column(views.light_x), y - 1.6 * column(views.light_y))
    spot = bell(glint, 0.9)
    spot *= opening
    spot *= 0.7
    return spot


def mouth(person: FacePerson, rays: Rays, shape: Mouth, views: FaceViews, albedo: FloatArray) -> None:
    """Paint the lips, and the teeth and the dark where they part."""
    rows = mouth_rows(person, shape, rays)
    if rows.stop == 0:
        return
    rays, albedo = rays.part(rows), albedo[:, :, rows]
    half = column(shape.half_width)
    across = rays.x / half
    square = across * across
    arch = np.clip(1.0 - square, 0.0, 1.0)
    lift = np.where(rays.x > 0, column(shape.lift_left), column(shape.lift_right))
    line = np.float32(person.mouth_y) - lift * np.minimum(square, 1.5)
    gap_top, gap_bottom = line - column(shape.gap_up) * arch, line + column(shape.gap_down) * arch
    bow = 1.0 - 0.16 * np.float32(person.bow) * np.exp(-square * 60.0)
    sneer = column(shape.sneer) * bell(np.abs(across) - 0.45, 0.35)
    full = np.sqrt(arch)
    top = gap_top - column(shape.upper) * (0.65 * arch + 0.35 * full) * bow - sneer * full
    bottom = gap_bottom + column(shape.lower) * (0.5 * arch + 0.5 * full)
    within = coverage((1.0 - np.abs(across)) * half, rays.sharpness)
    lips = coverage(rays.y - top, rays.sharpness)
    lips *= coverage(bottom - rays.y, rays.sharpness)
    lips *= within
    # the upper lip faces down and is darker
    tone = 0.86 + 0.14 * np.clip((rays.y - line) * 0.5 + 0.5, 0.0, 1.0)
    over(albedo, (person.lips * views.complexion)[:, :, None, None] * tone[:, None], lips)
    seam = bell(rays.y - line, 1.1) * within
    over(albedo, (0.35 * person.lips)[:, None, None], seam * 0.75)
    gap = coverage(rays.y - gap_top, rays.sharpness)
    gap *= coverage(gap_bottom - rays.y, rays.sharpness)
    gap *= within
    over(albedo, 0.06, gap)
    teeth = np.clip(
        (column(1.0 + shape.gap_up * 1.1) + gap_top - rays.y + column(shape.gap_up) * 0.4), 0.0, 1.0
    )
    teeth = np.maximum(
        teeth, np.clip(rays.y - gap_bottom + 2.5, 0.0, 1.0) * (column(shape.gap_down) > 2.5) * 0.6
    )
    gap *= teeth
    gap *= 1.0 - 0.6 * square
    over(albedo, 0.72, np.maximum(gap, 0.0))
