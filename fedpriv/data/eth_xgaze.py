"""The data set ``eth_xgaze``: normalised faces under extreme head poses and gaze; its training part."""

from collections.abc import Iterator

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.gaze_files import cached_labels, check_least, data_folder, spread
from fedpriv.data.origins import of_pixels
from fedpriv.errors import UserError
from fedpriv.formats.crop import resize
from fedpriv.formats.eth_xgaze import SPLIT, read_faces, read_gaze, read_training_files
from fedpriv.progress import track
from fedpriv.types import AnyArray

CARD = DatasetCard(
    name="eth_xgaze",
    title="ETH-XGaze, training part",
    tasks=("gaze",),
    contents="colour faces of 224 x 224 or 448 x 448 with gaze, 80 of 110 people; 1,083,492 images in all",
    licence="research only, on registration (see source)",
    source="https://ait.ethz.ch/xgaze",
    layout="'train_test_split.json' and 'train/subjectNNNN.h5'",
    citation="Zhang, Park, Beeler, Bradley, Tang, Hilliges, ECCV 2020, arXiv 2007.15837",
    protocol="the test part's labels are not public; hold out training people (people or folds)",
)

_VERSION = 1
_TRAIN = "train"


def load(
    root: str,
    size: int = 112,
    colour: bool = True,
    max_people: int | None = None,
    max_images: int | None = None,
) -> ImageDataset:
    """Load the people whom ``train_test_split.json`` lists for training, in its order.

    The labels of the test parts are not public, so there is no ``held_out``. All of it at size 112
    in colour takes about 28 GB of cache; ``max_people`` and ``max_images`` make less.

    Args:
        root: the folder with ``train_test_split.json`` and ``train/``.
        size: height and width after resizing.
        colour: RGB instead of grey.
        max_people: only the first so many of the list.
        max_images: at most so many of each person, evenly spread.

    Returns:
        ``images`` (N, 3 or 1, size, size) uint8, a read-only map; ``targets`` (N, 2) float32: pitch and
        yaw in radians; people ``subject0000``, ...

    Raises:
        UserError: the root or a setting is wrong, or a file is not as it should be.
    """
    check_least(size=(size, 8), max_people=(max_people, 1), max_images=(max_images, 1))
    folder = data_folder(root, CARD, SPLIT, _TRAIN)
    paths = [folder / _TRAIN / name for name in read_training_files(folder)[:max_people]]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"data.root={root}: has no '{_TRAIN}/{path.name}', which {SPLIT} lists; {CARD.hint}"
            )

    def labels() -> dict[str, AnyArray]:
        gaze = [read_gaze(path, folder) for path in track(paths, "read the labels of eth_xgaze")]
        counts = np.array([len(part) for part in gaze], dtype=np.int64)
        return {"gaze": np.concatenate(gaze).astype(np.float32), "counts": counts}

    known = cached_labels("eth_xgaze", _VERSION, {}, paths, labels)
    chosen = [spread(int(count), max_images) for count in known["counts"]]
    starts = np.cumsum(known["counts"]) - known["counts"]
    rows = np.concatenate([start + part for start, part in zip(starts, chosen, strict=True)])

    def examples() -> Iterator[Example]:
        for path, part in zip(paths, chosen, strict=True):
            for face in read_faces(path, folder, part):
                yield resize(face, size, size, colour), of_pixels(face)

    parameters = {"size": size, "colour": colour, "max_images": max_images}
    shape = (len(rows), 3 if colour else 1, size, size)
    images, origins = decoded_images("eth_xgaze", _VERSION, parameters, paths, shape, examples)
    return ImageDataset(
        name="eth_xgaze",
        images=images,
        targets=known["gaze"][rows],
        subjects=np.repeat(np.arange(len(paths), dtype=np.int64), [len(part) for part in chosen]),
        subject_names=tuple(path.stem for path in paths),
        origins=origins,
    )
