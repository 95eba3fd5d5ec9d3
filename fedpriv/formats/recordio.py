"""RecordIO, the container of MXNet's ``.rec`` files, byte for byte.

A file is a sequence of parts, all numbers little-endian::

    u32 magic | u32 cflag << 29 | length | length bytes | zeros up to a multiple of 4

``cflag`` is 0 for a whole record, 1, 2 and 3 for the first, a middle and the last part of one. A writer
cuts a record wherever the magic number stands at a multiple of 4 bytes from its start, and drops those four
bytes; a reader puts them back between the parts. So the magic number at a multiple of 4 always is a header,
and a reader can find the next record after damage.

Source: dmlc-core, ``include/dmlc/recordio.h`` and ``src/recordio.cc``.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from fedpriv.errors import FormatError
from fedpriv.formats.files import open_input

MAGIC = 0xCED7230A
MAX_RECORD_BYTES = 2**29 - 1
MAGIC_BYTES = MAGIC.to_bytes(4, "little")
HEADER = struct.Struct("<II")
WHOLE, FIRST, MIDDLE, LAST = range(4)
_WINDOW = 1 << 20

_Read: TypeAlias = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        offset: where in the file its first header stands, in bytes.
        payload: what was given to the writer.
    """

    offset: int
    payload: bytes


class RecordReader:
    """Reads a ``.rec`` file; a context manager.

    Memory is bounded by the largest record that is really in the file (plus 1 MiB read ahead): a length is
    compared with the bytes that are left before anything is allocated. Nothing is shared between iterators
    or with :meth:`read_at`, so they may be mixed, and used from several threads.

    Every method that reads raises ``FormatError`` for a bad magic number, a cflag above 3, a part that
    continues no record, a record inside another, a header or data (with its padding) that the file does not
    hold in full, the magic number at a multiple of 4 inside data (no writer leaves it there: the length
    before it is damaged), and a record of 2^29 bytes or more. ``FormatError.offset`` is where the record that
    cannot be read begins: give it to :meth:`resync` to go on behind it. Padding is not looked at.

    Attributes:
        path: the file.
        size: its bytes.
    """

    def __init__(self, path: Path | str) -> None:
        """Open ``path``.

        Raises:
            FormatError: the file is missing, unreadable or no regular file.
        """
        self.path = Path(path)
        self._file = open_input(self.path)
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; reading then raises ValueError."""
        self._file.close()

    def __iter__(self) -> Iterator[Record]:
        """Yield every record in file order."""
        return self.iterate_from(0)

    def iterate_from(self, offset: int) -> Iterator[Record]:
        """Yield the records from the one at ``offset`` to the end of the file.

        Raises:
            FormatError: see the class; ``offset`` is no multiple of 4 or beyond the end.
        """
        if offset != self.size or offset % 4:
            self._check(offset)
        read = self._read_ahead()
        while offset < self.size:
            payload, following = self._record(offset, read)
            yield Record(offset, payload)
            offset = following

    def read_at(self, offset: int) -> bytes:
        """Return the payload of the record at ``offset``.

        Raises:
            FormatError: see the class; ``offset`` is no multiple of 4 or not inside the file.
        """
        self._check(offset)
        return self._record(offset, self._read)[0]

    def resync(self, offset: int) -> int | None:
        """Return where the next record after ``offset`` begins; None when there is no more.

        That is the first position beyond ``offset``, at a multiple of 4, with the magic number, cflag 0 or 1,
        and a length whose data are followed by the magic number or by the end of the file.
        """
        position = max(offset - offset % 4 + 4, 0)
        while position < self.size:
            window = self._read(position, min(_WINDOW, self.size - position))
            found = window.find(MAGIC_BYTES)
            while found >= 0:
                if found % 4 == 0 and self._begins_record(position + found):
                    return position + found
                found = window.find(MAGIC_BYTES, found + 1)
            position += _WINDOW
        return None

    def _check(self, offset: int) -> None:
        if not 0 <= offset < self.size or offset % 4:
            reason = f"no record can begin here: need a multiple of 4 inside the file's {self.size} bytes"
            raise FormatError(self.path, offset, reason)

    def _begins_record(self, offset: int) -> bool:
        if offset + 8 > self.size:
            return False
        flag, length = _unpack_length(HEADER.unpack(self._read(offset, 8))[1])
        end = offset + 8 + _padded(length)
        if flag not in (WHOLE, FIRST) or end > self.size:
            return False
        return end == self.size or self._read(end, min(4, self.size - end)) == MAGIC_BYTES

    def _record(self, start: int, read: _Read) -> tuple[bytes, int]:
        """Return the payload of the record at ``start`` and the offset behind it."""
        flag, data, position = self._part(start, start, read)
        if flag == WHOLE:
            return data, position
        if flag != FIRST:
            raise FormatError(self.path, start, f"cflag {flag} continues a record, but none is open")
        payload = bytearray(data)
        while flag != LAST:
            if position >= self.size:
                raise FormatError(self.path, start, "the file ends before the record's last part")
            flag, data, following = self._part(position, start, read)
            if flag in (WHOLE, FIRST):
                raise FormatError(
                    self.path, start, f"the record is not complete where another begins, at {position}"
                )
            payload += MAGIC_BYTES
            payload += data
            if len(payload) > MAX_RECORD_BYTES:
                raise FormatError(self.path, start, f"a record of more than {MAX_RECORD_BYTES} bytes")
            position = following
        return bytes(payload), position

    def _part(self, offset: int, start: int, read: _Read) -> tuple[int, bytes, int]:
        """Return cflag, data and end of the part at ``offset`` of the record that begins at ``start``."""
        left = self.size - offset - 8
        if left < 0:
            raise self._damage(offset, start, f"a header needs 8 bytes, {left + 8} are left")
        magic, word = HEADER.unpack(read(offset, 8))
        if magic != MAGIC:
            raise self._damage(offset, start, f"magic number is 0x{magic:08X}, not 0x{MAGIC:08X}")
        flag, length = _unpack_length(word)
        if flag > LAST:
            raise self._damage(offset, start, f"cflag is {flag}, the largest is {LAST}")
        padded = _padded(length)
        if padded > left:
            raise self._damage(offset, start, f"{padded} bytes of data announced, {left} are left")
        data = read(offset + 8, length)
        found = data.find(MAGIC_BYTES)
        while found >= 0:
            if found % 4 == 0:
                raise self._damage(
                    offset, start, f"length {length} reaches over the header at {offset + 8 + found}"
                )
            found = data.find(MAGIC_BYTES, found + 1)
        return flag, data, offset + 8 + padded

    def _damage(self, offset: int, start: int, reason: str) -> FormatError:
        place = "" if offset == start else f"in the part at {offset}: "
        return FormatError(self.path, start, place + reason)

    def _read(self, offset: int, count: int) -> bytes:
        data = os.pread(self._file.fileno(), count, offset)
        if len(data) != count:
            raise FormatError(self.path, offset, "the file became shorter while it was read")
        return data

    def _read_ahead(self) -> _Read:
        """Return a function like ``_read`` that keeps a window of the file."""
        window, begin = b"", 0

        def read(offset: int, count: int) -> bytes:
            nonlocal window, begin
            place = offset - begin
            if place + count > len(window):
                length = max(count, min(_WINDOW, self.size - offset))
                window, begin, place = self._read(offset, length), offset, 0
            return window[place : place + count]

        return read


def _unpack_length(word: int) -> tuple[int, int]:
    return word >> 29, word & 0x1FFFFFFF


def _padded(length: int) -> int:
    return length + 3 & ~3
