"""The pattern of the skin: texture, moles, folds at rest, folds that an expression makes, beard."""

import numpy as np

from fedpriv.data.synthetic.face_actions import unit
from fedpriv.data.synthetic.face_geometry import Rays, column
from fedpriv.data.synthetic.face_relief import BELL_REACH, Nose, bell
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray
from fedpriv.data.synthetic.face_shape import Eyes, Mouth
from fedpriv.data.synthetic.spans import span


def _darken(factor: FloatArray, pattern: FloatArray, depth: FloatArray | float) -> None:
    """Multiply ``factor`` in place by 1 - depth * pattern."""
    pattern *= np.asarray(-depth, dtype=np.float32)
    pattern += np.float32(1.0)
    factor *= pattern


def _texture(person: FacePerson, rays: Rays) -> FloatArray:
    factor: FloatArray = np.ones_like(rays.x)
    for frequency_x, frequency_y, phase, amplitude in person.texture:
        factor += amplitude * np.cos(frequency_x * rays.x + frequency_y * rays.y + phase)
    for x, y, radius, darkness in person.moles:
        if darkness > 0:
            rows = rays.rows(y - BELL_REACH * radius, y + BELL_REACH * radius)
            distance = np.hypot(rays.x[:, rows] - x, rays.y[:, rows] - y)
            _darken(factor[:, rows], bell(distance, radius), darkness)
    return factor


def _stripes(across: FloatArray, period: float) -> FloatArray:
    """Return thin dark lines, one every ``period`` mm: ((1 + cos) / 2)^4."""
    lines = np.cos(across * np.float32(2.0 * np.pi / period))
    lines += 1.0
    lines *= np.float32(0.5)
    np.square(lines, out=lines)
    return np.square(lines, out=lines)


def _upper_folds(person: FacePerson, views: FaceViews, rays: Rays, lids: Eyes, factor: FloatArray) -> None:
    """Darken the folds of forehead, glabella, nose root and the corners of the eyes."""
    units, depth = views.units, 0.45 * person.wrinkle
    side = np.abs(rays.x)
    # nothing is multiplied by 1 that need not be: most pictures show few units
    if (unit(units, "AU1") + unit(units, "AU2")).any():
        raised = np.maximum(
            unit(units, "AU1") * bell(side, 22.0), unit(units, "AU2") * bell(side - 30.0, 22.0)
        )
        above = rays.y - np.float32(person.eye_y - person.brow_height - 20.0)
        _darken(factor, _stripes(above + 0.006 * side * side, 8.0) * bell(above, 11.0) * raised, depth)
    if unit(units, "AU4").any():
        between = bell(side - 4.5, 1.7) * bell(rays.y - np.float32(person.eye_y - person.brow_height), 8.0)
        _darken(factor, between, unit(units, "AU4") * (depth + 0.15))
    if unit(units, "AU9").any():
        root = _stripes(rays.y - np.float32(person.eye_y) + 0.25 * side, 4.5)
        root *= bell(side, 10.0) * bell(rays.y - np.float32(person.eye_y + 1.0), 8.0)
        _darken(factor, root, unit(units, "AU9") * (depth + 0.2))
    if unit(units, "AU6").any():
        y = lids.rays.y
        feet = _stripes(y - lids.line + 0.35 * (lids.across - 1.0), 3.6) * bell(lids.across - 1.45, 0.35)
        _darken(factor[:, lids.rows], feet * bell(y - lids.line, 7.0), unit(units, "AU6") * depth)


def _lid_folds(person: FacePerson, views: FaceViews, lids: Eyes, factor: FloatArray) -> None:
    """Darken, in the eyes' rows, the crease above, the bag below and the inner corner of the socket."""
    rays, root = lids.rays, np.sqrt(lids.arch)
    opened = (lids.line - lids.upper) / np.float32(person.eye_opening)
    crease = lids.upper - rays.y - np.float32(person.crease) * (1.5 - 0.5 * opened) - 0.4
    _darken(factor, bell(crease, 0.9) * root, 0.38)
    cheek = np.maximum(unit(views.units, "AU6"), 0.6 * unit(views.units, "AU7"))
    bag = rays.y - lids.lower - 4.5 + 1.0 * cheek
    _darken(factor, bell(bag, 1.4) * root, 0.10 + 0.35 * cheek)
    corner = bell(lids.across + 1.1, 0.5) * bell(rays.y - lids.line + 2.0, 7.0)
    _darken(factor, corner, 0.35 * person.socket)


def _lower_folds(person: FacePerson, views: FaceViews, rays: Rays, shape: Mouth, factor: FloatArray) -> None:
    """Darken the nasolabial folds, the chin's fold, the mouth's corners, and the beard."""
    units = views.units
    side = np.abs(rays.x)
    top = np.float32(person.nose_y + 1.0)
    length = np.float32(person.mouth_y + 4.0) - top
    rows = rays.rows(float(top - 0.24 * abs(length)), float(top + 1.14 * abs(length)))
    along = (rays.y[:, rows] - top) / length
    wing, corner = np.float32(person.nose_width + 3.0), column(shape.half_width) + 5.0
    path = wing + (corner - wing) * along + 3.0 * (along * (1.0 - along))
    fold = bell(side[:, rows] - path, 2.2) * np.clip(1.5 - np.abs(along - 0.45) * 2.2, 0.0, 1.0)
    strength = np.maximum(unit(units, "AU12") * 0.38, unit(units, "AU9") * 0.42)
    strength = np.minimum(max(person.fold, 0.0) + strength * (0.6 + 0.6 * person.wrinkle), 0.6)
    _darken(factor[:, rows], fold, strength)
    chin = person.mouth_y + person.lip_lower + 7.0
    rows = rays.rows(chin - BELL_REACH * 2.0, chin + BELL_REACH * 2.0)
    below = bell(rays.y[:, rows] - np.float32(chin), 2.0) * bell(side[:, rows], 13.0)
    _darken(factor[:, rows], below, 0.15 + 0.2 * unit(units, "AU15"))
    dark = person.beard + column(views.stubble)
    if bool((dark > 0).any()):
        lower = np.clip(
            (rays.y - np.float32(person.mouth_y - 12.0) + 0.012 * side * side - 6.0) * 0.05, 0.0, 1.0
        )
        around = np.clip((np.hypot(rays.x * 0.8, rays.y - np.float32(person.mouth_y)) - 6.0) * 0.2, 0.0, 1.0)
        moustache = bell(rays.y - np.float32(person.mouth_y - person.lip_upper - 5.0), 5.0) * bell(side, 24.0)
        _darken(factor, np.maximum(lower * around, moustache), np.minimum(dark, 0.6))


def _nose_marks(person: FacePerson, shape: Nose, factor: FloatArray) -> None:
    """Darken nostrils, wings and the shadow below the nose."""
    rows = span(np.any(np.abs(shape.below - 2.0) < BELL_REACH * 5.5, axis=(0, 2)))
    aside, below, factor = np.abs(shape.aside[:, rows]), shape.below[:, rows], factor[:, rows]
    wide = np.float32(person.nose_width)
    nostril = bell(aside - 0.48 * wide, 0.26 * person.nose_width) * bell(below - 7.0, 2.3)
    _darken(factor, nostril, 0.72)
    _darken(factor, bell(below - 9.0, 3.0) * bell(aside, 0.8 * person.nose_width), 0.25)
    _darken(factor, bell(aside - wide, 1.8) * bell(below - 2.0, 5.5), 0.34)


def skin(
    person: FacePerson, views: FaceViews, rays: Rays, lids: Eyes, shape: Mouth, where_nose: Nose
) -> FloatArray:
    """Return the factor (B, h, w) of the skin's albedo."""
    factor = _texture(person, rays)
    _upper_folds(person, views, rays, lids, factor)
    _lid_folds(person, views, lids, factor[:, lids.rows])
    _lower_folds(person, views, rays, shape, factor)
    _nose_marks(person, where_nose, factor)
    return factor
