"""A file that only grows, one JSON object per line, of which nothing can vanish unnoticed: a leaf.

Each line holds the SHA-256 of the line before it, so that a line cannot be changed, taken out or put
in without every later one betraying it (Haber and Stornetta 1991, How to time-stamp a digital
document). A second file beside it, ``<name>.head``, holds how many lines there are and the digest of
the last one: without it, a file cut at the end of a line would look whole.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from fedpriv.errors import UserError

_FIRST = "0" * 64
_MOST_LINE_BYTES = 1 << 28
_MOST_HEAD_BYTES = 200
_OTHERS = 0o077
_OTHERS_WRITE = 0o022

Entry = Mapping[str, Any]
"""What one line says: ``event``, and what belongs to it."""


class Journal:
    """Entries that are on disk before the call that writes them returns.

    Guarantee:
        - Lines are on disk (synced) before :meth:`append` returns, all of one call by one sync.
        - What one process, thread or object appended, every other sees when it next locks the file.
        - Its files have mode 0600 from their first byte.
        - An entry that ``take`` would refuse is not left in the file: it would make all of it unreadable.

    Edge cases:
        - A changed, missing, added or reordered line is refused, naming the line.
        - A file cut at the end of a line, emptied or removed is refused by its ``.head``.
        - A last line without newline was being written when the machine or process stopped, and its
          writer never got to act on it: it is cut off, and a ``torn`` line says so.
        - A file that others may access or that is not ours, a link, and what is no regular file are
          refused; so is a file that was replaced while in use.
        - Reading a journal that was never written makes no file.
        - Removing or restoring both files together cannot be noticed by a process that starts later.
    """

    def __init__(self, path: Path, take: Callable[[Entry], None], consequence: str) -> None:
        """Name the file; it appears with its first line.

        Args:
            path: the file, in a folder of its own, see :func:`own_folder`.
            take: is called once with every line, in order, while the file is locked. It raises
                ValueError, TypeError or KeyError, and remembers nothing, for a line that it cannot read.
            consequence: ends every message about damage: what is not done with such a file, and the mend.
        """
        self.path = path
        self._head = path.with_name(f"{path.name}.head")
        self._take_entry, self._consequence = take, consequence
        self._lines, self._offset, self._last = 0, 0, _FIRST
        self._inode = 0

    @property
    def line(self) -> int:
        """Number of the line that ``take`` is called with, from 1."""
        return self._lines + 1

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Bring what is known of the file up to date, and hold it against writers inside the block.

        Raises:
            UserError: when the file is damaged or cannot be used.
        """
        with self._blaming():
            unwritten = not (self._lines or _exists(self.path) or _exists(self._head))
        if unwritten:
            yield
            return
        with self.writing():
            yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[Callable[[Sequence[Entry]], None]]:
        """As :meth:`reading`, and yield :meth:`append`; the file is made if there is none.

        Not to be entered again inside the block.

        Raises:
            UserError: when the file is damaged, or cannot be used or written.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        own_folder(self.path.parent)
        with self._blaming():
            descriptor = os.open(self.path, flags, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            with self._blaming():
                # A lock belongs to this opening of the file, so that it holds between threads as well.
                fcntl.flock(file, fcntl.LOCK_EX)
                self._catch_up(file)
            yield lambda entries: self._append(file, entries)

    @contextlib.contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be kept: {error.strerror}; name a file in a folder of your own"
            ) from error

    def _catch_up(self, file: BinaryIO) -> None:
        """Check the lines that were added since this object last looked."""
        size = self._check_file(file)
        lines, digest = self._read_head(empty=not size)
        self._check_last(lines, digest)
        torn = b""
        file.seek(self._offset)
        with os.fdopen(file.fileno(), "rb", closefd=False) as reader:
            while line := reader.readline(_MOST_LINE_BYTES):
                if not line.endswith(b"\n"):
                    torn = line
                    break
                self._take(line)
                self._check_last(lines, digest)
        if self._lines < lines:
            raise self._refusal(f"{self._lines} lines of {lines}: cut")
        if torn:
            self._cut_off(file, torn)

    def _check_file(self, file: BinaryIO) -> int:
        """Refuse a file that is not ours alone or not the one of before; return its size."""
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise UserError(f"{self.path}: a link, or no regular file; name the file itself")
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
            raise UserError(f"{self.path}: not a file of its owner's alone; run chown and chmod 600 on it")
        named = self.path.stat(follow_symlinks=False).st_ino if _exists(self.path) else 0
        self._inode = self._inode or status.st_ino
        if not self._inode == status.st_ino == named or status.st_size < self._offset:
            raise self._refusal("replaced or cut while in use")
        if not status.st_size:
            os.fchmod(file.fileno(), 0o600)
        return status.st_size

    def _take(self, line: bytes) -> None:
        """Check one line against the chain and hand it on."""
        try:
            entry = json.loads(line)
            previous = entry["previous"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._refusal(f"line {self.line}: damaged") from None
        if previous != self._last:
            raise self._refusal(
                f"line {self.line}: does not follow the line before: one of the two was changed or moved"
            )
        if entry.get("event") != "torn":
            try:
                self._take_entry(entry)
            except (ValueError, TypeError, KeyError, RecursionError):
                raise self._refusal(f"line {self.line}: damaged") from None
        self._last = hashlib.sha256(line).hexdigest()
        self._lines += 1
        self._offset += len(line)

    def _check_last(self, lines: int, digest: str) -> None:
        """Compare with the head where it points: the chain itself says nothing of its last line."""
        if self._lines == lines and self._last != digest:
            raise self._refusal(f"line {lines}: damaged")

    def _refusal(self, what: str) -> UserError:
        return UserError(f"{self.path}: {what}; {self._consequence}")

    def _cut_off(self, file: BinaryIO, torn: bytes) -> None:
        """Take away a line that its writer never finished, and say so."""
        if os.fstat(file.fileno()).st_size != self._offset + len(torn):
            raise self._refusal(f"line {self.line}: longer than {_MOST_LINE_BYTES} bytes")
        file.truncate(self._offset)
        self._append(
            file, [{"event": "torn", "bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}]
        )

    def _append(self, file: BinaryIO, entries: Sequence[Entry]) -> None:
        """Write lines and sync them; then the head, which may lag behind but never run ahead."""
        if not entries:
            return
        time = datetime.now(UTC).isoformat(timespec="seconds")
        lines, previous = [], self._last
        for entry in entries:
            content = {"previous": previous, "time": time, **entry}
            lines.append(json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            if len(lines[-1]) >= _MOST_LINE_BYTES:
                raise ValueError(f"entry of {len(lines[-1])} bytes, need fewer than {_MOST_LINE_BYTES}")
            previous = hashlib.sha256(lines[-1]).hexdigest()
        new = not self._lines
        with self._blaming():
            _write(file, b"".join(lines))
            try:
                for line in lines:
                    self._take(line)
            except Exception as error:
                # nobody was told that it is there, and no head names it
                file.truncate(self._offset)
                os.fsync(file.fileno())
                raise UserError(
                    f"{self.path}: line {self.line} does not fit those before it and was not kept; this is a "
                    "fault of the program: report it"
                ) from error
            finally:
                self._write_head()
            if new:
                sync_folder(self.path.parent)

    def _read_head(self, empty: bool) -> tuple[int, str]:
        """Return how many lines there must be at least, and the digest of the last of them."""
        if not _exists(self._head):
            if not empty:
                raise UserError(f"{self._head}: missing; {self._consequence}")
            self._write_head()
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(self._head, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
                raise UserError(
                    f"{self._head}: not a file of its owner's alone; run chown and chmod 600 on it"
                )
            data = file.read(_MOST_HEAD_BYTES + 1)
        try:
            head = json.loads(data[:_MOST_HEAD_BYTES])
            return int(head["lines"]), str(head["sha256"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise UserError(f"{self._head}: damaged; {self._consequence}") from None

    def _write_head(self) -> None:
        """Replace the head. Its new name need not be synced: an older head still fits the file."""
        temporary = self._head.with_name(f".{self._head.name}")
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            _write(file, json.dumps({"lines": self._lines, "sha256": self._last}).encode())
        temporary.rename(self._head)


def own_folder(folder: Path) -> None:
    """Make ``folder`` with mode 0700, or check that the one there is ours to write to and nobody else's.

    Raises:
        UserError: for a link, what is no folder, a folder of another user or one that others may write
            to, and when it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat(follow_symlinks=False)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}; name another folder") from error
    if not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{folder}: a link, or no folder; name the folder itself")
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
        raise UserError(f"{folder}: others may write to it; run chown and chmod 700 on it")


def require_place(folder: Path) -> None:
    """Check that :func:`own_folder` can make ``folder``, or that files can be made in the one there.

    It is tried in the nearest folder that exists, and nothing is left behind.

    Raises:
        UserError: when not.
    """
    try:
        place = next(each for each in (folder, *folder.absolute().parents) if _exists(each))
        if place == folder:
            own_folder(folder)
        Path(tempfile.mkdtemp(prefix=".fedpriv-", dir=place)).rmdir()
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}; name another folder") from error


def _exists(path: Path) -> bool:
    """Tell whether there is such a name; one that cannot be looked up is not taken for missing."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file and sync it."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())
