"""What is around and on a face: background, neck, ears, hair, hat, glasses, and what hides a part of it."""

import numpy as np

from fedpriv.data.synthetic.face_features import over
from fedpriv.data.synthetic.face_geometry import Rays, column, coverage, project
from fedpriv.data.synthetic.face_relief import bell
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray
from fedpriv.data.synthetic.spans import span


def background(views: FaceViews, rays: Rays) -> FloatArray:
    """Return the background (B, C, h, w): two colours mixed by waves; the neck and the rest lie over it."""
    mixed: FloatArray = np.full_like(rays.x, 0.5)
    for wave in np.moveaxis(views.ground_waves, 1, 0):
        frequency_x, frequency_y, phase, amplitude = (column(wave[:, i]) for i in range(4))
        mixed += amplitude * np.cos(frequency_x * rays.plane_x + frequency_y * rays.plane_y + phase)
    np.clip(mixed, 0.0, 1.0, out=mixed)
    first, second = views.ground[:, 0, :, None, None], views.ground[:, 1, :, None, None]
    result: FloatArray = first + (second - first) * mixed[:, None]
    return result


def outline(person: FacePerson, views: FaceViews, rays: Rays, margin: float) -> FloatArray:
    """Return how far (mm, about) each pixel lies inside the head's outline, grown by ``margin``."""
    wide = np.hypot(person.half_width * np.cos(views.yaw), person.depth * np.sin(views.yaw)) + margin
    high = np.hypot(person.half_height * np.cos(views.pitch), person.depth * np.sin(views.pitch)) + margin
    x, y = rays.plane_x / column(wide), rays.plane_y / column(high)
    x *= x
    x += np.square(y, out=y)
    np.subtract(1.0, x, out=x)
    x *= column(0.5 * wide)
    return x


def behind(person: FacePerson, views: FaceViews, rays: Rays, picture: FloatArray) -> None:
    """Paint what the head hides in part: neck, clothes, the hair behind, the ears."""
    chin = np.float32(person.half_height)
    neck = coverage(np.float32(0.66 * person.half_width) - np.abs(rays.plane_x), rays.sharpness)
    neck *= coverage(rays.plane_y - 0.4 * chin, rays.sharpness)
    over(picture, 0.55 * person.skin * views.complexion, neck)
    over(
        picture,
        views.cloth,
        coverage(rays.plane_y - chin - 22.0 + 0.15 * np.abs(rays.plane_x), rays.sharpness),
    )
    hair = coverage(outline(person, views, rays, person.hair_volume), rays.sharpness)
    hair *= coverage(np.float32(person.hair_length) - rays.plane_y, rays.sharpness)
    over(picture, _hair_tone(person, views) * 0.8, hair)
    ears = np.zeros((len(views), 2, 3), dtype=np.float32)
    ears[:, 0, 0], ears[:, 1, 0] = (
        -(person.half_width + 0.3 * person.ear_out),
        person.half_width + 0.3 * person.ear_out,
    )
    ears[:, :, 1] = person.ear_y
    at = project(person, views, ears)
    cover: FloatArray = np.zeros_like(rays.plane_x)
    for i in range(2):
        x, y = rays.plane_x - column(at[:, i, 0]), rays.plane_y - column(at[:, i, 1])
        wide, high = np.float32(person.ear_out + 4.0), np.float32(person.ear_radius)
        # no further out can an ear be seen
        grown = 1.01 + 0.5 / float(rays.sharpness.min()) / wide
        rows = span(np.any(np.abs(y) < grown * high, axis=(0, 2)))
        inside = 1.0 - np.hypot(x[:, rows] / wide, y[:, rows] / high)
        ear = coverage(inside * wide, rays.sharpness)
        np.maximum(cover[:, rows], ear, out=cover[:, rows])
    over(picture, 0.8 * person.skin * views.complexion, cover)


def _hair_tone(person: FacePerson, views: FaceViews) -> FloatArray:
    return np.asarray(np.minimum(person.hair * views.hair_tone[:, None], 0.9))


def hair(person: FacePerson, views: FaceViews, rays: Rays, albedo: FloatArray) -> None:
    """Paint the hair on the head: above a wavy hairline that comes down at the sides."""
    side = np.square(rays.x * np.float32(1.0 / person.half_width))
    line = -np.float32(person.hairline) - column(views.hair_lift) + np.float32(person.hair_part) * rays.x
    line = line + np.float32(20.0 * person.hair_round) * side
    for frequency, phase, amplitude in person.hair_waves:
        line += amplitude * np.cos(frequency * rays.x + phase + column(views.hair_phase))
    temple = np.clip((side - 0.72) * 6.0, 0.0, 1.0) + np.clip((rays.z + 25.0) * 0.03, 0.0, 1.0)
    line += (np.float32(person.hairline + person.hair_side)) * np.minimum(temple, 1.0)
    cover = coverage(line - rays.y, np.minimum(rays.sharpness, 0.6))
    across = np.abs(rays.x)
    strands = 1.0 + 0.18 * np.cos(across * 0.5 + 6.0 * side) * np.cos(across * 0.23 - rays.y * 0.05)
    over(albedo, _hair_tone(person, views)[:, :, None, None] * strands[:, None], cover)


def hat(person: FacePerson, views: FaceViews, rays: Rays, picture: FloatArray, light: FloatArray) -> None:
    """Paint the hat of the views that wear one, over head and background."""
    if not bool(views.hat.any()):
        return
    cover = coverage(outline(person, views, rays, person.hair_volume + 6.0), rays.sharpness)
    brim = -column(views.hat_y) + 0.0012 * rays.plane_x * rays.plane_x
    cover *= coverage(brim - rays.plane_y, rays.sharpness)
    cover *= column(views.hat)
    tone = light * (1.0 - 0.35 * bell(rays.plane_y - brim + 6.0, 3.0))
    over(picture, views.hat_tone[:, :, None, None] * tone[:, None], cover)


def glasses(person: FacePerson, views: FaceViews, rays: Rays, albedo: FloatArray) -> None:
    """Paint the glasses of the views that wear them: rims |x / a|^3 + |y / b|^3 = 1, a bridge, arms."""
    if not bool(views.glasses.any()):
        return
    side = np.abs(rays.x)
    wide, high = column(views.rim_width), column(views.rim_height)
    x, y = side - np.float32(person.eye_x), rays.y - np.float32(person.eye_y) - column(views.rim_y)
    along, up = np.abs(x / wide), np.abs(y / high)
    level = along * along * along + up * up * up - 1.0
    # The level grows by 3 / size per mm at the rim, which turns a difference of levels into mm.
    level *= high / 3.0
    thick = column(views.rim_thickness) * 0.5
    rim = coverage(thick - np.abs(level), rays.sharpness)
    bar = coverage(thick - np.abs(y + 0.45 * high), rays.sharpness)
    bar *= np.abs(x) > wide * 0.9
    np.maximum(rim, bar, out=rim)
    worn = column(views.glasses)
    over(albedo, 0.1, coverage(-level, rays.sharpness) * (column(views.tint) * worn))
    over(albedo, views.rim, rim * worn)


def occluder(views: FaceViews, rays: Rays, picture: FloatArray) -> None:
    """Paint what hides a part of some views: a scarf, a hand, another head; beyond a straight edge."""
    if not bool(views.occluder.any()):
        return
    across, down = column(np.cos(views.occluder_angle)), column(np.sin(views.occluder_angle))
    cover = coverage(
        across * rays.plane_x + down * rays.plane_y - column(views.occluder_reach), rays.sharpness
    )
    cover *= column(views.occluder)
    over(picture, views.occluder_tone, cover)
