r"""The ``.idx`` beside a ``.rec``: one line ``key \t offset`` per record, as MXNet writes it.

Keys are the image's numbers in any order; an offset is where the record begins in the ``.rec``.

Source: mxnet, ``python/mxnet/recordio.py`` (``MXIndexedRecordIO``).
"""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, open_input

MAX_FILE_BYTES = 2**30
_MAX_LINE = 64
_LINE = re.compile(rb"([0-9]{1,20})\t([0-9]{1,20})\r?\n?")


def read_index(path: Path | str) -> dict[int, int]:
    """Return key to offset, in the order of the file.

    Offsets need not increase (tools shuffle and sort the lines); whether a record begins there is for
    :meth:`fedpriv.formats.recordio.RecordReader.read_at` to find out.

    Raises:
        FormatError: naming the line: not two non-negative integers with a tab between them, a key twice, or
            an offset that is no multiple of 4; or the file is missing or above ``MAX_FILE_BYTES``.
    """
    index: dict[int, int] = {}
    for number, (key, offset) in enumerate(index_entries(path), start=1):
        if key in index:
            raise FormatError(path, number, f"key {key} a second time", "line")
        index[key] = offset
    return index


def index_entries(path: Path | str) -> Iterator[tuple[int, int]]:
    """Yield (key, offset) line by line, for indexes too long to be kept as a dictionary.

    Raises:
        FormatError: as :func:`read_index`, but that a key occurs once is not checked.
    """
    path = Path(path)
    with io.BufferedReader(open_input(path, MAX_FILE_BYTES)) as file:
        number = 0
        while line := file.readline(_MAX_LINE):
            number += 1
            match = _LINE.fullmatch(line)
            if match is None:
                reason = f"need `key<tab>offset`, two non-negative integers, got {_shown(line)}"
                raise FormatError(path, number, reason, "line")
            key, offset = int(match[1]), int(match[2])
            if offset % 4:
                raise FormatError(path, number, f"offset {offset} is no multiple of 4", "line")
            yield key, offset


def write_index(path: Path | str, index: Mapping[int, int]) -> None:
    """Write key to offset in the order of ``index``; the file appears when it is complete.

    Raises:
        UserError: the file cannot be written.
        ValueError: a key is negative, or an offset negative or no multiple of 4.
    """
    with atomic_output(Path(path)) as file:
        for key, offset in index.items():
            file.write(index_line(key, offset))


def index_line(key: int, offset: int) -> bytes:
    """Return one line of an ``.idx``.

    Raises:
        ValueError: as :func:`write_index`.
    """
    if key < 0 or offset < 0 or offset % 4:
        raise ValueError(f"key {key}, offset {offset}: need key >= 0 and offset a multiple of 4, >= 0")
    return b"%d\t%d\n" % (key, offset)


def _shown(line: bytes) -> str:
    return repr(line[:40])[1:]
