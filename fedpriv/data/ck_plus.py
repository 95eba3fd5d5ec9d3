"""CK+: posed expressions in the laboratory, from neutral to peak, with identities."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example
from fedpriv.data.emotions import CK_PLUS
from fedpriv.data.expression_images import Indices, expression_dataset, folder, read_view
from fedpriv.data.eye_region import face_box, face_view
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.ck_plus import EMOTIONS, IMAGES, Sequence, list_sequences, read_landmarks
from fedpriv.formats.crop import Box

CARD = DatasetCard(
    name="ck_plus",
    title="Extended Cohn-Kanade Dataset (CK+)",
    tasks=("emotion",),
    contents="593 sequences of 123 people, 327 of them labelled with 6 expressions and contempt",
    licence="research, on request; see source",
    source="https://www.jeffcohn.net/Resources/",
    layout=f"{IMAGES}, {EMOTIONS} and Landmarks",
    citation="Lucey et al., CVPR Workshops 2010",
    protocol="10 subject-independent folds: evaluation.protocol=folds evaluation.folds=10",
)

_VERSION = 1
_NEUTRAL = 0


def load(
    root: str,
    region: str = "face",
    size: int = 48,
    colour: bool = False,
    frames: int = 3,
    neutral: bool = True,
    crop: str = "landmarks",
    max_people: int | None = None,
) -> ImageDataset:
    """Load the peak frames of every labelled sequence; contempt is left out.

    People are in the order of their names (``S005`` first), which is the order that
    ``evaluation.protocol=folds`` deals them into folds; no split is published. Only 118 of the 123 people
    have a labelled sequence, and no labelled sequence is neutral: see ``neutral``.

    Args:
        root: the folder that holds ``cohn-kanade-images``, ``Emotion`` and ``Landmarks``.
        region: ``face``, or ``eye`` (1, 36, 60), see :mod:`fedpriv.data.eye_region`.
        size: side of a face in pixels, 16 to 512.
        colour: RGB instead of grey; most of CK+ is grey.
        frames: how many of the last frames of a sequence show its expression; usual are 3.
        neutral: take the first frame of every sequence kept as a neutral face as well. Without it the
            class neutral has no image, and a macro F1 over seven classes stays below 6/7.
        crop: ``landmarks`` cuts the face by its eyes, :func:`fedpriv.data.eye_region.face_box`; ``centre``
            takes the largest square in the middle, for copies that are cropped already.
        max_people: keep only the first so many people.

    Raises:
        UserError: when a file is missing or damaged, a sequence is too short, or a setting is out of range.
    """
    view = face_view(region, size, colour)
    if not 1 <= frames <= 20:
        raise UserError(f"data.frames={frames}: choose 1 to 20")
    if crop not in ("landmarks", "centre"):
        raise UserError(f"data.crop={crop}: choose landmarks or centre")
    if max_people is not None and max_people < 1:
        raise UserError(f"data.max_people={max_people}: must be at least 1")
    base = folder(root, CARD.hint)
    if not all((base / needed).is_dir() for needed in (IMAGES, EMOTIONS)):
        raise UserError(f"data.root={root}: holds no {IMAGES} and {EMOTIONS}; {CARD.hint}")
    shown: list[tuple[Sequence, str, int]] = []
    labelled = [(sequence, sequence.label) for sequence in list_sequences(base) if sequence.label is not None]
    useful = (sequence.subject for sequence, label in labelled if CK_PLUS[label] is not None)
    names = tuple(dict.fromkeys(useful))[:max_people]
    for sequence, label in labelled:
        if sequence.subject not in names:
            continue
        first = neutral and CK_PLUS[label] is not None
        if len(sequence.frames) < frames + int(first):
            raise UserError(
                f"data.frames={frames}: {base / IMAGES / sequence.subject / sequence.number} has "
                f"{len(sequence.frames)} frames; choose fewer or complete the folder"
            )
        if first:
            shown.append((sequence, sequence.frames[0], _NEUTRAL))
        shown.extend((sequence, frame, label) for frame in sequence.frames[-frames:])

    def sources(chosen: Indices) -> Iterable[Path]:
        for index in chosen.tolist():
            sequence, frame, _ = shown[index]
            yield sequence.image(base, frame)
            if crop == "landmarks":
                path = sequence.landmarks(base, frame)
                if not path.is_file():
                    raise UserError(f"{path}: is missing; get it, or set data.crop=centre for cropped copies")
                yield path

    def examples(chosen: Indices) -> Iterable[Example]:
        for index in chosen.tolist():
            sequence, frame, _ = shown[index]
            box = _box(base, sequence.landmarks(base, frame)) if crop == "landmarks" else None
            yield read_view(sequence.image(base, frame), base, view, box)

    place = {name: index for index, name in enumerate(names)}
    return expression_dataset(
        name="ck_plus",
        version=_VERSION,
        labels=np.array([label for _, _, label in shown], dtype=np.int64),
        table=CK_PLUS,
        view=view,
        parameters={"crop": crop, "frames": frames, "neutral": neutral},
        sources=sources,
        examples=examples,
        people=(np.array([place[sequence.subject] for sequence, _, _ in shown], dtype=np.int64), names),
    )


def _box(base: Path, path: Path) -> Box:
    try:
        return face_box(read_landmarks(base, path))
    except ValueError as error:
        raise FormatError(path, None, f"{error}; mend it") from error
