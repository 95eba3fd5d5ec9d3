"""The data set ``synthetic_eyes``: procedural eyes with exact gaze; nothing is downloaded."""

import numpy as np

from fedpriv.data.cache import cached_arrays
from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.errors import UserError
from fedpriv.types import AnyArray

CARD = DatasetCard(
    name="synthetic_eyes",
    title="Synthetic eyes",
    tasks=("gaze",),
    contents="grey left eyes of 36 x 60 with exact gaze, as many people and pictures as asked for",
    licence="part of fedpriv, Apache-2.0",
    source="rendered",
    layout="nothing: rendered on first use",
    citation="fedpriv",
    protocol="people never trained on",
)

_VERSION = 1
_MOST_IMAGES = 2_000_000


def _render(people: int, images_per_person: int, seed: int) -> dict[str, AnyArray]:
    persons = [render_person(seed, person, images_per_person) for person in range(people)]
    return {
        "images": np.concatenate([person.images for person in persons]),
        "gaze": np.concatenate([person.gaze for person in persons]),
    }


def load(*, people: int = 40, images_per_person: int = 200, seed: int = 0) -> ImageDataset:
    """Render, or read from the cache, pictures of ``people`` left eyes.

    Args:
        people: identities; person k is the same whatever ``people`` is.
        images_per_person: pictures of each; picture i is the same whatever their number is.
        seed: of everything random.

    Returns:
        ``images`` (people * images_per_person, 1, 36, 60) uint8, person after person, a read-only map;
        ``targets`` (N, 2) float32: pitch and yaw of the visual axis in radians.

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
    if people * images_per_person > _MOST_IMAGES:
        raise UserError(
            f"data.people={people}, data.images_per_person={images_per_person}: {people * images_per_person} "
            f"images are more than {_MOST_IMAGES}; lower either"
        )
    arrays = cached_arrays(
        "synthetic_eyes",
        _VERSION,
        {"people": people, "images_per_person": images_per_person, "seed": seed},
        lambda: _render(people, images_per_person, seed),
    )
    return ImageDataset(
        name="synthetic_eyes",
        images=arrays["images"],
        targets=np.array(arrays["gaze"]),
        subjects=np.repeat(np.arange(people, dtype=np.int64), images_per_person),
        subject_names=tuple(f"eye{person:04d}" for person in range(people)),
    )
