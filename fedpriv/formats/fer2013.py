"""FER2013: one csv file with a row per face, its pixels written out as text.

Header ``emotion,pixels,Usage``; ``emotion`` is 0 to 6, ``pixels`` are 48 x 48 = 2304 values from 0 to 255,
row by row, separated by spaces; ``Usage`` is Training (28,709 rows), PublicTest (3,589) or PrivateTest
(3,589). Kaggle's variants are read as well: ``icml_face_data.csv`` has the columns in another order and
spaces in its header, ``train.csv`` has no ``Usage``. Columns are found by their names.

Goodfellow et al. 2013, Challenges in Representation Learning, arXiv 1307.0414.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, open_input

SIDE = 48
USAGES = ("Training", "PublicTest", "PrivateTest")
_PIXELS = SIDE * SIDE
_MAX_LINE_BYTES = 16_384
_BUFFER_BYTES = 1 << 20
_SHORTEST = 2 * _PIXELS - 1
_EMOTIONS = {str(value).encode(): value for value in range(7)}
_USAGE_INDEX = {name.encode(): index for index, name in enumerate(USAGES)}


@dataclass(frozen=True)
class Fer2013Labels:
    """Everything but the pixels.

    Attributes:
        emotions: (N,) int64, 0 to 6 as in the file.
        usages: (N,) int64, index into :data:`USAGES`; None where the file has no such column.
    """

    emotions: NDArray[np.int64]
    usages: NDArray[np.int64] | None


def read_labels(path: Path) -> Fer2013Labels:
    """Read the labels of every row; pixels are left unparsed.

    Raises:
        FormatError: naming the line, for a header without ``emotion`` or ``pixels``, another number of
            fields than the header's, an unknown emotion or usage, or a line that is too long or short.
    """
    emotions: list[int] = []
    usages: list[int] = []
    for number, row in _rows(path):
        emotions.append(_look_up(path, number, "emotion", row, _EMOTIONS, "0 to 6"))
        if "usage" in row:
            usages.append(_look_up(path, number, "usage", row, _USAGE_INDEX, ", ".join(USAGES)))
        if len(row["pixels"]) < _SHORTEST:
            raise FormatError(path, number, f"too short for {_PIXELS} pixels; get the file again", "line")
    if not emotions:
        raise FormatError(path, 1, "holds no images; get the file again", "line")
    return Fer2013Labels(
        emotions=np.array(emotions, dtype=np.int64),
        usages=np.array(usages, dtype=np.int64) if usages else None,
    )


def read_images(path: Path, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of the rows ``chosen``, each (1, 48, 48), one row in memory at a time.

    Args:
        path: the csv file.
        chosen: increasing indices of rows, counted from 0 as in :func:`read_labels`.

    Raises:
        FormatError: naming the line, for anything but 2304 whole numbers from 0 to 255.
    """
    wanted = iter(chosen.tolist())
    following = next(wanted, None)
    for index, (number, row) in enumerate(_rows(path)):
        if following is None:
            return
        if index == following:
            yield _pixels(path, number, row["pixels"])
            following = next(wanted, None)


def write_fer2013(
    path: Path,
    images: Iterable[NDArray[np.uint8]],
    emotions: Iterable[int],
    usages: Iterable[int],
) -> None:
    """Write the file as published, byte for byte the same layout.

    Args:
        path: the csv file; replaced if it exists.
        images: (1, 48, 48) uint8 each.
        emotions: 0 to 6 each.
        usages: index into :data:`USAGES` each.

    Raises:
        ValueError: when an image has another shape, or the numbers of items differ.
    """
    with atomic_output(path) as file:
        file.write(b"emotion,pixels,Usage\n")
        for image, emotion, usage in zip(images, emotions, usages, strict=True):
            if image.shape != (1, SIDE, SIDE) or image.dtype != np.uint8:
                raise ValueError(f"image: {image.dtype} {image.shape}, FER2013 holds uint8 (1, 48, 48)")
            pixels = " ".join(map(str, image.ravel().tolist()))
            file.write(f"{int(emotion)},{pixels},{USAGES[usage]}\n".encode())


def _rows(path: Path) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield line number and fields by lower-case column name."""
    with io.BufferedReader(open_input(path), _BUFFER_BYTES) as file:
        columns = _header(path, _line(path, file, 1))
        number = 1
        while line := _line(path, file, number := number + 1):
            fields = [field.strip(b' "\r\n') for field in line.split(b",")]
            if fields == [b""]:
                continue  # a blank line at the end
            if len(fields) != len(columns):
                raise FormatError(
                    path, number, f"{len(fields)} fields, the header names {len(columns)}", "line"
                )
            yield number, dict(zip(columns, fields, strict=True))


def _header(path: Path, line: bytes) -> list[str]:
    text = line.removeprefix(b"\xef\xbb\xbf").decode("ascii", errors="replace")
    columns = [name.strip(' "\r\n').lower() for name in text.split(",")]
    for needed in ("emotion", "pixels"):
        if columns.count(needed) != 1:
            raise FormatError(
                path,
                1,
                f"the header has no single column {needed} (Kaggle's test.csv has no labels); "
                "name the file with emotion,pixels,Usage",
                "line",
            )
    return columns


def _line(path: Path, file: BinaryIO, number: int) -> bytes:
    line = file.readline(_MAX_LINE_BYTES + 1)
    if len(line) > _MAX_LINE_BYTES:
        raise FormatError(
            path,
            number,
            f"longer than {_MAX_LINE_BYTES} bytes, not a row of FER2013; name its csv file",
            "line",
        )
    return line


def _look_up(
    path: Path, number: int, column: str, row: dict[str, bytes], known: dict[bytes, int], choices: str
) -> int:
    value = known.get(row[column])
    if value is None:
        shown = row[column][:20].decode("ascii", errors="replace")
        raise FormatError(path, number, f"{column} {shown!r} is none of {choices}; mend the row", "line")
    return value


def _pixels(path: Path, number: int, text: bytes) -> NDArray[np.uint8]:
    # numpy's own parser is the quickest by far, but it stops at what it cannot read and wraps what is
    # too large for its type: so digits and spaces only, and the widest type
    if not text.translate(None, b"0123456789 ") and len(text) >= _SHORTEST:
        values = np.fromstring(text, dtype=np.int64, sep=" ")
        if len(values) == _PIXELS and values.max() <= 255:
            return values.astype(np.uint8).reshape(1, SIDE, SIDE)
    words = text.split()
    wrong = next((word for word in words if not _is_byte(word)), None)
    if wrong is not None:
        shown = wrong[:20].decode("ascii", errors="replace")
        raise FormatError(
            path, number, f"pixel {shown!r} is no whole number from 0 to 255; mend the row", "line"
        )
    raise FormatError(path, number, f"{len(words)} pixels instead of {_PIXELS}; mend the row", "line")


def _is_byte(word: bytes) -> bool:
    return word.isdigit() and len(word.lstrip(b"0")) <= 3 and int(word[-3:]) <= 255
