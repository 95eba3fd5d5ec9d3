"""Synthetic faces in the exact layout of published data sets, to try a reader or a run on.

What is drawn are the portraits of ``data=synthetic_faces`` at 112 x 112, kept as JPEG of quality 95.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.data import synthetic_faces
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.formats.face_rec import write_face_rec
from fedpriv.formats.lfw_pairs import ImageNumber, LfwPairs, Pair, image_path, write_pairs
from fedpriv.formats.verification_bin import write_verification_bin
from fedpriv.metrics.verification import verification_pairs
from fedpriv.pairs import FOLDS, VerificationPairs
from fedpriv.progress import track
from fedpriv.seeding import generator

SIDE = 112
_LFW_SIDE, _LFW_FACE = 250, 125
_MOST_PAIRS = 6000


def write_face(out: Path, format: str, people: int, images_per_person: int, seed: int) -> tuple[int, int]:
    """Write ``people`` synthetic people in the layout of a published data set.

    - ``identity_folder``: ``face0000/0000.jpg`` and so on.
    - ``recordio``: InsightFace's ``train.rec``, ``train.idx`` and ``property`` of all people but the last
      fifth (two at least), and ``verification.bin`` with pairs of those.
    - ``lfw``: ``face0000/face0000_0001.jpg``, 250 x 250 with the face in the middle half, and ``pairs.txt``
      of view 2 over all people.

    Args:
        out: a folder; what is ``data.root`` afterwards.
        format: one of :data:`FORMATS`.
        people: at least 2; 4 for ``recordio``.
        images_per_person: at least 2.
        seed: of everything random, at least 0.

    Returns:
        How many people and how many images were written, for ``recordio`` those of ``train.rec``.

    Raises:
        UserError: an argument is out of range, or there are too few images for ten folds of pairs.
    """
    if format not in _WRITERS:
        raise UserError(f"--format={format}: choose one of {', '.join(FORMATS)}")
    for name, value, least, limit in (
        ("people", people, 4 if format == "recordio" else 2, 10_000),
        ("images-per-person", images_per_person, 2, 9_999),
        ("seed", seed, 0, 2**63),
    ):
        if not least <= value <= limit:
            raise UserError(f"--{name}={value}: need {least} to {limit}")
    out.mkdir(parents=True, exist_ok=True)
    dataset = synthetic_faces.load(people=people, images_per_person=images_per_person, size=SIDE, seed=seed)
    return _WRITERS[format](out, dataset, images_per_person, seed)


def _identity_folder(out: Path, dataset: ImageDataset, per_person: int, seed: int) -> tuple[int, int]:
    for index in track(range(len(dataset)), "write identity_folder"):
        person, number = divmod(index, per_person)
        folder = out / dataset.subject_names[person]
        folder.mkdir(exist_ok=True)
        (folder / f"{number:04d}.jpg").write_bytes(_jpeg(_portrait(dataset, index)))
    return len(dataset.subject_names), len(dataset)


def _recordio(out: Path, dataset: ImageDataset, per_person: int, seed: int) -> tuple[int, int]:
    people = len(dataset.subject_names)
    trained = people - max(2, people // 5)

    def encoded(person: int) -> Iterator[bytes]:
        for index in range(person * per_person, (person + 1) * per_person):
            yield _jpeg(_portrait(dataset, index))

    identities = ((person, encoded(person)) for person in range(trained))
    write_face_rec(out, track(identities, "write recordio", trained), SIDE, SIDE)
    pairs = _pairs(dataset.subjects[trained * per_person :], seed)
    both = np.stack([pairs.left, pairs.right], axis=1).ravel() + trained * per_person
    images = [_jpeg(_portrait(dataset, int(index))) for index in both]
    write_verification_bin(out / "verification.bin", images, pairs.same.tolist())
    return trained, trained * per_person


def _lfw(out: Path, dataset: ImageDataset, per_person: int, seed: int) -> tuple[int, int]:
    def numbered(index: int) -> ImageNumber:
        person, number = divmod(index, per_person)
        return dataset.subject_names[person], number + 1

    margin = (_LFW_SIDE - _LFW_FACE) // 2, _LFW_SIDE - _LFW_FACE - (_LFW_SIDE - _LFW_FACE) // 2
    for index in track(range(len(dataset)), "write lfw"):
        path = out / image_path(numbered(index))
        path.parent.mkdir(exist_ok=True)
        face = Image.fromarray(_portrait(dataset, index)).resize((_LFW_FACE, _LFW_FACE))
        path.write_bytes(_jpeg(np.pad(np.asarray(face), (margin, margin, (0, 0)), mode="edge")))
    pairs = _pairs(dataset.subjects, seed)
    listed = [
        Pair(numbered(int(left)), numbered(int(right)), bool(same))
        for left, right, same in zip(pairs.left, pairs.right, pairs.same, strict=True)
    ]
    write_pairs(out / "pairs.txt", LfwPairs(listed, FOLDS, len(listed) // FOLDS // 2))
    return len(dataset.subject_names), len(dataset)


def _pairs(subjects: NDArray[np.int64], seed: int) -> VerificationPairs:
    try:
        return verification_pairs(subjects, generator(seed, "synthesise", "pairs"), _MOST_PAIRS)
    except ValueError as error:
        raise UserError(f"--images-per-person: too few for ten folds of pairs ({error})") from error


def _portrait(dataset: ImageDataset, index: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(dataset.images[index]).transpose(1, 2, 0))


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[Path, ImageDataset, int, int], tuple[int, int]]] = {
    "identity_folder": _identity_folder,
    "lfw": _lfw,
    "recordio": _recordio,
}
FORMATS = tuple(_WRITERS)
