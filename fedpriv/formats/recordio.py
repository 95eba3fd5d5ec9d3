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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeAlias

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, open_input

MAGIC = 0xCED7230A
MAX_RECORD_BYTES = 2**29 - 1
_MAGIC_BYTES = MAGIC.to_bytes(4, "little")
_HEADER = struct.Struct("<II")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
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
            found = window.find(_MAGIC_BYTES)
            while found >= 0:
                if found % 4 == 0 and self._begins_record(position + found):
                    return position + found
                found = window.find(_MAGIC_BYTES, found + 1)
            position += _WINDOW
        return None

    def _check(self, offset: int) -> None:
        if not 0 <= offset < self.size or offset % 4:
            reason = f"no record can begin here: need a multiple of 4 inside the file's {self.size} bytes"
            raise FormatError(self.path, offset, reason)

    def _begins_record(self, offset: int) -> bool:
        if offset + 8 > self.size:
            return False
        flag, length = _unpack_length(_HEADER.unpack(self._read(offset, 8))[1])
        end = offset + 8 + _padded(length)
        if flag not in (_WHOLE, _FIRST) or end > self.size:
            return False
        return end == self.size or self._read(end, min(4, self.size - end)) == _MAGIC_BYTES

    def _record(self, start: int, read: _Read) -> tuple[bytes, int]:
        """Return the payload of the record at ``start`` and the offset behind it."""
        flag, data, position = self._part(start, start, read)
        if flag == _WHOLE:
            return data, position
        if flag != _FIRST:
            raise FormatError(self.path, start, f"cflag {flag} continues a record, but none is open")
        payload = bytearray(data)
        while flag != _LAST:
            if position >= self.size:
                raise FormatError(self.path, start, "the file ends before the record's last part")
            flag, data, following = self._part(position, start, read)
            if flag in (_WHOLE, _FIRST):
                raise FormatError(
                    self.path, start, f"the record is not complete where another begins, at {position}"
                )
            payload += _MAGIC_BYTES
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
        magic, word = _HEADER.unpack(read(offset, 8))
        if magic != MAGIC:
            raise self._damage(offset, start, f"magic number is 0x{magic:08X}, not 0x{MAGIC:08X}")
        flag, length = _unpack_length(word)
        if flag > _LAST:
            raise self._damage(offset, start, f"cflag is {flag}, the largest is {_LAST}")
        padded = _padded(length)
        if padded > left:
            raise self._damage(offset, start, f"{padded} bytes of data announced, {left} are left")
        data = read(offset + 8, length)
        found = data.find(_MAGIC_BYTES)
        while found >= 0:
            if found % 4 == 0:
                raise self._damage(
                    offset, start, f"length {length} reaches over the header at {offset + 8 + found}"
                )
            found = data.find(_MAGIC_BYTES, found + 1)
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


class RecordWriter:
    """Writes a ``.rec`` file, byte for byte like MXNet; a context manager.

    Given a path, the file gets its name when the block ends well and is removed otherwise (see
    :func:`fedpriv.formats.files.atomic_output`). Given a binary file, records are appended where it stands,
    and it is left open.
    """

    def __init__(self, target: Path | str | BinaryIO) -> None:
        """Write to ``target``; a file is created on entering the block."""
        self._target = Path(target) if isinstance(target, str) else target
        self._stack = ExitStack()
        self._file: BinaryIO | None = None
        self._offset = 0

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            UserError: its folder cannot be written to.
            ValueError: an open file does not stand at a multiple of 4.
        """
        if isinstance(self._target, Path):
            self._file = self._stack.enter_context(atomic_output(self._target))
        else:
            self._file = self._target
            self._offset = self._target.tell()
            if self._offset % 4:
                raise ValueError(f"offset {self._offset}: records begin at multiples of 4")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name, or remove it after an error."""
        self._file = None
        self._stack.__exit__(kind, error, trace)

    def write(self, payload: bytes) -> int:
        """Append a record.

        Args:
            payload: fewer than 2^29 bytes.

        Returns:
            The offset at which the record begins.

        Raises:
            FormatError: ``payload`` is too long.
            ValueError: outside the ``with`` block.
        """
        if self._file is None:
            raise ValueError("write() works inside the `with` block alone")
        offset = self._offset
        if len(payload) > MAX_RECORD_BYTES:
            reason = f"a record of {len(payload)} bytes, the limit is {MAX_RECORD_BYTES}"
            raise FormatError(self._target, offset, reason)
        data = encode_record(payload)
        self._file.write(data)
        self._offset += len(data)
        return offset


def encode_record(payload: bytes) -> bytes:
    """Return ``payload`` with its headers and padding, cut at every aligned magic number."""
    pieces: list[bytes] = []
    begin, found = 0, payload.find(_MAGIC_BYTES)
    while found >= 0:
        if found % 4:
            found = payload.find(_MAGIC_BYTES, found + 1)
            continue
        pieces += _header(_MIDDLE if pieces else _FIRST, found - begin), payload[begin:found]
        begin = found + 4
        found = payload.find(_MAGIC_BYTES, begin)
    pieces += _header(_LAST if pieces else _WHOLE, len(payload) - begin), payload[begin:]
    pieces.append(bytes(-len(payload) % 4))
    return b"".join(pieces)


def _header(flag: int, length: int) -> bytes:
    return _HEADER.pack(MAGIC, flag << 29 | length)


def _unpack_length(word: int) -> tuple[int, int]:
    return word >> 29, word & 0x1FFFFFFF


def _padded(length: int) -> int:
    return length + 3 & ~3
