"""The paths that a list gives to the images of a record file, found while both are read in order."""

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.files import open_input
from fedpriv.formats.image_list import ListEntry, read_list

_MAX_LINE = 1 << 16


class ListedPaths:
    """Looks up paths by number; memory grows only as far as list and records differ in order.

    Two kinds of list are read. im2rec's ``number, label..., path`` names records by number. The lists
    beside InsightFace's data (CASIA-WebFace, MS1M; ``face2rec2.py``) read ``aligned, path, label[, box and
    landmarks]``, and a record's number is that of the line, from 1; lines that are neither aligned nor
    have landmarks were left out by the packer and do not count.
    """

    def __init__(self, path: Path) -> None:
        """Open the list and tell its kind by its first line."""
        self._path = path
        self._entries = _insightface(path) if _is_insightface(path) else iter(read_list(path))
        self._ahead: dict[int, ListEntry] = {}

    def find(self, number: int, label: int) -> str:
        """Return the path, as untrusted as the list is, of the image with this number; each only once.

        Raises:
            UserError: when the list does not have it, or under another label: it is another file's list.
        """
        entry = self._ahead.pop(number, None)
        if entry is None:
            for entry in self._entries:
                if entry.index == number:
                    break
                if entry.index in self._ahead:
                    raise UserError(f"{self._path}: image {entry.index} is listed twice; remove one line")
                self._ahead[entry.index] = entry
            else:
                raise UserError(
                    f"{self._path}: has no image {number}; give the list that belongs to the records"
                )
        if entry.labels[0] != label:
            raise UserError(
                f"{self._path}: image {number} has label {entry.labels[0]:g}, its record {label}; "
                "give the list that belongs to the records"
            )
        return entry.path


def _is_insightface(path: Path) -> bool:
    for _, fields in islice(_lines(path), 1):
        return len(fields) >= 3 and fields[0] in ("0", "1") and not _number(fields[1]) and _number(fields[2])
    return False


def _insightface(path: Path) -> Iterator[ListEntry]:
    number = 1
    for line, fields in _lines(path):
        if len(fields) < 3 or fields[0] not in ("0", "1") or not _number(fields[2]):
            raise FormatError(path, line, "needs aligned (0 or 1), path and label between tabs", "line")
        if fields[0] == "1" or len(fields) > 7:
            yield ListEntry(number, (float(fields[2]),), fields[1])
            number += 1


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    with io.BufferedReader(open_input(path)) as file:
        number = 0
        while line := file.readline(_MAX_LINE):
            number += 1
            if len(line) == _MAX_LINE:
                raise FormatError(path, number, f"longer than {_MAX_LINE} bytes", "line")
            text = line.decode("utf-8", "surrogateescape").strip()
            if text:
                yield number, text.split("\t")


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
