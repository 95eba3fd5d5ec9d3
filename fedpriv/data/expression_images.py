"""From a data set's own labels and faces to an :class:`ImageDataset` of the seven expressions."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.emotions import EMOTIONS, LabelTable, canonical
from fedpriv.data.eye_region import FaceView
from fedpriv.data.origins import of_bytes
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.crop import Box, decode_picture
from fedpriv.formats.files import read_input
from fedpriv.formats.identity_folder import MAX_FILE_BYTES

Indices = NDArray[np.int64]

_log = logging.getLogger(__name__)


def expression_dataset(
    *,
    name: str,
    version: int,
    labels: Indices,
    table: LabelTable,
    view: FaceView,
    parameters: dict[str, Any],
    sources: Callable[[Indices], Iterable[Path]],
    examples: Callable[[Indices], Iterable[Example]],
    held_out: NDArray[np.bool_] | None = None,
    people: tuple[Indices, tuple[str, ...]] | None = None,
    max_images: int | None = None,
) -> ImageDataset:
    """Keep the images that show one of the seven expressions, and decode them once.

    How many were left out, and for which label, is logged.

    Args:
        name: of the data set.
        version: raise it when decoding changes what it makes.
        labels: (N,) the data set's own labels.
        table: what they mean.
        view: what the images show.
        parameters: what else the pixels depend on.
        sources: the files read for the images at some indices.
        examples: yields the images at some indices, each of ``view.shape``, and their origins.
        held_out: (N,) the published test part.
        people: (N,) index of the person of each image, and the people's names; None where the data
            name nobody: every image then counts as its own person, ``image000123`` by its index among
            the N.
        max_images: keep at most so many, evenly spaced over the data set; None keeps all.

    Raises:
        UserError: when ``max_images`` is below 1, or no image shows one of the seven expressions.
    """
    if max_images is not None and max_images < 1:
        raise UserError(f"data.max_images={max_images}: must be at least 1")
    found = canonical(labels, table)
    if found.left_out:
        counts = ", ".join(f"{count} labelled {label}" for label, count in found.left_out.items())
        _log.info("data=%s: left out, none of the seven expressions: %s", name, counts)
    if not len(found.kept):
        raise UserError(f"data.root: data={name} has no image of the seven expressions; check the folder")
    chosen = np.arange(len(found.kept), dtype=np.int64)
    if max_images is not None and max_images < len(chosen):
        chosen = np.linspace(0, len(chosen) - 1, max_images).round().astype(np.int64)
    kept = found.kept[chosen]
    facts = {
        **parameters,
        "part": view.part,
        "left_out": sorted(found.left_out),
        "max_images": max_images,
    }
    if people is None:
        subjects, names = np.arange(len(kept), dtype=np.int64), tuple(f"image{index:06d}" for index in kept)
    else:
        present, subjects = np.unique(people[0][kept], return_inverse=True)
        names = tuple(people[1][index] for index in present)
    images, origins = decoded_images(
        name, version, facts, sources(kept), (len(kept), *view.shape), lambda: examples(kept)
    )
    return ImageDataset(
        name=name,
        images=images,
        targets=found.targets[chosen],
        subjects=subjects.astype(np.int64),
        subject_names=names,
        class_names=EMOTIONS,
        held_out=None if held_out is None else held_out[kept],
        origins=origins,
    )


def folder(root: str, hint: str) -> Path:
    """Return ``data.root`` as a resolved folder.

    Raises:
        UserError: when there is no such folder.
    """
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(f"data.root={root}: no such folder; {hint}")
    return path.resolve()


def read_view(path: Path, root: Path, view: FaceView, box: Box | None) -> Example:
    """Decode one file and cut ``view`` out of it, see :meth:`fedpriv.data.eye_region.FaceView.of`.

    Every view of a file has the file's origin.

    Raises:
        UserError: when the file is damaged, lies outside ``root``, or the box does not fit its image.
    """
    content = read_input(path, MAX_FILE_BYTES, root)
    picture = decode_picture(content, path, view.colour)
    try:
        return view.of(picture, box), of_bytes(content)
    except ValueError as error:
        raise FormatError(path, None, f"the face does not fit: {error}; mend its annotation") from error
