"""The numbers that an index gives to records, while these pass by in the order of the file."""

from array import array
from bisect import bisect_right
from pathlib import Path

import numpy as np

from fedpriv.errors import FormatError
from fedpriv.formats.record_index import index_entries


class RecordKeys:
    """An index turned round: offset to key. Keys may be missing or in any order.

    Memory is 16 bytes a record, and about 64 while the index is read.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Read ``path``.

        Args:
            path: the index.
            size: bytes of the record file.

        Raises:
            FormatError: when the index is malformed, points beyond the records, or twice to one record.
        """
        self._path = path
        flat = array("q")
        try:
            for entry in index_entries(path):
                flat.extend(entry)
        except OverflowError as error:
            raise FormatError(path, None, "a number beyond 2^63") from error
        keys, offsets = np.frombuffer(flat, np.int64).reshape(-1, 2).T
        order = np.argsort(offsets, kind="stable")
        self._keys = array("q", keys[order].tobytes())
        self._offsets = array("q", offsets[order].tobytes())
        ordered = np.sort(keys)
        if (twice := np.flatnonzero(ordered[1:] == ordered[:-1])).size:
            raise FormatError(path, None, f"key {ordered[twice[0]]} stands there twice; make it anew")
        if (twice := np.flatnonzero(np.diff(offsets[order]) == 0)).size:
            at = int(twice[0])
            raise FormatError(
                path,
                None,
                f"keys {self._keys[at]} and {self._keys[at + 1]} point to one record; make it anew",
            )
        if self._offsets and self._offsets[-1] >= size:
            raise self._no_record(len(self._offsets) - 1)
        self._next = 0
        self._gap = False

    def begin_after(self, offset: int) -> None:
        """Go on behind the record at ``offset``."""
        self._next = bisect_right(self._offsets, offset)

    def gap(self) -> None:
        """Note that records before the next one cannot be read."""
        self._gap = True

    def at(self, offset: int) -> int | None:
        """Return the key of the record at ``offset``, None if the index has none; offsets must rise.

        Raises:
            FormatError: when a key points between this record and the one before.
        """
        while self._next < len(self._offsets) and self._offsets[self._next] <= offset:
            self._next += 1
            if self._offsets[self._next - 1] == offset:
                self._gap = False
                return self._keys[self._next - 1]
            if not self._gap:
                raise self._no_record(self._next - 1)
        self._gap = False
        return None

    def end(self) -> None:
        """Check that no key points behind the last record.

        Raises:
            FormatError: when one does.
        """
        if self._next < len(self._offsets) and not self._gap:
            raise self._no_record(self._next)

    def _no_record(self, position: int) -> FormatError:
        return FormatError(
            self._path,
            None,
            f"key {self._keys[position]} points to offset {self._offsets[position]}, where no record begins; "
            "give the index that belongs to the records, or none",
        )
