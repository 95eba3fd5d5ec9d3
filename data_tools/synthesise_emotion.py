"""Synthetic expressions in the exact layout of published data sets, to try a reader or a run on.

What is drawn are the faces of ``data=synthetic_expressions``. FER2013's csv and CK+'s PNG files give the same
pixels back; RAF-DB's and AffectNet's JPEG files hold them enlarged, and give them nearly.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.data import emotions, synthetic_expressions
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.eye_region import EYE_X, EYE_Y
from fedpriv.errors import UserError
from fedpriv.formats import affectnet, ck_plus, raf_db
from fedpriv.formats.fer2013 import write_fer2013

_HEIGHT, _WIDTH = 490, 640
_LEFT, _TOP = 296, 221
"""Where a face of 48 x 48 lies in a frame of CK+'s 640 x 490."""

_PEAK = 3


def write_emotion(out: Path, format: str, people: int, images_per_person: int, seed: int) -> tuple[int, int]:
    """Write ``people`` synthetic people in the layout of a published data set.

    The official test part, where a layout has one, holds the last fifth of the people; in FER2013's layout
    the tenth before them is PublicTest. CK+'s holds sequences of one neutral frame and three that show an
    expression (label 0 where that is neutral); pictures that do not fill a sequence are left out, and people
    without a neutral picture.

    Args:
        out: a folder; what is ``data.root`` afterwards.
        format: one of :data:`FORMATS`.
        people: at least 3; at most 999 for CK+.
        images_per_person: at least 1, 3 for CK+.
        seed: of everything random, at least 0.

    Returns:
        How many people and how many images were written: for CK+ that may be fewer people than asked for.

    Raises:
        UserError: an argument is out of range, or nothing would be written.
    """
    if format not in _WRITERS:
        raise UserError(f"--format={format}: choose one of {', '.join(FORMATS)}")
    most = 999 if format == "ck_plus" else 1_000_000
    for name, value, least, limit in (
        ("people", people, 3, most),
        ("images-per-person", images_per_person, 3 if format == "ck_plus" else 1, 10_000),
        ("seed", seed, 0, 2**63),
    ):
        if not least <= value <= limit:
            raise UserError(f"--{name}={value}: need {least} to {limit}")
    out.mkdir(parents=True, exist_ok=True)
    dataset = synthetic_expressions.load(people=people, images_per_person=images_per_person, seed=seed)
    return _WRITERS[format](out, dataset)


def _held_out(dataset: ImageDataset) -> NDArray[np.bool_]:
    people = len(dataset.subject_names)
    return dataset.subjects >= people - max(1, people // 5)


def _fer2013(out: Path, dataset: ImageDataset) -> tuple[int, int]:
    people = len(dataset.subject_names)
    tested, validated = max(1, people // 5), max(1, people // 10)
    usages = np.digitize(dataset.subjects, [people - tested - validated, people - tested])
    # the parts follow one another, as in the file that is published
    order = np.argsort(usages, kind="stable")
    images = (np.asarray(dataset.images[index]) for index in order)
    labels = np.array(emotions.own_labels(emotions.FER2013))[dataset.targets[order]]
    write_fer2013(out / "fer2013.csv", images, labels.tolist(), usages[order].tolist())
    return people, len(dataset)


def _raf_db(out: Path, dataset: ImageDataset) -> tuple[int, int]:
    labels = np.array(emotions.own_labels(emotions.RAF_DB))[dataset.targets]
    images = (_enlarged(image, 100) for image in dataset.images)
    raf_db.write_raf_db(out, images, labels.tolist(), _held_out(dataset).tolist())
    return len(dataset.subject_names), len(dataset)


def _affectnet(out: Path, dataset: ImageDataset) -> tuple[int, int]:
    labels = np.array(emotions.own_labels(emotions.AFFECTNET))[dataset.targets]
    held_out = _held_out(dataset)
    for part, chosen in (("train_set", np.flatnonzero(~held_out)), ("val_set", np.flatnonzero(held_out))):
        images = (_enlarged(np.asarray(dataset.images[index]), 224) for index in chosen)
        affectnet.write_folder(out / part, chosen.tolist(), images, labels[chosen].tolist())
    return len(dataset.subject_names), len(dataset)


def _ck_plus(out: Path, dataset: ImageDataset) -> tuple[int, int]:
    own = emotions.own_labels(emotions.CK_PLUS)
    neutral = emotions.EMOTIONS.index("neutral")
    points = _landmarks()
    written = frames_written = 0
    for person in range(len(dataset.subject_names)):
        mine = np.flatnonzero(dataset.subjects == person)
        calm = mine[dataset.targets[mine] == neutral]
        if not len(calm):
            continue
        number = 0
        for emotion, label in enumerate(own):
            showing = mine[dataset.targets[mine] == emotion]
            for start in range(0, len(showing) - _PEAK + 1, _PEAK):
                peak = showing[start : start + _PEAK]
                chosen = [int(calm[number % len(calm)]), *peak.tolist()]
                number += 1
                name = f"S{person + 1:03d}_{number:03d}"
                frames = tuple(f"{name}_{frame + 1:08d}" for frame in range(len(chosen)))
                sequence = ck_plus.Sequence(f"S{person + 1:03d}", f"{number:03d}", frames, label)
                images = [_framed(np.asarray(dataset.images[index])) for index in chosen]
                ck_plus.write_sequence(out, sequence, images, [points] * len(chosen))
        written += bool(number)
        frames_written += number * (1 + _PEAK)
    if not written:
        raise UserError(f"--images-per-person: nobody shows one expression {_PEAK} times; ask for more")
    return written, frames_written


def _enlarged(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image[0]).resize((side, side), Image.Resampling.BILINEAR))[None]


def _framed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    frame = np.full((1, _HEIGHT, _WIDTH), 96, dtype=np.uint8)
    frame[:, _TOP : _TOP + image.shape[1], _LEFT : _LEFT + image.shape[2]] = image
    return frame


def _landmarks() -> NDArray[np.float64]:
    """Return 68 points that put the face where it is: the eyes' corners and lids, the rest an oval."""
    side = 48.0
    turn = np.linspace(0.0, 2.0 * np.pi, ck_plus.LANDMARKS, endpoint=False)
    points = np.stack([0.5 + 0.4 * np.cos(turn), 0.5 + 0.45 * np.sin(turn)], axis=1)
    lid = np.linspace(0.0, 2.0 * np.pi, 6, endpoint=False)
    eye = np.stack([0.08 * np.cos(lid), 0.04 * np.sin(lid)], axis=1)
    points[36:42] = eye + np.array([EYE_X, EYE_Y])
    points[42:48] = eye + np.array([1.0 - EYE_X, EYE_Y])
    return np.asarray(points * side + np.array([_LEFT, _TOP]))


_WRITERS: dict[str, Callable[[Path, ImageDataset], tuple[int, int]]] = {
    "affectnet": _affectnet,
    "ck_plus": _ck_plus,
    "fer2013": _fer2013,
    "raf_db": _raf_db,
}
FORMATS = tuple(_WRITERS)
