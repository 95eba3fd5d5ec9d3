"""AffectNet, manually annotated: faces from the web with the seven expressions and contempt."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.cache import cached_arrays
from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, fingerprint
from fedpriv.data.emotions import AFFECTNET
from fedpriv.data.expression_images import Indices, expression_dataset, folder, read_view
from fedpriv.data.eye_region import face_view, grown_to_square
from fedpriv.errors import UserError
from fedpriv.formats.affectnet import list_images, read_expression, read_table
from fedpriv.formats.crop import Box
from fedpriv.formats.files import check_input

CARD = DatasetCard(
    name="affectnet",
    title="AffectNet, manually annotated part",
    tasks=("emotion",),
    contents="287,651 colour faces (224 x 224) with 8 expressions, or 420,299 with 11 labels; no identities",
    licence="non-commercial research, on request; see source",
    source="http://mohammadmahoor.com/affectnet/",
    layout="train_set and val_set, or training.csv, validation.csv and Manually_Annotated_Images",
    citation="Mollahosseini, Hasani, Mahoor 2017, arXiv 1708.03985",
    protocol="train on the training part, report accuracy on the validation part (500 images per class)",
)

_VERSION = 1
_PARTS = ("train_set", "val_set")
_TABLES = ("training.csv", "validation.csv")
_MAX_TABLE_BYTES = 1 << 32
_IMAGE_FOLDERS = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", ".")


@dataclass(frozen=True)
class _Listing:
    """Files in order, and what is known of each."""

    paths: list[Path]
    boxes: list[Box] | None
    labels: Indices
    held_out: NDArray[np.bool_]
    tables: list[Path]


def load(
    root: str, region: str = "face", size: int = 48, colour: bool = False, max_images: int | None = None
) -> ImageDataset:
    """Load AffectNet; ``held_out`` is its validation part, as no labels of a test part are published.

    Contempt, none, uncertain and no-face are left out. No identities are published: every image counts as
    its own person. Of the original release, faces are cut by the published boxes, grown to squares.

    Args:
        root: the folder that holds ``train_set`` and ``val_set``, or ``training.csv`` and
            ``validation.csv`` with the images in ``Manually_Annotated_Images`` or beside them.
        region: ``face``, or ``eye`` (1, 36, 60), see :mod:`fedpriv.data.eye_region`.
        size: side of a face in pixels, 16 to 512.
        colour: RGB instead of grey.
        max_images: keep at most so many images, evenly spaced over both parts.

    Raises:
        UserError: when a file is missing or damaged, or a setting is out of range.
    """
    view = face_view(region, size, colour)
    base = folder(root, CARD.hint)
    if all((base / part).is_dir() for part in _PARTS):
        listing = _folders(base)
    elif all((base / table).is_file() for table in _TABLES):
        listing = _csv(base)
    else:
        raise UserError(f"data.root={root}: holds neither release; {CARD.hint}")

    def sources(chosen: Indices) -> Iterable[Path]:
        yield from listing.tables
        for index in chosen.tolist():
            if not listing.paths[index].is_file():
                raise UserError(f"{listing.paths[index]}: is listed and missing; get it again")
            yield listing.paths[index]

    def examples(chosen: Indices) -> Iterable[Example]:
        for index in chosen.tolist():
            box = listing.boxes[index] if listing.boxes else None
            yield read_view(listing.paths[index], base, view, box)

    return expression_dataset(
        name="affectnet",
        version=_VERSION,
        labels=listing.labels,
        table=AFFECTNET,
        view=view,
        parameters={},
        sources=sources,
        examples=examples,
        held_out=listing.held_out,
        max_images=max_images,
    )


def _folders(base: Path) -> _Listing:
    ids = [list_images(base / part) for part in _PARTS]
    annotations = [
        base / part / "annotations" / f"{name}_exp.npy"
        for part, names in zip(_PARTS, ids, strict=True)
        for name in names
    ]
    # 290,000 small files are read once: their labels are kept like pixels
    kept = cached_arrays(
        "data_affectnet_labels",
        _VERSION,
        {"sources": fingerprint(annotations)},
        lambda: {
            "labels": np.array(
                [
                    read_expression(base / part, name)
                    for part, names in zip(_PARTS, ids, strict=True)
                    for name in names
                ],
                dtype=np.int64,
            )
        },
    )
    return _Listing(
        paths=[
            base / part / "images" / f"{name}.jpg"
            for part, names in zip(_PARTS, ids, strict=True)
            for name in names
        ],
        boxes=None,
        labels=np.array(kept["labels"]),
        held_out=np.repeat([False, True], [len(names) for names in ids]),
        tables=[],
    )


def _csv(base: Path) -> _Listing:
    for name in _TABLES:
        check_input(base / name, _MAX_TABLE_BYTES, base)
    tables = [read_table(base / name) for name in _TABLES]
    first = tables[0].paths[0]
    images = next((base / name for name in _IMAGE_FOLDERS if (base / name / first).is_file()), None)
    if images is None:
        raise UserError(
            f"data.root={base}: {first} of {_TABLES[0]} lies in none of {', '.join(_IMAGE_FOLDERS)}; "
            f"{CARD.hint}"
        )
    boxes = np.concatenate([table.boxes for table in tables]).tolist()
    return _Listing(
        paths=[images / name for table in tables for name in table.paths],
        boxes=[grown_to_square(tuple(box)) for box in boxes],
        labels=np.concatenate([table.expressions for table in tables]),
        held_out=np.repeat([False, True], [len(table.paths) for table in tables]),
        tables=[base / name for name in _TABLES],
    )
