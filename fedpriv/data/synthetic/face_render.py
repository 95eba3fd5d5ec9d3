"""A procedural face: who it is, what it shows and how it is seen vary independently.

Geometry is exact: the five landmarks are projected by the same maps that the pixels are cast through.
A picture depends on (seed, person, index) alone: not on how many are rendered, nor in which order.

Left out: cast shadows, perspective, hair as strands, teeth one by one, age.
"""

from collections.abc import Callable

import numpy as np

from fedpriv.data.synthetic import face_features as features
from fedpriv.data.synthetic import face_surroundings as surroundings
from fedpriv.data.synthetic.face_geometry import SUPERSAMPLE, Camera, cast
from fedpriv.data.synthetic.face_relief import nose, shade
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray
from fedpriv.data.synthetic.face_sensor import expose
from fedpriv.data.synthetic.face_shape import eyes, mouth
from fedpriv.data.synthetic.face_skin import skin
from fedpriv.types import ByteImages

Frame = Callable[[FacePerson, FaceViews], Camera]


def box(fine: FloatArray) -> FloatArray:
    """Average the supersampled pixels: (..., 2 H, 2 W) to (..., H, W)."""
    step = SUPERSAMPLE
    rows = fine[..., 0::step, :] + fine[..., 1::step, :]
    return np.asarray((rows[..., 0::step] + rows[..., 1::step]) * np.float32(0.25))


def render_scene(person: FacePerson, views: FaceViews, camera: Camera) -> FloatArray:
    """Render the light that reaches the sensor: (B, C, H, W) float32, about [0, 1], no sensor effects."""
    everywhere = cast(person, views, camera)
    # what is drawn on the head is not seen beside it, but a hat is in the same light
    rows, columns = (slice(None), slice(None)) if views.hat.any() else everywhere.head()
    rays = everywhere.part(rows, columns)
    lids, lips, ridge = eyes(person, views, rays), mouth(person, views), nose(person, views, rays)
    pattern = skin(person, views, rays, lids, lips, ridge)
    albedo: FloatArray = (person.skin * views.complexion)[:, :, None, None] * pattern[:, None]
    features.mouth(person, rays, lips, views, albedo)
    glint = features.eyes(person, views, lids, albedo[:, :, lids.rows])
    features.brows(person, views, rays, albedo)
    surroundings.hair(person, views, rays, albedo)
    surroundings.glasses(person, views, rays, albedo)
    light = shade(person, views, rays, ridge)
    albedo *= light[:, None]
    albedo[:, :, lids.rows] += glint[:, None]

    picture = surroundings.background(views, everywhere)
    surroundings.behind(person, views, everywhere, picture)
    features.over(picture[:, :, rows, columns], albedo, rays.inside)
    surroundings.hat(person, views, everywhere, picture, light)
    surroundings.occluder(views, everywhere, picture)
    return box(picture) * views.light[:, :, None, None]


def render_views(person: FacePerson, views: FaceViews, frame: Frame) -> ByteImages:
    """Render views of one person: (B, C, H, W) uint8, in the colours that person and views have.

    Views go through one at a time: sums over a batch round differently with its length, and a picture
    must not depend on how many are asked for. A batch would not be faster, as one picture fills the cache.

    Args:
        person: who.
        views: B of them.
        frame: makes the camera of a view.
    """
    images = []
    for index in range(len(views)):
        view = views.part(index, index + 1)
        images.append(expose(render_scene(person, view, frame(person, view)), view))
    return np.concatenate(images)
