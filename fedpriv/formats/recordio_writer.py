"""Write RecordIO files, see :mod:`fedpriv.formats.recordio`."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output
from fedpriv.formats.recordio import (
    FIRST,
    HEADER,
    LAST,
    MAGIC,
    MAGIC_BYTES,
    MAX_RECORD_BYTES,
    MIDDLE,
    WHOLE,
)


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
    begin, found = 0, payload.find(MAGIC_BYTES)
    while found >= 0:
        if found % 4:
            found = payload.find(MAGIC_BYTES, found + 1)
            continue
        pieces += _header(MIDDLE if pieces else FIRST, found - begin), payload[begin:found]
        begin = found + 4
        found = payload.find(MAGIC_BYTES, begin)
    pieces += _header(LAST if pieces else WHOLE, len(payload) - begin), payload[begin:]
    pieces.append(bytes(-len(payload) % 4))
    return b"".join(pieces)


def _header(flag: int, length: int) -> bytes:
    return HEADER.pack(MAGIC, flag << 29 | length)
