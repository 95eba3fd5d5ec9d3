"""The manifest of an extraction: JSON lines, appended while it runs and renamed when it is complete."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from data_tools.names import JOURNAL, MANIFEST
from data_tools.tree import Tree
from fedpriv.errors import UserError

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC
_BATCH = 32
_MAX_LINE = 1 << 16


class Journal:
    """One line for what is extracted, one for every record of it, one that sums up.

    A line is written after the file that it names, so a process killed at any moment leaves no line
    without its file; the few files without a line are written again. Lines are kept back in batches.
    """

    def __init__(self, tree: Tree, facts: dict[str, Any]) -> None:
        """Open the manifest of ``tree`` or begin one.

        Args:
            tree: what is written into.
            facts: source and settings, the first line.

        Raises:
            UserError: when the folder holds something else, or the extraction of another source.
        """
        self._tree, self._waiting = tree, list[str]()
        present = tree.names()
        self.complete = MANIFEST in present
        name = MANIFEST if self.complete else JOURNAL
        mode = os.O_RDONLY if self.complete else os.O_RDWR | os.O_CREAT
        try:
            descriptor = os.open(name, mode | _FLAGS, 0o666, dir_fd=tree.descriptor)
        except OSError as error:
            raise UserError(
                f"{tree.root / name}: {error.strerror}; remove it or name another folder"
            ) from error
        self._file = os.fdopen(descriptor, "rb" if self.complete else "r+b")
        self._end = 0
        try:
            self._compare(present, facts, os.fstat(descriptor).st_size)
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.close()
            raise

    def _compare(self, present: set[str], facts: dict[str, Any], size: int) -> None:
        first = self._file.readline(_MAX_LINE)
        begun = first.endswith(b"\n") and (present - {JOURNAL} or size > len(first))
        found = _parsed(first)
        if begun and found != facts:
            different = [key for key in facts if (found or {}).get(key) != facts[key]]
            raise UserError(
                f"{self._tree.root}: holds the extraction of another source or with other settings "
                f"({', '.join(different)}); name a new folder"
            )
        if not begun:
            if present - {JOURNAL}:
                os.unlink(JOURNAL, dir_fd=self._tree.descriptor)
                raise UserError(f"{self._tree.root}: holds other files; name a new or empty folder")
            self._file.seek(0)
            self._file.truncate()
            with self._blaming():
                self._file.write(json.dumps(facts).encode() + b"\n")
                self._file.flush()
        self._end = self._file.tell()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of an earlier run up to the first that is torn; what follows is cut off."""
        self._file.seek(self._end)
        while (line := self._file.readline(_MAX_LINE)).endswith(b"\n"):
            parsed = _parsed(line)
            if parsed is None:
                break
            self._end += len(line)
            yield parsed
        if not self.complete:
            self._file.seek(self._end)
            self._file.truncate()

    def add(self, line: str) -> None:
        """Append one line (JSON without line break)."""
        self._waiting.append(line)
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand the lines kept back to the system.

        Raises:
            UserError: when they cannot be written.
        """
        # forgotten even if writing fails: a part of them may be in the file, and none may be there twice
        waiting, self._waiting = self._waiting, []
        if waiting:
            with self._blaming():
                self._file.write(("\n".join(waiting) + "\n").encode())
                self._file.flush()

    def finish(self) -> None:
        """Write everything to the disk and give the manifest its final name.

        Raises:
            UserError: when that cannot be done.
        """
        self.flush()
        with self._blaming():
            os.fsync(self._file.fileno())
            os.rename(JOURNAL, MANIFEST, src_dir_fd=self._tree.descriptor, dst_dir_fd=self._tree.descriptor)
            os.fsync(self._tree.descriptor)
        self.complete = True

    def close(self) -> None:
        """Write what is kept back and close."""
        try:
            self.flush()
        finally:
            with contextlib.suppress(OSError):
                self._file.close()

    @contextlib.contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = self._tree.root / JOURNAL
            raise UserError(f"{where}: {error.strerror or error}; mend it and run again") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
