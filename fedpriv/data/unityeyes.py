"""The data set ``unityeyes``: eyes that the user rendered with UnityEyes."""

import logging
from collections.abc import Iterator

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.gaze_convention import gaze_from_unity
from fedpriv.data.gaze_files import cached_labels, check_least, data_folder, spread
from fedpriv.data.origins import of_bytes
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.crop import crop_resize, decode_picture
from fedpriv.formats.files import read_input
from fedpriv.formats.identity_folder import MAX_FILE_BYTES
from fedpriv.formats.unityeyes import eye_box, list_eyes, read_label
from fedpriv.progress import track
from fedpriv.types import AnyArray

CARD = DatasetCard(
    name="unityeyes",
    title="UnityEyes",
    tasks=("gaze",),
    contents="as many eyes as the user renders, with landmarks and exact gaze",
    licence="research only (see source)",
    source="https://www.cl.cam.ac.uk/research/rainbow/projects/unityeyes",
    layout="the pairs '1.jpg', '1.json', ... that UnityEyes saves in 'imgs'",
    citation="Wood, Baltrusaitis, Morency, Robinson, Bulling, ETRA 2016, doi 10.1145/2857491.2857492",
    protocol="none published; used to train for other data",
)

_VERSION = 1
HEIGHT, WIDTH = 36, 60
_log = logging.getLogger(__name__)


def load(root: str, max_images: int | None = None) -> ImageDataset:
    """Load the eyes, cut out by their landmarks to 36 x 60 as GazeML does.

    UnityEyes draws a new face for every picture and names none: every picture counts as a person of its
    own, so that any split is one of unseen people. A .json without its .jpg is left out, and the log says how
    many were.

    Args:
        root: the folder of pairs ``<name>.jpg``, ``<name>.json``.
        max_images: at most so many, evenly spread.

    Returns:
        ``images`` (N, 1, 36, 60) uint8, a read-only map; ``targets`` (N, 2) float32: pitch and yaw in
        radians; people ``image000000``, ... in the order of the files' names.

    Raises:
        UserError: the root or a setting is wrong, or a file is not as it should be.
    """
    check_least(max_images=(max_images, 1))
    folder = data_folder(root, CARD)
    found = list_eyes(folder)
    if not found:
        raise UserError(f"data.root={root}: holds no pair of .json and .jpg; {CARD.hint}")
    if alone := sum(1 for _ in folder.glob("*.json")) - len(found):
        _log.warning("data=unityeyes: %d .json files have no .jpg beside them and are left out", alone)
    paths = [found[index] for index in spread(len(found), max_images)]
    files = [file for path in paths for file in (path, path.with_suffix(".jpg"))]

    def labels() -> dict[str, AnyArray]:
        looks = [read_label(path, folder).look for path in track(paths, "read the labels of unityeyes")]
        return {"gaze": gaze_from_unity(np.stack(looks)).astype(np.float32)}

    def examples() -> Iterator[Example]:
        for path in paths:
            content = read_input(path.with_suffix(".jpg"), MAX_FILE_BYTES, folder)
            picture = decode_picture(content, path.with_suffix(".jpg"), colour=False)
            box = eye_box(read_label(path, folder), picture.shape[0], HEIGHT, WIDTH)
            try:
                yield crop_resize(picture, box, HEIGHT, WIDTH), of_bytes(content)
            except ValueError as error:
                raise FormatError(path, None, str(error)) from error

    known = cached_labels("unityeyes", _VERSION, {}, files, labels)
    shape = (len(paths), 1, HEIGHT, WIDTH)
    images, origins = decoded_images("unityeyes", _VERSION, {}, files, shape, examples)
    return ImageDataset(
        name="unityeyes",
        images=images,
        targets=np.array(known["gaze"]),
        subjects=np.arange(len(paths), dtype=np.int64),
        subject_names=tuple(f"image{index:06d}" for index in range(len(paths))),
        origins=origins,
    )
