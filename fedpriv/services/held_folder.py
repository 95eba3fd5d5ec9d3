"""A folder that is a command's own: marked, so that nobody else's files are touched, and held by one process.

The mark is a hidden file, ``.fedpriv-KIND``; who holds the folder holds a lock on it (flock), which the
system frees with the process.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from fedpriv.errors import UserError

_MARK = ".fedpriv-"
_AGAIN_S = 0.05


class HeldFolder:
    """A marked folder, held until :meth:`close` or the end of the process; a context manager.

    Guarantee:
        - A folder is taken when it is new, empty, or was marked for the same kind before: whatever else is in
          it is of that command.
        - Of all that take one folder, in one process or several, only one has it at a time.

    Edge cases:
        - Processes that this one starts by exec (subprocess, "spawn") do not hold it.
        - Not on file systems without flock; they are refused.

    Attributes:
        path: of the folder.
    """

    def __init__(self, folder: Path, kind: str, flag: str, wait_s: float = 0.0) -> None:
        """Make the folder and its mark if need be, and hold it.

        Args:
            folder: of files that are to be kept, and deleted.
            kind: what keeps them, a word: part of the mark's name.
            flag: of the command line, that another folder is named with.
            wait_s: how long to wait for whoever holds it, in seconds, before refusing.

        Raises:
            UserError: somebody has it, it holds files that are not the command's, or it cannot be used.
        """
        self.path, self._lock = folder, -1
        mark = mark_of(folder, kind)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # a mark that was there when the folder held anything is older than that
            if any(each.name != mark.name for each in folder.iterdir()) and not mark.is_file():
                raise UserError(
                    f"{folder}: holds files that are not fedpriv's own; name a new or empty folder with "
                    f"{flag}"
                )
            self._lock = _locked(mark, wait_s)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another fedpriv {kind} has it; end that one, or name another folder with {flag}"
            ) from None
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}; name another folder with {flag}") from error

    def close(self) -> None:
        """Let others have it; the mark stays."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others have it."""
        self.close()


def mark_of(folder: Path, kind: str) -> Path:
    """Return the mark of a folder: a file to be made by who knows that all in the folder is fedpriv's own."""
    return folder / f"{_MARK}{kind}"


def _locked(mark: Path, wait_s: float) -> int:
    """Return a descriptor of the mark, made if need be, that the lock belongs to."""
    lock = os.open(mark, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
            time.sleep(_AGAIN_S)
        folder = os.open(mark.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # a mark that a crash loses would leave files that nobody owns
        finally:
            os.close(folder)
    except BaseException:
        os.close(lock)
        raise
    return lock
