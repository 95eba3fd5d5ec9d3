"""Labeled Faces in the Wild with the pairs of View 2: a test, and nothing to train on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.origins import of_bytes
from fedpriv.errors import UserError
from fedpriv.formats.files import read_input
from fedpriv.formats.identity_folder import MAX_FILE_BYTES, decode_image, list_identities
from fedpriv.formats.lfw_pairs import LfwPairs, image_path, read_pairs
from fedpriv.pairs import FOLDS, VerificationPairs

CARD = DatasetCard(
    name="lfw",
    title="Labeled Faces in the Wild",
    tasks=("face",),
    contents="13,233 colour images of 250 x 250, 5,749 people; 6,000 pairs in 10 folds",
    licence="research; see source",
    source="http://vis-www.cs.umass.edu/lfw/",
    layout="pairs.txt, and <name>/<name>_0001.jpg in it or in its folder lfw",
    citation="Huang, Ramesh, Berg, Learned-Miller, UMass Amherst technical report 07-49, 2007",
    protocol="View 2: threshold from 9 folds, accuracy on the tenth, mean over the folds; no training on it",
)

_VERSION = 1
_FOLDERS = ("lfw", "lfw_funneled", "lfw-funneled", "lfw-deepfunneled")


def load(
    root: str,
    height: int = 112,
    width: int = 112,
    colour: bool = True,
    centre: float = 0.5,
    all_images: bool = False,
) -> ImageDataset:
    """Load LFW; ``pairs`` are its 10 folds of 300 genuine and 300 impostor pairs each.

    Args:
        root: the folder that holds ``pairs.txt`` and the people's folders, or these in a folder
            ``lfw``, ``lfw_funneled`` or ``lfw-deepfunneled``.
        height: rows of every image after cropping and resizing.
        width: columns of every image after cropping and resizing.
        colour: RGB instead of grey.
        centre: the fraction of height and width that is kept around the middle. Of LFW's 250 x 250
            pixels a face fills about the middle 125; aligned faces want 1.
        all_images: all images and people, not only those in a pair.

    Returns:
        Images by person and number; ``targets`` = ``subjects``, people in alphabetical order.

    Raises:
        UserError: when ``root`` or an image of a pair is missing (leaving a pair out would shift the
            folds), ``pairs.txt`` has other than ten sets, or an image cannot be read.
    """
    for field, value in (("height", height), ("width", width)):
        if value < 8:
            raise UserError(f"data.{field}={value}: must be at least 8")
    if not 0 < centre <= 1:
        raise UserError(f"data.centre={centre}: must be above 0 and at most 1")
    folder = Path(root).expanduser()
    listed = folder / "pairs.txt"
    if not listed.is_file():
        raise UserError(f"data.root={root}: no pairs.txt there; {CARD.hint}")
    base = next((folder / name for name in _FOLDERS if (folder / name).is_dir()), folder)
    protocol = read_pairs(listed)
    if protocol.sets != FOLDS:
        raise UserError(f"{listed}: {protocol.sets} sets of pairs; need the {FOLDS} of View 2 (pairs.txt)")
    paths = _paths(base, protocol, all_images)
    names = sorted({path.parent.name for path in paths})
    number = {name: index for index, name in enumerate(names)}
    subjects = np.array([number[path.parent.name] for path in paths], dtype=np.int64)

    def examples() -> Iterator[Example]:
        for path in paths:
            content = read_input(path, MAX_FILE_BYTES)
            yield decode_image(content, path, height, width, colour, centre), of_bytes(content)

    parameters = {"colour": colour, "centre": centre}
    shape = (len(paths), 3 if colour else 1, height, width)
    images, origins = decoded_images("lfw", _VERSION, parameters, paths, shape, examples)
    return ImageDataset(
        name="lfw",
        images=images,
        targets=subjects.copy(),
        subjects=subjects,
        subject_names=tuple(names),
        pairs=_pairs(base, protocol, paths),
        origins=origins,
    )


def _paths(base: Path, protocol: LfwPairs, all_images: bool) -> list[Path]:
    """Return the images to load, by person and number."""
    boundary = base.resolve()
    used = {image for pair in protocol.pairs for image in (pair.first, pair.second)}
    paths = [base / image_path(image) for image in sorted(used)]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: is missing, but pairs.txt has it; {CARD.hint}")
        if not path.resolve().is_relative_to(boundary):
            raise UserError(f"{path}: a symbolic link that leaves {boundary}; copy the file into the folder")
    if not all_images:
        return paths
    every = {path for files in list_identities(base).files for path in files}
    return sorted(every | set(paths))


def _pairs(base: Path, protocol: LfwPairs, paths: list[Path]) -> VerificationPairs:
    row = {path: index for index, path in enumerate(paths)}
    return VerificationPairs(
        left=np.array([row[base / image_path(pair.first)] for pair in protocol.pairs], dtype=np.int64),
        right=np.array([row[base / image_path(pair.second)] for pair in protocol.pairs], dtype=np.int64),
        same=np.array([pair.same for pair in protocol.pairs], dtype=np.bool_),
    )
