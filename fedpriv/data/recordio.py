"""Faces in RecordIO: InsightFace's training sets (CASIA-WebFace, MS1M, Glint360K) and im2rec's files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.cache import cached_arrays
from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images, fingerprint
from fedpriv.data.origins import of_bytes
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.face_rec import FaceRec
from fedpriv.formats.identity_folder import decode_image
from fedpriv.formats.image_record import class_label, unpack_image_record
from fedpriv.formats.record_index import read_index
from fedpriv.formats.recordio import Record, RecordReader

CARD = DatasetCard(
    name="recordio",
    title="Faces in MXNet RecordIO, as InsightFace publishes its training sets",
    tasks=("face", "classification"),
    contents="e.g. CASIA-WebFace: 0.5 M colour faces of 112 x 112, 10,572 people; MS1MV2: 5.8 M, 85,742",
    licence="non-commercial research; see source",
    source="https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_",
    layout="train.rec, better with train.idx beside it (a folder, or the .rec itself)",
    citation="Deng, Guo, Xue, Zafeiriou, ArcFace, CVPR 2019, arXiv 1801.07698",
    protocol="none published: people are held out; data=verification_bin holds the usual test pairs",
)

_VERSION = 2


def load(
    root: str,
    height: int = 112,
    width: int = 112,
    colour: bool = True,
    min_images: int = 2,
    max_people: int | None = None,
) -> ImageDataset:
    """Load the images of a ``.rec``; an identity is a label (the first, where an image has several).

    Who owns which images is read from InsightFace's records of identities where there are such, from
    every image's header otherwise; either is done once. With an index the records that it names count.

    Args:
        root: a ``.rec`` file, or a folder that holds ``train.rec`` or a single ``.rec``. The ``.idx`` of
            the same name is read if it is there.
        height: rows of every image after cropping and resizing.
        width: columns of every image after cropping and resizing.
        colour: RGB instead of grey.
        min_images: people with fewer images are left out; verification needs 2.
        max_people: keep only the first so many of the remaining people, by label; None keeps all.

    Returns:
        N images of shape (3 or 1, height, width), a read-only memory map, person by person;
        ``targets`` = ``subjects`` = index of the person (int64), people by label, named as
        ``fedpriv-data extract`` names their folders: the label in 8 digits.

    Raises:
        UserError: when ``root`` is missing, a setting is out of range, fewer than two people remain,
            a record cannot be read, or an image's label is not that of the identity that claims it.
    """
    for field, value, least in (
        ("height", height, 8),
        ("width", width, 8),
        ("min_images", min_images, 1),
        ("max_people", max_people, 2),
    ):
        if value is not None and value < least:
            raise UserError(f"data.{field}={value}: must be at least {least}")
    rec = _record_file(root)
    sources = [path for path in (rec, rec.with_suffix(".idx")) if path.is_file()]
    table = cached_arrays(
        "data_recordio_table", _VERSION, {"sources": fingerprint(sources)}, lambda: _table(rec, sources[1:])
    )
    people, counts = np.unique(table["labels"], return_counts=True)
    chosen = people[counts >= min_images][:max_people]
    if len(chosen) < 2:
        raise UserError(
            f"data.root={root}: {len(chosen)} of {len(people)} people have at least {min_images} images "
            "(data.min_images); at least 2 people are needed"
        )
    rows = np.flatnonzero(np.isin(table["labels"], chosen))
    offsets, labels = table["offsets"][rows], table["labels"][rows]
    order = np.lexsort((offsets, labels))

    def examples() -> Iterator[Example]:
        with RecordReader(rec) as reader:
            for offset, label in zip(offsets[order].tolist(), labels[order].tolist(), strict=True):
                header, content = unpack_image_record(reader.read_at(offset), rec, offset)
                # identities' records may claim images that say that they are of somebody else
                if (own := class_label(header, rec, offset)) != label:
                    reason = f"an image of label {own} among those of identity {label}; write the file anew"
                    raise FormatError(rec, offset, reason)
                image = decode_image(content, f"{rec}: offset {offset}", height, width, colour)
                yield image, of_bytes(content)

    parameters = {"colour": colour, "min_images": min_images, "people": len(chosen)}
    shape = (len(order), 3 if colour else 1, height, width)
    images, origins = decoded_images("recordio", _VERSION, parameters, sources, shape, examples)
    subjects = np.searchsorted(chosen, labels[order]).astype(np.int64)
    return ImageDataset(
        name=f"recordio:{rec.stem}",
        images=images,
        targets=subjects.copy(),
        subjects=subjects,
        subject_names=tuple(f"{label:08d}" for label in chosen.tolist()),
        origins=origins,
    )


def _record_file(root: str) -> Path:
    path = Path(root).expanduser()
    if path.is_file():
        return path
    if (path / "train.rec").is_file():
        return path / "train.rec"
    found = sorted(path.glob("*.rec")) if path.is_dir() else []
    if len(found) != 1:
        said = f"{len(found)} .rec files and no train.rec; name one" if found else "no .rec file there"
        raise UserError(f"data.root={root}: {said}; {CARD.hint}")
    return found[0]


def _table(rec: Path, idx: list[Path]) -> dict[str, NDArray[np.int64]]:
    """Return offset and label of every image."""
    index = read_index(idx[0]) if idx else None
    if index is not None:
        faces = FaceRec.open(rec, index)
        if faces.identity_ranges:
            pairs = [
                (faces.index[key], label)
                for label, (first, stop) in faces.identity_ranges.items()
                for key in range(first, stop)
            ]
            return _columns(pairs)
    with RecordReader(rec) as reader:
        if index is None:
            return _columns(_labelled(rec, iter(reader)))
        return _columns(
            _labelled(rec, (Record(offset, reader.read_at(offset)) for offset in sorted(index.values())))
        )


def _labelled(rec: Path, records: Iterator[Record]) -> list[tuple[int, int]]:
    """Return offset and label of every image, ranges of identities left out."""
    found = []
    for record in records:
        header, image = unpack_image_record(record.payload, rec, record.offset)
        if image or not (isinstance(header.label, tuple) and len(header.label) == 2):
            found.append((record.offset, class_label(header, rec, record.offset)))
    return found


def _columns(pairs: list[tuple[int, int]]) -> dict[str, NDArray[np.int64]]:
    both = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return {"offsets": both[:, 0].copy(), "labels": both[:, 1].copy()}
