"""FER2013: grey faces from the web, 48 x 48, seven expressions."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example
from fedpriv.data.emotions import FER2013
from fedpriv.data.expression_images import Indices, expression_dataset
from fedpriv.data.eye_region import face_view
from fedpriv.data.origins import of_pixels
from fedpriv.errors import UserError
from fedpriv.formats.fer2013 import SIDE, USAGES, read_images, read_labels

CARD = DatasetCard(
    name="fer2013",
    title="FER-2013, Facial Expression Recognition Challenge",
    tasks=("emotion",),
    contents="35,887 grey faces of 48 x 48, 7 expressions, no identities",
    licence="research; see source",
    source="https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
    layout="fer2013.csv (or icml_face_data.csv)",
    citation="Goodfellow et al. 2013, arXiv 1307.0414",
    protocol="train on Training, choose on PublicTest, report accuracy on PrivateTest",
)

_VERSION = 1
_FILES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
_PUBLIC, _PRIVATE = USAGES.index("PublicTest"), USAGES.index("PrivateTest")


def load(
    root: str, region: str = "face", use_public: str = "drop", max_images: int | None = None
) -> ImageDataset:
    """Load FER2013 from its csv file.

    ``held_out`` is PrivateTest. No identities are published: every image counts as its own person. Without
    a column ``Usage`` (the competition's ``train.csv``) there is no published split.

    Args:
        root: the csv file, or the folder that holds ``fer2013.csv``, ``icml_face_data.csv`` or
            ``train.csv`` (the first of them counts).
        region: ``face`` (1, 48, 48), or ``eye`` (1, 36, 60), see :mod:`fedpriv.data.eye_region`.
        use_public: PublicTest, the validation part: ``drop`` leaves it out, as published results that choose
            their settings on it do when they train; ``train`` trains on it; ``test`` holds it out
            instead of PrivateTest, which is left out: for choosing settings.
        max_images: keep at most so many images, evenly spaced over the file.

    Raises:
        UserError: when the file is missing, damaged, or a setting is out of range.
    """
    view = face_view(region, SIDE, colour=False)
    if use_public not in ("train", "drop", "test"):
        raise UserError(f"data.use_public={use_public}: choose train, drop or test")
    path = _file(root)
    labels = read_labels(path)
    rows = np.arange(len(labels.emotions), dtype=np.int64)
    held_out = None
    if labels.usages is not None:
        held_out = labels.usages == (_PUBLIC if use_public == "test" else _PRIVATE)
        unused = {"drop": _PUBLIC, "test": _PRIVATE}.get(use_public, -1)
        rows = np.flatnonzero(labels.usages != unused)
        held_out = held_out[rows]
    elif use_public != "drop":
        raise UserError(f"data.use_public={use_public}: {path} has no column Usage; name fer2013.csv")

    def examples(chosen: Indices) -> Iterable[Example]:
        for face in read_images(path, rows[chosen]):
            yield face if region == "face" else view.of(face[0, :, :, None]), of_pixels(face)

    return expression_dataset(
        name="fer2013",
        version=_VERSION,
        labels=labels.emotions[rows],
        table=FER2013,
        view=view,
        parameters={"use_public": use_public},
        sources=lambda _: [path],
        examples=examples,
        held_out=held_out,
        max_images=max_images,
    )


def _file(root: str) -> Path:
    path = Path(root).expanduser()
    if path.is_file():
        return path
    for name in _FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"data.root={root}: holds none of {', '.join(_FILES)}; {CARD.hint}")
