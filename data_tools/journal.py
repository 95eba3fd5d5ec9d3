"""The manifest of an extraction: JSON lines, appended while it runs and renamed when it is complete."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import IO, Any

from data_tools.names import JOURNAL, MANIFEST
from data_tools.tree import Tree
from fedpriv.errors import UserError

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe in its place would be waited for
_MARK = "fedpriv_manifest"
_HEAD = f'{{"{_MARK}":'.encode()
_BATCH = 32
_MAX_LINE = 1 << 16


class Journal:
    """One line for what is extracted, one for every record of it, one that sums up.

    A line is written after the file that it names, so a process killed at any moment leaves no line
    without its file; the few files without a line are written again. Lines are kept back in batches.
    A manifest that is not whole up to the line that sums up is a journal to go on with.
    """

    def __init__(self, tree: Tree, facts: dict[str, Any]) -> None:
        """Open the manifest of ``tree`` or begin one.

        Args:
            tree: what is written into.
            facts: source and settings, the first line; their first key is ``fedpriv_manifest``.

        Raises:
            UserError: when the folder holds something else, or the extraction of another source.
        """
        self._tree, self._waiting = tree, list[str]()
        present = tree.names()
        if present and not present & {MANIFEST, JOURNAL}:
            raise UserError(f"{tree.root}: holds other files; name a new or empty folder")
        self.complete = MANIFEST in present
        if self.complete:
            self._file = self._open(MANIFEST, "rb")
        else:
            self._file = self._open(JOURNAL, "r+b" if present else "x+b")
        self._end = 0
        try:
            self._compare(facts, alone=present <= {JOURNAL})
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.close()
            raise

    def _open(self, name: str, mode: str) -> IO[bytes]:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags | _FLAGS, 0o600, dir_fd=self._tree.descriptor)

        try:
            return open(name, mode, opener=opener)
        except OSError as error:
            raise UserError(
                f"{self._tree.root / name}: {error.strerror or error}; remove it or name another folder"
            ) from error

    def _compare(self, facts: dict[str, Any], alone: bool) -> None:
        first = self._file.readline(_MAX_LINE)
        found = _parsed(first) if first.endswith(b"\n") else None
        if found != facts:
            if found and _MARK in found and not alone:
                different = [key for key in facts if found.get(key) != facts[key]]
                raise UserError(
                    f"{self._tree.root}: holds the extraction of another source or with other settings "
                    f"({', '.join(different)}); name a new folder"
                )
            if not alone or not (first.startswith(_HEAD) or _HEAD.startswith(first)):
                name = MANIFEST if self.complete else JOURNAL
                raise UserError(
                    f"{self._tree.root / name}: is not the manifest of an extraction; name a new folder"
                )
            # no image was written yet: whatever was tried here before, nothing is lost
            self._file.seek(0)
            self._file.truncate()
            with self._blaming():
                self._file.write(json.dumps(facts).encode() + b"\n")
                self._file.flush()
        self._end = self._file.tell()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of an earlier run up to its sum or the first that is torn.

        What follows is cut off. A manifest that was torn, or that goes on after its sum, is not complete.

        Raises:
            UserError: when such a manifest cannot be written.
        """
        self._file.seek(self._end)
        summed = False
        while not summed and (line := self._file.readline(_MAX_LINE)).endswith(b"\n"):
            parsed = _parsed(line)
            if parsed is None:
                break
            self._end += len(line)
            summed = "total" in parsed
            yield parsed
        if self.complete and not (summed and not self._file.read(1)):
            self._take_up()
        if not self.complete:
            self._file.seek(self._end)
            self._file.truncate()

    def _take_up(self) -> None:
        if JOURNAL in self._tree.names():
            raise UserError(f"{self._tree.root / JOURNAL}: is in the way of a torn {MANIFEST}; remove it")
        folder = self._tree.descriptor
        with self._blaming():
            os.rename(MANIFEST, JOURNAL, src_dir_fd=folder, dst_dir_fd=folder)
        self._file.close()
        self._file = self._open(JOURNAL, "r+b")
        self.complete = False

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
