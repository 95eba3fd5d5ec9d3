"""The data set ``synthetic_faces``: portraits of people that do not exist; nothing is downloaded."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.cache import cached_images
from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.origins import of_rendered
from fedpriv.data.synthetic.face_identity import draw_person
from fedpriv.data.synthetic.face_landmarks import aligned_camera
from fedpriv.data.synthetic.face_priors import PORTRAITS, draw_views
from fedpriv.data.synthetic.face_render import render_views
from fedpriv.errors import UserError
from fedpriv.progress import track
from fedpriv.types import ByteImages

CARD = DatasetCard(
    name="synthetic_faces",
    title="Synthetic faces",
    tasks=("face",),
    contents="aligned colour portraits of any number of people: pose, expression, light and dress vary",
    licence="part of fedpriv, Apache-2.0",
    source="rendered",
    layout="nothing: rendered on first use",
    citation="fedpriv; after Bae et al., WACV 2023 (DigiFace-1M, arXiv 2210.02579)",
    protocol="verification of people never trained on, ten folds of pairs",
)

_VERSION = 2
_MOST_PIXELS = 1 << 34
_LEAST_SIZE, _MOST_SIZE = 16, 512


def render_portraits(seed: int, person: int, count: int, size: int) -> ByteImages:
    """Render pictures 0 to ``count - 1`` of person ``person``: (count, 3, size, size)."""
    constants = draw_person(seed, person)
    views = draw_views(PORTRAITS, [None] * count, (3, size, size), seed, "synthetic_faces", "view", person)
    return render_views(constants, views, partial(aligned_camera, size=size))


def load(*, people: int = 60, images_per_person: int = 20, size: int = 56, seed: int = 0) -> ImageDataset:
    """Render, or read from the cache, aligned portraits.

    Faces are aligned by five landmarks to the template of ArcFace, with small errors as a detector
    makes. Nothing but shape and texture of a face tells the person: pose, expression, light,
    exposure, background, glasses, hats and clothes are drawn anew for every picture.

    Args:
        people: identities; person k is the same whatever ``people`` is.
        images_per_person: pictures of each; picture i is the same whatever their number is.
        size: height and width in pixels, 16 to 512; 112 is the standard of aligned faces.
        seed: of everything random.

    Returns:
        ``images`` (people * images_per_person, 3, size, size) uint8, person after person, a read-only
        map; ``targets`` and ``subjects`` (N,) int64: the person.

    Raises:
        UserError: an argument is out of range.
    """
    for name, value, least, most in (
        ("people", people, 1, 10_000_000),
        ("images_per_person", images_per_person, 1, 10_000_000),
        ("size", size, _LEAST_SIZE, _MOST_SIZE),
        ("seed", seed, 0, None),
    ):
        if type(value) is not int or value < least or (most is not None and value > most):
            limit = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise UserError(f"data.{name}={value}: need a whole number {limit}")
    count = people * images_per_person
    if count * 3 * size * size > _MOST_PIXELS:
        raise UserError(
            f"data.people={people}, data.images_per_person={images_per_person}, data.size={size}: "
            f"{count} images are more than {_MOST_PIXELS >> 30} GiB; lower one of them"
        )

    def fill(images: ByteImages, origins: NDArray[np.uint64]) -> None:
        for person in track(range(people), "synthetic_faces", people):
            rows = slice(person * images_per_person, (person + 1) * images_per_person)
            images[rows] = render_portraits(seed, person, images_per_person, size)
            origins[rows] = of_rendered("synthetic_faces", _VERSION, seed, person, images_per_person)

    subjects = np.repeat(np.arange(people, dtype=np.int64), images_per_person)
    parameters = {"people": people, "images_per_person": images_per_person, "size": size, "seed": seed}
    shape = (count, 3, size, size)
    images, origins = cached_images("synthetic_faces", _VERSION, parameters, shape, fill)
    return ImageDataset(
        name="synthetic_faces",
        images=images,
        targets=subjects.copy(),
        subjects=subjects,
        subject_names=tuple(f"face{person:04d}" for person in range(people)),
        origins=origins,
    )
