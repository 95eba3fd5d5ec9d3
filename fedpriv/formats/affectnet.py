"""AffectNet, manually annotated: the original csv files, and the later release of folders.

Original: ``training.csv`` and ``validation.csv`` with the columns ``subDirectory_filePath, face_x, face_y,
face_width, face_height, facial_landmarks, expression, valence, arousal``; a file without a header has them
in this order. Paths are relative to a folder of images.

Folders: ``train_set`` and ``val_set``, each with ``images/<id>.jpg`` (224 x 224) and
``annotations/<id>_exp.npy`` (also ``_val``, ``_aro``, ``_lnd``): arrays of no dimension that hold a number
or its text. Nothing is unpickled: an array of objects is refused.

Expressions are 0 to 10. Mollahosseini, Hasani, Mahoor, AffectNet, 2017, arXiv 1708.03985.
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.files import atomic_output, open_input, read_input

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_MAX_LINE_BYTES = 65_536
_MAX_NPY_BYTES = 4096
_MOST_PIXELS = 1 << 16
_NO_FACES = 8
# a pattern, as numpy's own reader takes a header for a Python literal and falls over hostile ones
_NPY_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>\|O|[|<>=][iufSU][0-9]{1,4})', 'fortran_order': (?:True|False), "
    rb"'shape': (?P<shape>\([0-9, ]{0,40}\)), \} *\n"
)
_PATH = re.compile(r"[A-Za-z0-9_-]{1,200}(/[A-Za-z0-9_-]{1,200}){0,3}\.[A-Za-z]{1,5}")


@dataclass(frozen=True)
class AffectNetTable:
    """A csv file.

    Attributes:
        paths: of the images, relative; plain names without ``..``, at most four deep.
        boxes: (N, 4) int64: x, y, width and height of the face in pixels; of no meaning from expression 8
            on (none, uncertain, no face).
        expressions: (N,) int64, 0 to 10.
    """

    paths: tuple[str, ...]
    boxes: NDArray[np.int64]
    expressions: NDArray[np.int64]


def read_table(path: Path) -> AffectNetTable:
    """Read a csv file of the original release, line by line.

    Raises:
        FormatError: when the file cannot be read; naming the line, for another number of fields than the
            header's, a path that is not plain, a box that is no box, or an expression outside 0 to 10.
    """
    paths: list[str] = []
    boxes: list[tuple[int, int, int, int]] = []
    expressions: list[int] = []
    with io.BufferedReader(open_input(path)) as file:
        number, columns = 0, {name: place for place, name in enumerate(COLUMNS)}
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > _MAX_LINE_BYTES:
                raise FormatError(path, number, f"longer than {_MAX_LINE_BYTES} bytes", "line")
            text = line.decode("utf-8", errors="replace").removeprefix("\ufeff")
            fields = [field.strip(' "\r\n') for field in text.split(",")]
            if fields == [""]:
                continue
            if number == 1 and COLUMNS[0] in fields:
                columns = _header(path, fields)
                continue
            if len(fields) != len(columns):
                reason = f"{len(fields)} fields instead of {len(columns)}; mend the row"
                raise FormatError(path, number, reason, "line")
            paths.append(_relative(path, number, fields[columns[COLUMNS[0]]]))
            expressions.append(_expression(path, number, fields[columns["expression"]]))
            box = [fields[columns[name]] for name in COLUMNS[1:5]]
            boxes.append(_box(path, number, box) if expressions[-1] < _NO_FACES else (0, 0, 1, 1))
    if not paths:
        raise FormatError(path, 1, "lists no images; get the file again", "line")
    return AffectNetTable(
        tuple(paths), np.array(boxes, dtype=np.int64), np.array(expressions, dtype=np.int64)
    )


def list_images(folder: Path) -> list[str]:
    """List the ids of a part (``train_set``, ``val_set``) in numerical order: images with an annotation.

    Raises:
        UserError: when the folders are missing, or an image has no ``_exp.npy``.
    """
    try:
        found = {entry.stem for entry in (folder / "images").iterdir() if entry.suffix.lower() == ".jpg"}
        annotated = {
            entry.name.removesuffix("_exp.npy")
            for entry in (folder / "annotations").iterdir()
            if entry.name.endswith("_exp.npy")
        }
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); check the folder") from error
    ids = sorted((name for name in found if not name.startswith(".")), key=lambda name: (len(name), name))
    if missing := [name for name in ids if name not in annotated]:
        raise UserError(
            f"{folder / 'annotations' / (missing[0] + '_exp.npy')}: is missing ({len(missing)} such); "
            "get it again or remove the image"
        )
    return ids


def read_expression(folder: Path, name: str) -> int:
    """Read the annotation ``<name>_exp.npy`` of a part: 0 to 10.

    Raises:
        FormatError: when the file cannot be read, or for an array of objects, of more than one element,
            or of anything but a label.
    """
    path = folder / "annotations" / f"{name}_exp.npy"
    data = read_input(path, _MAX_NPY_BYTES, folder)
    start = 10 + int.from_bytes(data[8:10], "little")
    head = _NPY_HEADER.fullmatch(data[10:start])
    if data[:8] != b"\x93NUMPY\x01\x00" or head is None:
        raise FormatError(path, 0, "not an npy file (version 1.0) of a number or text; get it again")
    descr, shape = head["descr"].decode(), head["shape"].decode()
    if descr == "|O":
        raise FormatError(
            path,
            None,
            "an array of objects, which only unpickling could read; where you trust its maker, save it "
            "again with numpy.save(path, str(numpy.load(path, allow_pickle=True)))",
        )
    kind, size = descr[1], int(descr[2:] or 0)
    body = data[start:]
    if shape not in ("()", "(1,)") or len(body) != (4 * size if kind == "U" else size):
        raise FormatError(path, start, f"{descr} of shape {shape} instead of one label; get it again")
    if kind == "S":
        text = body.rstrip(b"\0").decode("ascii", errors="replace")
    elif kind == "U":
        text = body.decode("utf-32-be" if descr[0] == ">" else "utf-32-le", errors="replace").rstrip("\0")
    elif size in (1, 2, 4, 8) and (kind, size) != ("f", 1):
        text = str(np.frombuffer(body, dtype=descr)[0])
    else:
        raise FormatError(path, start, f"{descr} is no number or text; get it again")
    return _expression(path, None, text)


def write_table(path: Path, table: AffectNetTable) -> None:
    """Write a csv file of the original release; landmarks, valence and arousal are zeros."""
    landmarks = ";".join(["0"] * 136)
    with atomic_output(path) as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        for name, box, expression in zip(
            table.paths, table.boxes.tolist(), table.expressions.tolist(), strict=True
        ):
            row = ",".join([name, *map(str, box), landmarks, str(expression), "0.0", "0.0"])
            file.write(f"{row}\n".encode())


def write_folder(
    folder: Path, ids: Iterable[int], images: Iterable[NDArray[np.uint8]], expressions: Iterable[int]
) -> None:
    """Write a part of the release of folders.

    Args:
        folder: e.g. ``root/train_set``.
        ids: of each image.
        images: (1 or 3, 224, 224) uint8 each; written as RGB JPEG, quality 95.
        expressions: 0 to 10 each; valence, arousal and landmarks are zeros.
    """
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, image, expression in zip(ids, images, expressions, strict=True):
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
        picture.save(folder / "images" / f"{number}.jpg", quality=95)
        for kind, value in (("exp", np.array(str(expression))), ("val", np.array("0.0"))):
            np.save(folder / "annotations" / f"{number}_{kind}.npy", value, allow_pickle=False)
        np.save(folder / "annotations" / f"{number}_aro.npy", np.array("0.0"), allow_pickle=False)
        np.save(folder / "annotations" / f"{number}_lnd.npy", np.zeros(136), allow_pickle=False)


def _header(path: Path, fields: list[str]) -> dict[str, int]:
    columns = {name: place for place, name in enumerate(fields)}
    for needed in (*COLUMNS[:5], "expression"):
        if needed not in columns:
            raise FormatError(path, 1, f"the header has no column {needed}; get the file again", "line")
    return columns


def _relative(path: Path, number: int, text: str) -> str:
    if not _PATH.fullmatch(text):
        raise FormatError(path, number, f"{text[:60]!r} is no plain relative path; mend the row", "line")
    return text


def _box(path: Path, number: int, fields: list[str]) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = map(int, fields)
    except ValueError:
        x = y = width = height = 0
    if min(width, height) < 1 or max(abs(x), abs(y), width, height) > _MOST_PIXELS:
        shown = ",".join(fields)[:40]
        raise FormatError(path, number, f"face box {shown!r} is no x, y, width, height; mend the row", "line")
    return x, y, width, height


def _expression(path: Path, number: int | None, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value not in range(11):
        reason = f"expression {text[:20]!r} is no whole number from 0 to 10; mend it"
        raise FormatError(path, number, reason, "line")
    return int(value)
