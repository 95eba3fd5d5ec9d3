"""ORL, the AT&T database of faces: 40 people, 10 grey images each."""

from pathlib import Path

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.origins import of_bytes
from fedpriv.errors import UserError
from fedpriv.formats.files import read_input
from fedpriv.formats.identity_folder import MAX_FILE_BYTES, decode_image, open_image

CARD = DatasetCard(
    name="orl",
    title="The ORL (AT&T) Database of Faces",
    tasks=("face", "classification"),
    contents="400 grey images of 92 x 112, 40 people with 10 each",
    licence="free for research with credit; see source",
    source="https://cam-orl.co.uk/facedatabase.html",
    layout="s1/1.pgm to s40/10.pgm",
    citation="Samaria and Harter, IEEE Workshop on Applications of Computer Vision 1994",
    protocol="none published: people are held out",
)

PEOPLE, IMAGES = 40, 10
SIZE = (92, 112)


def load(root: str, height: int = 56, width: int = 46, max_people: int | None = None) -> ImageDataset:
    """Load ORL. What else lies in the folder (README) does not matter.

    Args:
        root: the folder that holds ``s1`` to ``s40`` with ``1.pgm`` to ``10.pgm`` each.
        height: rows of every image after cropping and resizing; 112 with ``width`` 92 is the original.
        width: columns of every image after cropping and resizing.
        max_people: keep only the first so many people, 2 to 40; the others' files are not looked for.

    Returns:
        (10 x people, 1, height, width) uint8; ``targets`` = ``subjects``, people s1, s2, ...

    Raises:
        UserError: when ``root`` or an image is missing, an image is damaged or not of 92 x 112 pixels,
            or a setting is out of range.
    """
    for field, value in (("height", height), ("width", width)):
        if value < 8:
            raise UserError(f"data.{field}={value}: must be at least 8")
    people = PEOPLE if max_people is None else max_people
    if not 2 <= people <= PEOPLE:
        raise UserError(f"data.max_people={max_people}: must be 2 to {PEOPLE}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.root={root}: no such folder; {CARD.hint}")
    boundary = folder.resolve()
    images = np.empty((people * IMAGES, 1, height, width), dtype=np.uint8)
    origins = np.empty(len(images), dtype=np.uint64)
    paths = [folder / f"s{row // IMAGES + 1}" / f"{row % IMAGES + 1}.pgm" for row in range(people * IMAGES)]
    for row, path in enumerate(paths):
        if not path.is_file():
            raise UserError(f"data.root={root}: {path.parent.name}/{path.name} is missing; {CARD.hint}")
        if not path.resolve().is_relative_to(boundary):
            raise UserError(f"{path}: a symbolic link that leaves {boundary}; copy the file into the folder")
        content = read_input(path, MAX_FILE_BYTES)
        with open_image(content, path) as image:
            if image.size != SIZE:
                raise UserError(
                    f"{path}: {image.width} x {image.height} pixels, ORL's have {SIZE[0]} x {SIZE[1]}; "
                    "use data=identity_folder for other faces"
                )
        images[row], origins[row] = decode_image(content, path, height, width), of_bytes(content)
    subjects = np.repeat(np.arange(people, dtype=np.int64), IMAGES)
    return ImageDataset(
        name="orl",
        images=images,
        targets=subjects.copy(),
        subjects=subjects,
        subject_names=tuple(f"s{person + 1}" for person in range(people)),
        origins=origins,
    )
