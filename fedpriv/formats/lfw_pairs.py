r"""``pairs.txt`` of Labeled Faces in the Wild: which images show one person and which do not.

View 2: the first line is ``sets \t n``; each set has n lines ``name \t i \t j`` (one person), then n lines
``name \t i \t other \t j`` (two people); LFW has 10 sets with n = 300. View 1 (``pairsDevTrain.txt``,
``pairsDevTest.txt``): the first line is ``n`` alone, and there is one set. An image is
``name/name_%04d.jpg``.

Protocol of view 2: choose on 9 sets, test on the tenth; report the mean accuracy and its standard error. View
2 is no data to tune on.

Huang et al. 2007, Labeled Faces in the Wild, UMass Amherst technical report 07-49.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, open_input

ImageNumber: TypeAlias = tuple[str, int]
"""Name of the person and number of the image, from 1."""

MAX_SETS = 1000
MAX_PAIRS_PER_SET = 1_000_000
_MAX_LINE = 1024
_MAX_NUMBER = 9999
_MAX_NAME_BYTES = 200
_NUMBER = re.compile(r"[0-9]{1,7}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images.

    Attributes:
        first: name and number of the first.
        second: name and number of the second.
        same: whether both show one person.
    """

    first: ImageNumber
    second: ImageNumber
    same: bool


@dataclass(frozen=True, slots=True)
class LfwPairs:
    """The pairs of one file.

    Attributes:
        pairs: set after set: ``pairs_per_set`` of one person, then as many of two people.
        sets: number of sets (folds); 1 for view 1.
        pairs_per_set: pairs OF EACH KIND in a set.
    """

    pairs: list[Pair]
    sets: int
    pairs_per_set: int


def image_path(image: ImageNumber) -> str:
    """Return where an image lies below LFW's folder: ``name/name_0001.jpg``."""
    name, number = image
    return f"{name}/{name}_{number:04d}.jpg"


def read_pairs(path: Path | str) -> LfwPairs:
    r"""Read a file of view 1 or 2. Whether the images exist is not looked at.

    Raises:
        FormatError: naming the line: counts that are no positive integers, more or fewer pairs than they say,
            another number of fields, an image number outside 1 to 9999, a pair of two people with one name,
            or a name that could lead out of a folder (empty, with ``/``, ``\\`` or a control character,
            beginning with a dot); or the file is missing.
    """
    path = Path(path)
    with io.BufferedReader(open_input(path)) as file:
        lines = _lines(path, file)
        number, fields = next(lines, (1, []))
        sets, per_set, view = _counts(path, number, fields)
        pairs: list[Pair] = []
        for expected in range(sets * 2 * per_set):
            number, fields = next(lines, (number + 1, []))
            if not fields:
                reason = f"no pair after {expected}, the first line says {sets * 2 * per_set}"
                raise FormatError(path, number, reason, "line")
            pairs.append(_pair(path, number, fields, same=expected // per_set % 2 == 0))
        for number, fields in lines:
            if fields:
                raise FormatError(
                    path, number, f"a pair beyond the {len(pairs)} that line 1 (view {view}) says", "line"
                )
    return LfwPairs(pairs, sets, per_set)


def write_pairs(path: Path | str, pairs: LfwPairs, view: int = 2) -> None:
    """Write the file of view 2, or of view 1 (which has one set); it appears when it is complete.

    Raises:
        UserError: the file cannot be written.
        ValueError: pairs, counts or names are none that :func:`read_pairs` accepts.
    """
    expected = [
        place // pairs.pairs_per_set % 2 == 0 for place in range(pairs.sets * 2 * pairs.pairs_per_set)
    ]
    if [pair.same for pair in pairs.pairs] != expected or not expected:
        raise ValueError(f"need {pairs.sets} sets of {pairs.pairs_per_set} pairs of one person, then of two")
    if view == 1 and pairs.sets != 1:
        raise ValueError(f"view 1 has one set, got {pairs.sets}")
    with atomic_output(Path(path)) as file:
        head = f"{pairs.pairs_per_set}" if view == 1 else f"{pairs.sets}\t{pairs.pairs_per_set}"
        file.write(f"{head}\n".encode())
        for number, pair in enumerate(pairs.pairs, start=2):
            (name, one), (other, two) = pair.first, pair.second
            fields = [name, str(one), str(two)] if pair.same else [name, str(one), other, str(two)]
            try:
                intact = _pair(Path(path), number, fields, pair.same) == pair
            except FormatError as error:
                raise ValueError(f"{pair}: {error.reason}") from error
            if not intact:
                raise ValueError(f"{pair}: two names for one person")
            file.write("\t".join(fields).encode() + b"\n")


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields; no field for an empty line."""
    number = 0
    while line := file.readline(_MAX_LINE + 1):
        number += 1
        if len(line) > _MAX_LINE:
            raise FormatError(path, number, f"longer than {_MAX_LINE} bytes", "line")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise FormatError(path, number, "is no UTF-8", "line") from error
        yield number, text.rstrip("\r\n\t ").split("\t") if text.strip() else []


def _counts(path: Path, number: int, fields: list[str]) -> tuple[int, int, int]:
    """Return sets, pairs of each kind per set, and the view."""
    if len(fields) not in (1, 2) or not all(_NUMBER.fullmatch(field.strip()) for field in fields):
        raise FormatError(path, number, "need `sets<tab>pairs` (view 2) or `pairs` (view 1)", "line")
    counts = [int(field) for field in fields]
    sets, per_set = counts if len(counts) == 2 else (1, counts[0])
    if not (1 <= sets <= MAX_SETS and 1 <= per_set <= MAX_PAIRS_PER_SET):
        reason = f"{sets} sets of {per_set} pairs: need 1 to {MAX_SETS} and 1 to {MAX_PAIRS_PER_SET}"
        raise FormatError(path, number, reason, "line")
    return sets, per_set, len(counts)


def _pair(path: Path, number: int, fields: list[str], same: bool) -> Pair:
    need = "name<tab>number<tab>number" if same else "name<tab>number<tab>name<tab>number"
    if len(fields) != (3 if same else 4):
        kind = "one person" if same else "two people"
        raise FormatError(path, number, f"{len(fields)} fields; a pair of {kind} is `{need}`", "line")
    name, other = fields[0], fields[0 if same else 2]
    for text in (name, other):
        if not _names_a_folder(text):
            raise FormatError(path, number, f"name {text[:60]!r} is not the name of a folder", "line")
    if not same and name == other:
        raise FormatError(path, number, f"{name} twice where two people are due", "line")
    first = _image_number(path, number, fields[1])
    return Pair((name, first), (other, _image_number(path, number, fields[-1])), same)


def _names_a_folder(text: str) -> bool:
    # printable first: it rules out what cannot be encoded
    usable = text.isprintable() and 1 <= len(text.encode()) <= _MAX_NAME_BYTES
    return usable and not text.startswith(".") and "/" not in text and "\\" not in text


def _image_number(path: Path, number: int, text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= _MAX_NUMBER:
        raise FormatError(path, number, f"image {text[:20]!r}: need a number from 1 to {_MAX_NUMBER}", "line")
    return int(text)
