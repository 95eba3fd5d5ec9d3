"""RAF-DB, basic expressions: a list of labels beside folders of images.

``EmoLabel/list_patition_label.txt`` (the publishers' spelling; ``list_partition_label.txt`` in copies) has
lines ``train_00001.jpg 5`` with labels 1 to 7; the name's first part is the official split (12,271 train,
3,068 test). Images are ``Image/aligned/train_00001_aligned.jpg`` (100 x 100) and
``Image/original/train_00001.jpg``; the face in an original is the box
``Annotation/boundingbox/train_00001_boundingbox.txt``: left, top, right, bottom in pixels.

The place and order of the boxes are those of public loaders, not of a published specification.

Li, Deng, Du, Reliable Crowdsourcing and Deep Locality-Preserving Learning, CVPR 2017.
"""

import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.crop import Box
from fedpriv.formats.files import open_input, read_input

LISTS = ("list_patition_label.txt", "list_partition_label.txt")
_LINE = re.compile(r"((train|test)_[0-9]{1,8})\.jpg[ \t]+([1-7])")
_MAX_LINE = 256
_MAX_LIST_BYTES = 64 * 2**20
_MAX_BOX_BYTES = 4096


@dataclass(frozen=True)
class RafDb:
    """What the list says.

    Attributes:
        names: ``train_00001`` and so on, in the list's order.
        labels: (N,) int64, 1 to 7.
        test: (N,) bool, the official test part.
        path: the list.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    test: NDArray[np.bool_]
    path: Path


def read_list(root: Path) -> RafDb:
    """Read the list under ``root``, in either spelling.

    Raises:
        UserError: when there is no list or it cannot be read.
        FormatError: naming the line, for anything but an image's name and a label, or a repeated name.
    """
    found = [root / "EmoLabel" / name for name in LISTS if (root / "EmoLabel" / name).is_file()]
    if not found:
        raise UserError(
            f"{root}: holds no EmoLabel/{LISTS[0]}; name the folder that holds EmoLabel and Image"
        )
    path = found[0]
    labels: dict[str, int] = {}
    try:
        listed = io.BufferedReader(open_input(path, _MAX_LIST_BYTES, root))
        with io.TextIOWrapper(listed, encoding="ascii", errors="replace") as file:
            number = 0
            while line := file.readline(_MAX_LINE + 1):
                number += 1
                if not line.strip() and len(line) <= _MAX_LINE:
                    continue
                match = _LINE.fullmatch(line.strip())
                if match is None or match[1] in labels:
                    reason = "is listed twice" if match else "is no line like 'train_00001.jpg 5'"
                    raise FormatError(path, number, f"{line.strip()[:40]!r} {reason}; mend the list", "line")
                labels[match[1]] = int(match[3])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    if not labels:
        raise FormatError(path, 1, "lists no images; get the file again", "line")
    return RafDb(
        names=tuple(labels),
        labels=np.array(list(labels.values()), dtype=np.int64),
        test=np.array([name.startswith("test") for name in labels], dtype=np.bool_),
        path=path,
    )


def aligned_path(root: Path, name: str) -> Path:
    """Return where the aligned face of an image lies."""
    return root / "Image" / "aligned" / f"{name}_aligned.jpg"


def original_path(root: Path, name: str) -> Path:
    """Return where the image itself lies."""
    return root / "Image" / "original" / f"{name}.jpg"


def box_path(root: Path, name: str) -> Path:
    """Return where the box of the face in the original lies."""
    return root / "Annotation" / "boundingbox" / f"{name}_boundingbox.txt"


def read_box(root: Path, name: str) -> Box:
    """Read where the face lies in an original.

    Raises:
        FormatError: when the file cannot be read, or is anything but left, top, right and bottom of a box.
    """
    path = box_path(root, name)
    words = read_input(path, _MAX_BOX_BYTES, root).split()
    try:
        left, top, right, bottom = map(float, words)
    except ValueError as error:
        raise FormatError(path, None, "not four numbers left, top, right, bottom; mend it") from error
    if not (left < right and top < bottom and all(map(math.isfinite, (left, top, right, bottom)))):
        raise FormatError(path, None, f"box {left:g}, {top:g}, {right:g}, {bottom:g} is empty; mend it")
    return left, top, right - left, bottom - top


def write_raf_db(
    root: Path,
    images: Iterable[NDArray[np.uint8]],
    labels: Iterable[int],
    test: Iterable[bool],
    boxes: Iterable[Box] | None = None,
) -> None:
    """Write images in the layout as published: aligned ones, or originals where ``boxes`` are given.

    Args:
        root: the folder to write into.
        images: (1 or 3, H, W) uint8 each; written as RGB JPEG, quality 95.
        labels: 1 to 7 each.
        test: whether each belongs to the test part.
        boxes: the face in each image.
    """
    faces = ("Image/aligned",) if boxes is None else ("Image/original", "Annotation/boundingbox")
    for folder in ("EmoLabel", *faces):
        (root / folder).mkdir(parents=True, exist_ok=True)
    counts = {"train": 0, "test": 0}
    box_of = iter(boxes) if boxes is not None else None
    with (root / "EmoLabel" / LISTS[0]).open("w", encoding="ascii") as file:
        for image, label, held_out in zip(images, labels, test, strict=True):
            part = "test" if held_out else "train"
            counts[part] += 1
            digits = 5 if part == "train" else 4
            name = f"{part}_{counts[part]:0{digits}d}"
            file.write(f"{name}.jpg {label}\n")
            path = aligned_path(root, name)
            if box_of is not None:
                path = original_path(root, name)
                box_path(root, name).write_text(_corners(next(box_of)))
            pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB").save(path, quality=95)


def _corners(box: Box) -> str:
    x, y, across, down = box
    return f"{x:g} {y:g} {x + across:g} {y + down:g}\n"
