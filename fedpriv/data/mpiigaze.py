"""The data set ``mpiigaze``: eyes of 15 people at their laptops, normalised by its authors."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.gaze_convention import gaze_from_vector, mirror_gaze, mirror_image
from fedpriv.data.gaze_files import cached_labels, check_least, data_folder, spread
from fedpriv.data.origins import of_pixels
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.mpiigaze import HEIGHT, NORMALIZED, SAMPLE_LISTS, WIDTH, Sample, read_day, read_samples
from fedpriv.progress import track
from fedpriv.types import AnyArray

CARD = DatasetCard(
    name="mpiigaze",
    title="MPIIGaze, normalised eyes",
    tasks=("gaze",),
    contents="grey eyes of 36 x 60 with gaze, 15 people, 45,000 eyes to evaluate on; 213,659 frames in all",
    licence="CC BY-NC-SA 4.0, not for commercial use",
    source="https://collaborative-ai.org/research/datasets/MPIIGaze",
    layout="'Data/Normalized/pXX/dayYY.mat' and 'Evaluation Subset/sample list for eye image/pXX.txt'",
    citation="Zhang, Sugano, Fritz, Bulling, CVPR 2015, arXiv 1504.02863",
    protocol="leave one person out: evaluation.protocol=one_person, fold=0 to 14, mean of the means",
)

_VERSION = 1
SUBSETS = ("evaluation", "all")
_PERSON = re.compile(r"p[0-9]{2}")
_DAY = re.compile(r"day[0-9]{2}\.mat")


@dataclass(frozen=True)
class _Person:
    name: str
    days: tuple[Path, ...]
    samples: Path


@dataclass(frozen=True)
class _Eyes:
    """Eyes of a person: (N, 36, 60) as published, gaze (N, 2) as mirrored, which ones are right eyes (N,)."""

    images: NDArray[np.uint8]
    gaze: NDArray[np.float64]
    right: NDArray[np.bool_]


def load(
    root: str, subset: str = "evaluation", max_people: int | None = None, max_images: int | None = None
) -> ImageDataset:
    """Load the normalised eye images; right eyes are mirrored, so that one model serves both.

    Images and labels are read once and kept in the cache. Head pose is published but no input here:
    the models see the picture alone, so figures compare with methods that do the same.

    Args:
        root: the unpacked MPIIGaze.
        subset: ``evaluation``, what publications report on, in the order of its lists; or ``all``
            frames with both eyes, day after day, left eyes before right ones.
        max_people: only the first so many, p00 first.
        max_images: at most so many of each person, evenly spread.

    Returns:
        ``images`` (N, 1, 36, 60) uint8, a read-only map; ``targets`` (N, 2) float32: pitch and yaw in
        radians in the convention of :mod:`fedpriv.data.gaze_convention`; people p00, p01, ...

    Raises:
        UserError: the root or a setting is wrong, or a file is not as it should be.
    """
    if subset not in SUBSETS:
        raise UserError(f"data.subset={subset}: choose {' or '.join(SUBSETS)}")
    check_least(max_people=(max_people, 1), max_images=(max_images, 1))
    folder = data_folder(root, CARD, NORMALIZED, *([SAMPLE_LISTS] if subset == "evaluation" else []))
    people = _people(folder)[:max_people]
    if not people:
        raise UserError(f"data.root={root}: '{NORMALIZED}' holds no p00, p01, ...; {CARD.hint}")
    evaluation = subset == "evaluation"
    sources = [path for person in people for path in person.days]
    sources += [person.samples for person in people if evaluation]
    for path in sources:
        if not path.is_file():
            raise UserError(f"data.root={root}: has no '{path.relative_to(folder)}'; {CARD.hint}")
    parameters = {"subset": subset, "people": [person.name for person in people], "max_images": max_images}

    def eyes(person: _Person) -> _Eyes:
        return _sampled(folder, person, max_images) if evaluation else _all(folder, person, max_images)

    def labels() -> dict[str, AnyArray]:
        gaze = [eyes(person).gaze for person in track(people, "read the labels of mpiigaze")]
        counts = np.array([len(part) for part in gaze], dtype=np.int64)
        return {"gaze": np.concatenate(gaze).astype(np.float32), "counts": counts}

    def examples() -> Iterator[Example]:
        for person in people:
            found = eyes(person)
            for image, right in zip(found.images, found.right, strict=True):
                yield (mirror_image(image) if right else image)[None], of_pixels(image)

    known = cached_labels("mpiigaze", _VERSION, parameters, sources, labels)
    shape = (len(known["gaze"]), 1, HEIGHT, WIDTH)
    images, origins = decoded_images("mpiigaze", _VERSION, parameters, sources, shape, examples)
    return ImageDataset(
        name=f"mpiigaze:{subset}",
        images=images,
        targets=np.array(known["gaze"]),
        subjects=np.repeat(np.arange(len(people), dtype=np.int64), known["counts"]),
        subject_names=tuple(person.name for person in people),
        origins=origins,
    )


def _people(folder: Path) -> list[_Person]:
    found = sorted(
        entry for entry in (folder / NORMALIZED).iterdir() if _PERSON.fullmatch(entry.name) and entry.is_dir()
    )
    return [
        _Person(
            entry.name,
            tuple(sorted(day for day in entry.iterdir() if _DAY.fullmatch(day.name))),
            folder / SAMPLE_LISTS / f"{entry.name}.txt",
        )
        for entry in found
    ]


def _sampled(folder: Path, person: _Person, most: int | None) -> _Eyes:
    """Return the eyes that the person's evaluation list names, in its order."""
    listed = read_samples(person.samples, folder)
    lines = spread(len(listed), most)
    images = np.empty((len(lines), HEIGHT, WIDTH), dtype=np.uint8)
    gaze, right = np.empty((len(lines), 2)), np.zeros(len(lines), dtype=np.bool_)
    of_day: dict[str, list[tuple[int, Sample]]] = {}
    for row, line in enumerate(lines):
        of_day.setdefault(listed[line].day, []).append((row, listed[line]))
    paths = {path.stem: path for path in person.days}
    for name, wanted in sorted(of_day.items()):
        if name not in paths:
            raise FormatError(person.samples, None, f"names {name}, but there is no {person.name}/{name}.mat")
        day = read_day(paths[name], folder)
        index = {filename: frame for frame, filename in enumerate(day.filenames)}
        for row, sample in wanted:
            if sample.filename not in index:
                raise FormatError(
                    person.samples, None, f"names {name}/{sample.filename}, not in {paths[name]}"
                )
            frame = index[sample.filename]
            if sample.side == "left":
                images[row] = day.left.images[frame]
                gaze[row] = gaze_from_vector(day.left.gaze[frame])
            else:
                images[row], right[row] = day.right.images[frame], True
                gaze[row] = mirror_gaze(gaze_from_vector(day.right.gaze[frame]))
    return _Eyes(images, gaze, right)


def _all(folder: Path, person: _Person, most: int | None) -> _Eyes:
    """Return both eyes of every frame."""
    images = [np.zeros((0, HEIGHT, WIDTH), dtype=np.uint8)]
    gaze, right = [np.zeros((0, 2))], [np.zeros(0, dtype=np.bool_)]
    for path in person.days:
        day = read_day(path, folder)
        images += [day.left.images, day.right.images]
        gaze += [gaze_from_vector(day.left.gaze), mirror_gaze(gaze_from_vector(day.right.gaze))]
        right.append(np.repeat([False, True], len(day.filenames)))
    rows = spread(sum(map(len, gaze)), most)
    return _Eyes(np.concatenate(images)[rows], np.concatenate(gaze)[rows], np.concatenate(right)[rows])
