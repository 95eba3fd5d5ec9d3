r"""The ``.lst`` of MXNet's ``im2rec``: one line ``index \t label [\t label ...] \t path`` per image.

Source: mxnet, ``tools/im2rec.py`` (``read_list``, ``write_list``).
"""

import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, open_input
from fedpriv.formats.image_record import MAX_LABELS

_MAX_LINE = 2**20
_MAX_INDEX = 2**64 - 1
_INTEGER = re.compile(r"[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]{1,64}(\.[0-9]{0,64})?|\.[0-9]{1,64})([eE][+-]?[0-9]{1,4})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One image.

    Attributes:
        index: its number, the key of its record.
        labels: at least one number.
        path: where the image was, relative to a folder. UNTRUSTED text, returned as it stands: it may be
            absolute, hold ``..`` or control characters. Check it before a file is opened by it.
    """

    index: int
    labels: tuple[float, ...]
    path: str


def read_list(path: Path | str) -> Iterator[ListEntry]:
    """Yield the entries in file order, line by line.

    As ``im2rec`` does, blanks around a line and around its fields are dropped (Windows line ends and
    trailing tabs with them), and empty lines skipped. That an index occurs once is not checked.

    Raises:
        FormatError: naming the line: fewer than three fields, an index that is no integer from 0 to
            2^64 - 1, a label that is no finite decimal number, an empty path, more than 2^16 labels, a line
            that is no UTF-8 or longer than 1 MiB; or the file is missing.
    """
    path = Path(path)
    with io.BufferedReader(open_input(path)) as file:
        number = 0
        while line := file.readline(_MAX_LINE + 1):
            number += 1
            try:
                if len(line) > _MAX_LINE:
                    raise ValueError(f"longer than {_MAX_LINE} bytes")
                if line.strip():
                    yield _parse(line)
            except ValueError as error:
                raise FormatError(path, number, str(error), "line") from error


def write_list(path: Path | str, entries: Iterable[ListEntry]) -> None:
    """Write a list; the file appears when it is complete.

    Integers are written without a fraction (``1``), other labels with as many digits as reading them back
    unchanged needs.

    Raises:
        UserError: the file cannot be written.
        ValueError: an entry that :func:`read_list` would not read back as it is.
    """
    with atomic_output(Path(path)) as file:
        for entry in entries:
            labels = "\t".join(_written(label) for label in entry.labels)
            line = f"{entry.index}\t{labels}\t{entry.path}\n".encode()
            if "\n" in entry.path or len(line) > _MAX_LINE or _parse(line) != entry:
                raise ValueError(f"{entry}: cannot be written as one line")
            file.write(line)


def _parse(line: bytes) -> ListEntry:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError("is no UTF-8") from error
    fields = [field.strip() for field in text.strip().split("\t")]
    if len(fields) < 3:
        raise ValueError(f"{len(fields)} fields, need `index<tab>label<tab>path`")
    if len(fields) - 2 > MAX_LABELS:
        raise ValueError(f"{len(fields) - 2} labels, the limit is {MAX_LABELS}")
    if not _INTEGER.fullmatch(fields[0]) or (index := int(fields[0])) > _MAX_INDEX:
        raise ValueError(f"index {fields[0][:40]!r}: need an integer from 0 to 2^64 - 1")
    labels = tuple(_number(field) for field in fields[1:-1])
    if not fields[-1]:
        raise ValueError("the path is empty")
    return ListEntry(index, labels, fields[-1])


def _number(text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"label {text[:40]!r}: need a finite decimal number")
    return value


def _written(label: float) -> str:
    return f"{label:.0f}" if abs(label) < 1e15 and label == int(label) else repr(float(label))
