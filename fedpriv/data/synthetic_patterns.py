"""The data set ``synthetic_patterns``: noisy class patterns, made in a moment, for benchmarks."""

import numpy as np

from fedpriv.data.cache import cached_arrays
from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.seeding import generator
from fedpriv.types import AnyArray

CARD = DatasetCard(
    name="synthetic_patterns",
    title="Synthetic colour patterns",
    tasks=("classification",),
    contents="noisy colour patterns in any number of classes, each person with an own mix of them",
    licence="part of fedpriv, Apache-2.0",
    source="rendered",
    layout="nothing: made on first use",
    citation="fedpriv",
    protocol="people never trained on",
)

_VERSION = 1

_MOST_PIXELS = 1 << 29


def load(
    *, people: int = 100, images_per_person: int = 50, classes: int = 10, size: int = 32, seed: int = 0
) -> ImageDataset:
    """Return images of ``classes`` smooth random colour patterns under strong noise.

    Person p sees the classes in proportions drawn from Dirichlet(1), so people differ as clients do.

    Args:
        people: identities.
        images_per_person: images of each.
        classes: number of patterns.
        size: height and width.
        seed: determines everything.

    Returns:
        images (people * images_per_person, 3, size, size), targets int64 (N,).

    Raises:
        UserError: for values below 1, a size that is no multiple of 4, or more than 2^29 pixels.
    """
    for name, value in (("people", people), ("images_per_person", images_per_person), ("classes", classes)):
        if value < 1:
            raise UserError(f"data.{name}={value}: must be at least 1")
    if size < 8 or size % 4:
        raise UserError(f"data.size={size}: must be a multiple of 4, at least 8")
    if (pixels := people * images_per_person * size * size) > _MOST_PIXELS:
        raise UserError(f"data.people={people}: {pixels} pixels are more than {_MOST_PIXELS}; lower it")
    arrays = cached_arrays(
        "synthetic_patterns",
        _VERSION,
        {
            "people": people,
            "images_per_person": images_per_person,
            "classes": classes,
            "size": size,
            "seed": seed,
        },
        lambda: _draw(people, images_per_person, classes, size, seed),
    )
    return ImageDataset(
        name="synthetic_patterns",
        images=arrays["images"],
        targets=arrays["targets"],
        subjects=np.repeat(np.arange(people, dtype=np.int64), images_per_person),
        subject_names=tuple(f"p{person:04d}" for person in range(people)),
    )


def _draw(people: int, images_per_person: int, classes: int, size: int, seed: int) -> dict[str, AnyArray]:
    random = generator(seed, "patterns")
    coarse = random.normal(size=(classes, 3, size // 4, size // 4)).astype(np.float32)
    patterns = coarse.repeat(4, axis=2).repeat(4, axis=3)
    shares = random.dirichlet(np.ones(classes), size=people)
    targets = np.concatenate([random.choice(classes, images_per_person, p=share) for share in shares])
    noise = random.standard_normal((len(targets), 3, size, size), dtype=np.float32)
    images = np.clip(128.0 + 24.0 * patterns[targets] + 48.0 * noise, 0, 255).astype(np.uint8)
    return {"images": images, "targets": targets.astype(np.int64)}
