"""RAF-DB, basic expressions: faces from the web, seven expressions."""

from collections.abc import Iterable
from pathlib import Path

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example
from fedpriv.data.emotions import RAF_DB
from fedpriv.data.expression_images import Indices, expression_dataset, folder, read_view
from fedpriv.data.eye_region import face_view, grown_to_square
from fedpriv.errors import UserError
from fedpriv.formats.raf_db import aligned_path, box_path, original_path, read_box, read_list

CARD = DatasetCard(
    name="raf_db",
    title="Real-world Affective Faces Database, basic expressions",
    tasks=("emotion",),
    contents="15,339 colour faces (aligned 100 x 100, and originals), 7 expressions, no identities",
    licence="non-commercial research, on request; see source",
    source="http://www.whdeng.cn/raf/model1.html",
    layout="EmoLabel/list_patition_label.txt and Image/aligned (the folder 'basic')",
    citation="Li, Deng, Du, CVPR 2017",
    protocol="train on the names train_* (12,271), test on test_* (3,068); accuracy and mean recall",
)

_VERSION = 1


def load(
    root: str,
    region: str = "face",
    size: int = 48,
    colour: bool = False,
    images: str = "aligned",
    max_images: int | None = None,
) -> ImageDataset:
    """Load RAF-DB; ``held_out`` is its official test part.

    No identities are published: every image counts as its own person.

    Args:
        root: the folder that holds ``EmoLabel`` and ``Image``, or one that holds it as ``basic``.
        region: ``face``, or ``eye`` (1, 36, 60), see :mod:`fedpriv.data.eye_region`.
        size: side of a face in pixels, 16 to 512; aligned images have 100.
        colour: RGB instead of grey.
        images: ``aligned``, or ``original``: cut by the published face boxes, grown to squares.
        max_images: keep at most so many images, evenly spaced over the list.

    Raises:
        UserError: when a file is missing or damaged, or a setting is out of range.
    """
    view = face_view(region, size, colour)
    if images not in ("aligned", "original"):
        raise UserError(f"data.images={images}: choose aligned or original")
    base = folder(root, CARD.hint)
    base = base / "basic" if (base / "basic" / "EmoLabel").is_dir() else base
    if not (base / "EmoLabel").is_dir():
        raise UserError(f"data.root={root}: holds no folder EmoLabel; {CARD.hint}")
    listed = read_list(base)
    aligned = images == "aligned"

    def path(index: int) -> Path:
        name = listed.names[index]
        found = aligned_path(base, name) if aligned else original_path(base, name)
        if not found.is_file():
            raise UserError(f"{found}: is listed in {listed.path.name} and missing; {CARD.hint}")
        return found

    def sources(chosen: Indices) -> Iterable[Path]:
        yield listed.path
        for index in chosen.tolist():
            yield path(index)
            if not aligned:
                yield box_path(base, listed.names[index])

    def examples(chosen: Indices) -> Iterable[Example]:
        for index in chosen.tolist():
            box = None if aligned else grown_to_square(read_box(base, listed.names[index]))
            yield read_view(path(index), base, view, box)

    return expression_dataset(
        name="raf_db",
        version=_VERSION,
        labels=listed.labels,
        table=RAF_DB,
        view=view,
        parameters={"images": images},
        sources=sources,
        examples=examples,
        held_out=listed.test,
        max_images=max_images,
    )
