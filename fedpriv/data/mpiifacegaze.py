"""The data set ``mpiifacegaze``: faces of 15 people at their laptops, normalised by its authors."""

import re
from collections.abc import Iterator

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.gaze_files import cached_labels, check_least, data_folder, spread
from fedpriv.data.origins import of_pixels
from fedpriv.errors import UserError
from fedpriv.formats.crop import resize
from fedpriv.formats.mpiifacegaze import read_faces, read_labels
from fedpriv.progress import track
from fedpriv.types import AnyArray

CARD = DatasetCard(
    name="mpiifacegaze",
    title="MPIIFaceGaze, normalised faces",
    tasks=("gaze",),
    contents="45,000 colour faces of 448 x 448 with gaze, 3,000 of each of 15 people",
    licence="CC BY-NC-SA 4.0, not for commercial use",
    source="https://collaborative-ai.org/research/datasets/MPIIFaceGaze",
    layout="'p00.mat' to 'p14.mat' (MPIIFaceGaze_normalized.zip, unpacked)",
    citation="Zhang, Sugano, Fritz, Bulling, CVPRW 2017, arXiv 1611.08860",
    protocol="leave one person out: evaluation.protocol=one_person, fold=0 to 14, mean of the means",
)

_VERSION = 1
_FILE = re.compile(r"p[0-9]{2}\.mat")


def load(
    root: str,
    size: int = 112,
    colour: bool = True,
    max_people: int | None = None,
    max_images: int | None = None,
) -> ImageDataset:
    """Load the normalised faces, upright and RGB (how: :mod:`fedpriv.formats.mpiifacegaze`).

    Nothing is mirrored. Head pose is published but no input here.

    Args:
        root: the folder that holds ``p00.mat``, ``p01.mat``, ...
        size: height and width after resizing; 448 keeps them.
        colour: RGB instead of grey.
        max_people: only the first so many, p00 first.
        max_images: at most so many of each person, evenly spread.

    Returns:
        ``images`` (N, 3 or 1, size, size) uint8, a read-only map; ``targets`` (N, 2) float32: pitch and
        yaw in radians; people p00, p01, ...

    Raises:
        UserError: the root or a setting is wrong, or a file is not as it should be.
    """
    check_least(size=(size, 8), max_people=(max_people, 1), max_images=(max_images, 1))
    folder = data_folder(root, CARD)
    paths = sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name))[:max_people]
    if not paths:
        raise UserError(f"data.root={root}: holds no p00.mat, p01.mat, ...; {CARD.hint}")

    def labels() -> dict[str, AnyArray]:
        gaze = [read_labels(path, folder).gaze for path in track(paths, "read the labels of mpiifacegaze")]
        counts = np.array([len(part) for part in gaze], dtype=np.int64)
        return {"gaze": np.concatenate(gaze).astype(np.float32), "counts": counts}

    known = cached_labels("mpiifacegaze", _VERSION, {}, paths, labels)
    chosen = [spread(int(count), max_images) for count in known["counts"]]
    starts = np.cumsum(known["counts"]) - known["counts"]
    rows = np.concatenate([start + part for start, part in zip(starts, chosen, strict=True)])

    def examples() -> Iterator[Example]:
        for path, part in zip(paths, chosen, strict=True):
            for face in read_faces(path, folder, part):
                yield resize(face, size, size, colour), of_pixels(face)

    parameters = {"size": size, "colour": colour, "max_images": max_images}
    shape = (len(rows), 3 if colour else 1, size, size)
    images, origins = decoded_images("mpiifacegaze", _VERSION, parameters, paths, shape, examples)
    return ImageDataset(
        name="mpiifacegaze",
        images=images,
        targets=known["gaze"][rows],
        subjects=np.repeat(np.arange(len(paths), dtype=np.int64), [len(part) for part in chosen]),
        subject_names=tuple(path.stem for path in paths),
        origins=origins,
    )
