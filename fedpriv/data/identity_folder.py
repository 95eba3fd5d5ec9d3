"""Any folder of images per person as a dataset whose targets are the identities."""

from pathlib import Path

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.origins import of_bytes
from fedpriv.errors import UserError
from fedpriv.formats.files import read_input
from fedpriv.formats.identity_folder import MAX_FILE_BYTES, decode_image, list_identities

CARD = DatasetCard(
    name="identity_folder",
    title="Any folder of images per person",
    tasks=("face", "classification"),
    contents="whatever is there: one folder per person, what fedpriv-data extract makes for one",
    licence="that of the images",
    source="https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html",
    layout="<person>/<image>.{pgm,png,jpg,jpeg,bmp,webp}",
    citation="none",
    protocol="none published: people are held out",
)


def load(
    root: str,
    height: int = 56,
    width: int = 46,
    colour: bool = False,
    min_images: int = 2,
    max_people: int | None = None,
) -> ImageDataset:
    """Load ``root/<identity>/<image>.{pgm,png,jpg,jpeg,bmp,webp}`` into memory.

    Args:
        root: the folder that holds one folder per person.
        height: rows of every image after cropping and resizing.
        width: columns of every image after cropping and resizing.
        colour: RGB instead of grey.
        min_images: people with fewer images are left out; verification needs 2.
        max_people: keep only the first so many of the remaining people, in natural order of their
            names; None keeps all.

    Returns:
        N images of shape (1 or 3, height, width), ``targets`` = ``subjects`` = identity index
        (int64), identities in natural order of their folder names.

    Raises:
        UserError: when ``root`` is missing, a setting is out of range, fewer than two people
            remain, or a file cannot be read.
    """
    for field, value, least in (
        ("height", height, 8),
        ("width", width, 8),
        ("min_images", min_images, 1),
        ("max_people", max_people, 2),
    ):
        if value is not None and value < least:
            raise UserError(f"data.{field}={value}: must be at least {least}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"data.root={root}: no such folder; name one that holds a folder of images per person"
        )
    listing = list_identities(folder)
    people = [
        (name, files)
        for name, files in zip(listing.names, listing.files, strict=True)
        if len(files) >= min_images
    ][:max_people]
    if len(people) < 2:
        raise UserError(
            f"data.root={root}: {len(people)} of {len(listing.names)} folders hold at least {min_images} "
            f"images (data.min_images), {listing.ignored} other entries ignored; at least 2 people are needed"
        )
    subjects = np.repeat(np.arange(len(people), dtype=np.int64), [len(files) for _, files in people])
    images = np.empty((len(subjects), 3 if colour else 1, height, width), dtype=np.uint8)
    origins = np.empty(len(images), dtype=np.uint64)
    for row, path in enumerate(path for _, files in people for path in files):
        content = read_input(path, MAX_FILE_BYTES)
        images[row] = decode_image(content, path, height, width, colour)
        origins[row] = of_bytes(content)
    return ImageDataset(
        name=f"identity_folder:{folder.resolve().name}",
        images=images,
        targets=subjects.copy(),
        subjects=subjects,
        subject_names=tuple(name for name, _ in people),
        origins=origins,
    )
