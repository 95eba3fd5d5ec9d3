"""The data set ``synthetic_expressions``: seven emotions on faces, or on eyes, that do not exist."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.cache import cached_images
from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.emotions import EMOTIONS
from fedpriv.data.origins import of_rendered
from fedpriv.data.synthetic.face_identity import draw_person
from fedpriv.data.synthetic.face_landmarks import eye_camera, face_camera
from fedpriv.data.synthetic.face_moods import draw_emotions
from fedpriv.data.synthetic.face_priors import CLOSE_EYES, EXPRESSIONS, ViewPrior, draw_views
from fedpriv.data.synthetic.face_render import Frame, render_views
from fedpriv.data.synthetic.face_scene import grey_person, grey_views
from fedpriv.errors import UserError
from fedpriv.progress import track
from fedpriv.types import ByteImages

CARD = DatasetCard(
    name="synthetic_expressions",
    title="Synthetic expressions",
    tasks=("emotion",),
    contents="grey faces (48 x 48) or left eyes with brow (36 x 60), 7 expressions, any number of people",
    licence="part of fedpriv, Apache-2.0",
    source="rendered",
    layout="nothing: rendered on first use",
    citation="fedpriv; action units after Ekman, Friesen and Hager 2002",
    protocol="accuracy on people never trained on",
)

_VERSION = 2
_MOST_IMAGES = 4_000_000


@dataclass(frozen=True)
class _Region:
    height: int
    width: int
    prior: ViewPrior
    frame: Frame


_REGIONS = {
    "face": _Region(48, 48, EXPRESSIONS, partial(face_camera, size=48)),
    "eye": _Region(36, 60, CLOSE_EYES, partial(eye_camera, height=36, width=60)),
}


def render_expressions(seed: int, person: int, emotions: list[int], region: str) -> ByteImages:
    """Render person ``person`` showing each of ``emotions``: (len(emotions), 1, H, W).

    Args:
        seed: of everything random.
        person: number of the identity, the same person as in the synthetic faces.
        emotions: classes, indices into :data:`fedpriv.data.emotions.EMOTIONS`.
        region: ``face`` (48 x 48) or ``eye`` (36 x 60).
    """
    where = _REGIONS[region]
    constants = grey_person(draw_person(seed, person))
    shape = (1, where.height, where.width)
    views = draw_views(where.prior, list(emotions), shape, seed, "synthetic_faces", "expression", person)
    return render_views(constants, grey_views(views), where.frame)


def load(
    *,
    people: int = 60,
    images_per_person: int = 70,
    region: str = "face",
    label_noise: float = 0.05,
    seed: int = 0,
) -> ImageDataset:
    """Render, or read from the cache, pictures of ``people`` showing seven emotions.

    An emotion is a set of action units, each with an own intensity; some are missing, some
    of other emotions intrude, and some labels are wrong. Every person shows an own mix of emotions.

    Args:
        people: identities; person k is the same whatever ``people`` is.
        images_per_person: pictures of each; picture i is the same whatever their number is.
        region: ``face``: whole faces of 48 x 48 pixels, framed like FER2013; ``eye``: the left eye with its
            brow, 36 x 60 pixels, 1.36 pixels per mm, as the synthetic eyes show theirs.
        label_noise: share of wrong labels, which the pictures do not depend on.
        seed: of everything random.

    Returns:
        ``images`` (people * images_per_person, 1, H, W) uint8, person after person, a read-only map;
        ``targets`` (N,) int64, indices into :data:`fedpriv.data.emotions.EMOTIONS`.

    Raises:
        UserError: an argument is out of range.
    """
    for name, value, least in (
        ("people", people, 1),
        ("images_per_person", images_per_person, 1),
        ("seed", seed, 0),
    ):
        if type(value) is not int or value < least:
            raise UserError(f"data.{name}={value}: need a whole number of at least {least}")
    if region not in _REGIONS:
        raise UserError(f"data.region={region}: need one of {', '.join(_REGIONS)}")
    if type(label_noise) not in (int, float) or not math.isfinite(label_noise) or not 0 <= label_noise <= 1:
        raise UserError(f"data.label_noise={label_noise}: need a share from 0 to 1")
    count = people * images_per_person
    if count > _MOST_IMAGES:
        raise UserError(
            f"data.people={people}, data.images_per_person={images_per_person}: "
            f"{count} images are more than {_MOST_IMAGES}; lower either"
        )
    drawn = [draw_emotions(seed, person, images_per_person, label_noise) for person in range(people)]

    def fill(images: ByteImages, origins: NDArray[np.uint64]) -> None:
        for person in track(range(people), "synthetic_expressions", people):
            rows = slice(person * images_per_person, (person + 1) * images_per_person)
            shown = [int(emotion) for emotion in drawn[person][0]]
            images[rows] = render_expressions(seed, person, shown, region)
            # the eye region shows the same person at the same moment
            origins[rows] = of_rendered("synthetic_expressions", _VERSION, seed, person, images_per_person)

    where = _REGIONS[region]
    parameters = {"people": people, "images_per_person": images_per_person, "region": region, "seed": seed}
    shape = (count, 1, where.height, where.width)
    images, origins = cached_images("synthetic_expressions", _VERSION, parameters, shape, fill)
    return ImageDataset(
        name="synthetic_expressions",
        images=images,
        targets=np.concatenate([labels for _, labels in drawn]),
        subjects=np.repeat(np.arange(people, dtype=np.int64), images_per_person),
        subject_names=tuple(f"face{person:04d}" for person in range(people)),
        class_names=EMOTIONS,
        origins=origins,
    )
